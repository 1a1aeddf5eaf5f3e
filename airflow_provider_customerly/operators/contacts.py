"""Operators that permanently delete contacts, and that tag or untag them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from airflow_provider_customerly.client import ContactType
from airflow_provider_customerly.contacts import (
    RefusedError,
    UnfinishedError,
    erase_contacts,
    tag_contacts,
)
from airflow_provider_customerly.contacts.erase import Reach
from airflow_provider_customerly.delivery.deliver import BatchSize
from airflow_provider_customerly.hooks.failures import fail_at_once
from airflow_provider_customerly.hooks.lookup import find_location
from airflow_provider_customerly.operators.base import checked
from airflow_provider_customerly.operators.named_contacts import NamedArguments, NamedContactsOperator
from airflow_provider_customerly.transfers.context import name_of_task_instance, tell_outlets, withhold_events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_provider_customerly.storage import Location


def _check_leads(arguments: DeleteArguments | TagArguments) -> None:
    if arguments.contact_type == "leads" and arguments.user_ids is not None:
        raise ValueError("Leads have no user_id. Identify them by email.")


class DeleteArguments(NamedArguments, frozen=True, kw_only=True):
    """The arguments of an erasure."""

    contact_type: Reach = "both"
    max_deletions: Annotated[int, Meta(ge=0)] = 100
    look_only: bool = False
    record_path: str | None = None
    record_conn_id: str | None = None

    expected = {
        **NamedArguments.expected,
        "look_only": "(dry_run) must be true or false",
    }
    rules = (*NamedArguments.rules, _check_leads)


class TagArguments(NamedArguments, frozen=True, kw_only=True):
    """The arguments of tagging."""

    contact_type: ContactType = "users"
    tag: Annotated[str, Meta(pattern=r"\S")]
    untag: bool = False
    batch_size: BatchSize = 50

    expected = {
        **NamedArguments.expected,
        "tag": "must not be blank; if it is a template, check the variable it is rendered from",
    }
    rules = (*NamedArguments.rules, _check_leads)


class CustomerlyDeleteContactsOperator(NamedContactsOperator):
    """Permanently delete contacts, with their conversations and history, and keep evidence of it.

    Deletions cannot be undone. So everything is checked before the first one: each entry, their number
    against ``max_deletions``, the token, and that the record can be written. A contact that no longer exists
    counts as ``already_gone``, so it is safe to run the task again.

    A contact that cannot be deleted does not stop the others (unless 20 fail and none succeeds). The task
    then **fails** and reports the positions and reasons, never the values. The result (XCom, and the event of
    each asset in ``outlets``) only has counts. Airflow does not show the rendered values of ``emails``,
    ``user_ids`` and ``parameters``, but it does show what you write in the DAG file. Prefer a query: then no
    contact passes through Airflow.

    :param emails: contacts by email. Set exactly one of ``emails``, ``user_ids`` and ``sql``.
    :param user_ids: contacts by your own ids; users only.
    :param sql: a query with a single column named ``email`` or ``user_id``, or the name of a ``.sql`` file.
    :param parameters: values for the placeholders in ``sql``, in the style of the database driver.
    :param sql_conn_id: Airflow connection for ``sql``, of any type with an SQL hook.
    :param contact_type: where to look for contacts: ``users``, ``leads`` or ``both``. ``user_ids`` only match
        users, because leads have none.
    :param customerly_conn_id: connection of type ``customerly``.
    :param max_deletions: fail, and delete nothing, if there are more contacts.
    :param dry_run: look up each contact and delete none; the result counts them as ``found``. No record is
        written. Airflow's rendered templates show it as ``look_only``, because operators already have a
        method named ``dry_run``.
    :param record_path: folder or bucket for the records, any path that ``ObjectStoragePath`` takes; no record
        by default. A record has the outcome of each contact by position, and its hash if the connection has a
        ``hash_secret``.
    :param record_conn_id: Airflow connection for ``record_path``, unless the path names one.
    :param max_concurrency: maximum number of concurrent requests.
    """

    arguments = DeleteArguments
    template_fields: Sequence[str] = (
        *NamedContactsOperator.template_fields,
        "max_deletions",
        "look_only",
        "record_path",
        "record_conn_id",
    )

    def __init__(
        self,
        *,
        contact_type: str = "both",
        max_deletions: int | str = 100,
        dry_run: bool | str = False,
        record_path: str | None = None,
        record_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(contact_type=contact_type, **kwargs)
        self.max_deletions = max_deletions
        self.look_only = dry_run  # an operator has a method named dry_run
        self.record_path = record_path
        self.record_conn_id = record_conn_id
        self.check_literals()

    def carry_out(self, context: Context) -> dict[str, Any]:
        """Delete the contacts and return the result."""
        with fail_at_once(ValueError, RefusedError):
            arguments = checked(DeleteArguments, self)
            self._refuse_numbers(arguments)
            named = self._named(arguments, arguments.max_deletions)
            try:
                with self.hook.client as client:
                    result = erase_contacts(
                        client,
                        named,
                        contact_type=arguments.contact_type,
                        max_concurrency=arguments.max_concurrency,
                        dry_run=arguments.look_only,
                        record_path=self._record_location(arguments),
                        secret=None if arguments.record_path is None else self.hook.hash_secret,
                        owner=name_of_task_instance(context),
                        stop=self._stop,
                    )
            except UnfinishedError as error:
                self.keep(error.result)
                raise
        if arguments.look_only:
            withhold_events(self)
        self.keep(result)
        tell_outlets(self.outlets, context, result)
        return result

    def _refuse_numbers(self, arguments: DeleteArguments) -> None:
        """Raise ``ValueError`` for numbers, which a template may have made from other ids."""
        for name in ("emails", "user_ids"):
            entries = getattr(arguments, name) or ()
            if name in self.rendered_natively and any(isinstance(entry, int | float) for entry in entries):
                raise ValueError(
                    f"{name} contains numbers, and in this DAG templates turn text into numbers: the id 1e5 "
                    "becomes 100000. Nothing was deleted. Pass ids as text, or pass the output of the other "
                    "task directly instead of a template."
                )

    def _record_location(self, arguments: DeleteArguments) -> Location | None:
        if arguments.record_path is None:
            return None
        return find_location(arguments.record_path, arguments.record_conn_id)


class CustomerlyTagContactsOperator(NamedContactsOperator):
    """Add a tag to contacts, or remove it.

    Contacts are sent in batches. If Customerly refuses a batch, it is sent again in halves until the contacts
    at fault are alone. All others are sent, then the task **fails** and reports the positions and reasons,
    never the values. It is not known whether Customerly refuses or ignores a contact that does not exist. If
    it ignores it, the contact counts as sent.

    The result (XCom, and the event of each asset in ``outlets``) only has counts. Airflow does not show the
    rendered values of ``emails``, ``user_ids`` and ``parameters``, but it does show what you write in the DAG
    file.

    :param tag: the tag.
    :param untag: remove the tag.
    :param emails: contacts by email. Set exactly one of ``emails``, ``user_ids`` and ``sql``.
    :param user_ids: contacts by your own ids; users only.
    :param sql: a query with a single column named ``email`` or ``user_id``, or the name of a ``.sql`` file.
    :param parameters: values for the placeholders in ``sql``, in the style of the database driver.
    :param sql_conn_id: Airflow connection for ``sql``, of any type with an SQL hook.
    :param contact_type: ``users`` or ``leads``.
    :param customerly_conn_id: connection of type ``customerly``.
    :param batch_size: contacts per request, 1 to 100.
    :param max_concurrency: maximum number of concurrent requests.
    """

    arguments = TagArguments
    template_fields: Sequence[str] = (*NamedContactsOperator.template_fields, "tag", "untag")

    def __init__(
        self,
        *,
        tag: str,
        untag: bool | str = False,
        contact_type: str = "users",
        batch_size: int = 50,
        **kwargs: Any,
    ) -> None:
        super().__init__(contact_type=contact_type, **kwargs)
        self.tag = tag
        self.untag = untag
        self.batch_size = batch_size
        self.check_literals()

    def carry_out(self, context: Context) -> dict[str, Any]:
        """Tag the contacts and return the result."""
        with fail_at_once(ValueError, RefusedError):
            arguments = checked(TagArguments, self)
            named = self._named(arguments)
            try:
                with self.hook.client as client:
                    result = tag_contacts(
                        client,
                        named,
                        arguments.tag,
                        untag=arguments.untag,
                        contact_type=arguments.contact_type,
                        batch_size=arguments.batch_size,
                        max_concurrency=arguments.max_concurrency,
                        stop=self._stop,
                    )
            except UnfinishedError as error:
                self.keep(error.result)
                raise
        self.keep(result)
        tell_outlets(self.outlets, context, result)
        return result
