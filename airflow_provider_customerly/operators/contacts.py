"""Erase contacts for good; tag contacts, or untag them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from airflow_provider_customerly.contacts import (
    RefusedError,
    UnfinishedError,
    erase_contacts,
    tag_contacts,
)
from airflow_provider_customerly.hooks.failures import fail_at_once
from airflow_provider_customerly.hooks.lookup import find_location
from airflow_provider_customerly.operators.named_contacts import NamedArguments, NamedContactsOperator
from airflow_provider_customerly.transfers.checking import checked
from airflow_provider_customerly.transfers.context import leave_result, name_of_task_instance, tell_outlets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_provider_customerly.storage import Location


class DeleteArguments(NamedArguments, frozen=True, kw_only=True):
    """What an erasure can be told."""

    contact_type: Literal["users", "leads", "both"]
    max_deletions: Annotated[int, Meta(ge=0)]
    look_only: bool
    record_path: Annotated[str, Meta(pattern=r"\S")] | None
    record_conn_id: str | None


class TagArguments(NamedArguments, frozen=True, kw_only=True):
    """What tagging can be told."""

    contact_type: Literal["users", "leads"]
    tag: Annotated[str, Meta(pattern=r"\S")]
    untag: bool
    batch_size: Annotated[int, Meta(ge=1, le=100)]


EXPECTED = {
    "parameters": "must be a list or a dictionary of values, or None",
    "record_path": "must not be blank; if it is a template, check the variable it is rendered from",
    "tag": "must not be blank; if it is a template, check the variable it is rendered from",
    "look_only": "(dry_run) must be true or false",
}


class CustomerlyDeleteContactsOperator(NamedContactsOperator):
    """Delete contacts for good, with their conversations and history, and leave evidence: erasure requests.

    There is no way back. So everything is checked before the first deletion: each entry, their number against
    ``max_deletions``, the token, and that the record can be written. A contact that is not there any more
    counts as ``already_gone``, so that running the task again is harmless.

    One contact that cannot be deleted does not keep the others from being tried (unless 20 fail and no other
    passes); then the task **fails** and tells the positions and reasons, never the values. The result (XCom,
    and the event of each asset among ``outlets``) has counts only. What is rendered for ``emails``,
    ``user_ids`` and ``parameters`` is not shown by Airflow; what is written into the DAG is. Prefer a query:
    then no contact goes through Airflow.

    :param emails: the contacts, by email; exactly one of this, ``user_ids`` and ``sql``.
    :param user_ids: the contacts, by your own ids; users only.
    :param sql: a query whose one column is named ``email`` or ``user_id``, or the name of a ``.sql`` file.
    :param parameters: values for the placeholders in ``sql``, in the style of the database's driver.
    :param sql_conn_id: Airflow connection for ``sql``; any type whose hook speaks SQL.
    :param contact_type: where contacts are looked for: ``users``, ``leads`` or ``both``. With ``user_ids``
        only among users, for leads have none.
    :param customerly_conn_id: connection of type ``customerly``.
    :param max_deletions: fail, and delete nothing, when there are more contacts.
    :param dry_run: look each contact up and delete none; the result counts them as ``found``. No record is
        written. In Airflow's rendered templates it is ``look_only``, for an operator has a method named
        ``dry_run``.
    :param record_path: folder or bucket for the records, anything ``ObjectStoragePath`` takes; no record by
        default. A record has the outcome of each contact by its position, and its hash if the connection has
        a ``hash_secret``.
    :param record_conn_id: Airflow connection for ``record_path``, unless the path names one.
    :param max_concurrency: most requests at once.
    """

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

    def execute(self, context: Context) -> dict[str, Any]:
        """Delete the contacts and return what came of it."""
        with fail_at_once(ValueError, RefusedError):
            arguments = checked(DeleteArguments, EXPECTED, self)
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
                leave_result(self, context, error.result)
                raise
        tell_outlets(self.outlets, context, result)
        return result

    def _record_location(self, arguments: DeleteArguments) -> Location | None:
        if arguments.record_path is None:
            return None
        return find_location(arguments.record_path, arguments.record_conn_id)


class CustomerlyTagContactsOperator(NamedContactsOperator):
    """Put a tag on contacts, or take it off.

    Contacts are sent in batches. A batch that is refused is sent again in halves until those at fault stand
    alone; all others are sent, then the task **fails** and tells the positions and reasons, never the values.
    Whether Customerly refuses or passes over a contact that does not exist is not known: passed over, it
    counts as sent.

    The result (XCom, and the event of each asset among ``outlets``) has counts only. What is rendered for
    ``emails``, ``user_ids`` and ``parameters`` is not shown by Airflow; what is written into the DAG is.

    :param tag: the tag.
    :param untag: take the tag off.
    :param emails: the contacts, by email; exactly one of this, ``user_ids`` and ``sql``.
    :param user_ids: the contacts, by your own ids; users only.
    :param sql: a query whose one column is named ``email`` or ``user_id``, or the name of a ``.sql`` file.
    :param parameters: values for the placeholders in ``sql``, in the style of the database's driver.
    :param sql_conn_id: Airflow connection for ``sql``; any type whose hook speaks SQL.
    :param contact_type: ``users`` or ``leads``.
    :param customerly_conn_id: connection of type ``customerly``.
    :param batch_size: contacts in one request, 1 to 100.
    :param max_concurrency: most requests at once.
    """

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

    def execute(self, context: Context) -> dict[str, Any]:
        """Tag the contacts and return what came of it."""
        with fail_at_once(ValueError, RefusedError):
            arguments = checked(TagArguments, EXPECTED, self)
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
                leave_result(self, context, error.result)
                raise
        tell_outlets(self.outlets, context, result)
        return result
