"""What operators share that work on contacts which are named one by one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from airflow_provider_customerly.contacts import Named, collect
from airflow_provider_customerly.hooks.customerly import CustomerlyHook
from airflow_provider_customerly.transfers.private_fields import PrivateFieldsOperator, shown
from airflow_provider_customerly.transfers.sql_source import SqlSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_customerly.contacts import NamedBy


class NamedArguments(msgspec.Struct, frozen=True, kw_only=True):
    """What operators on named contacts can be told, besides the lists that name them."""

    sql: str | None
    parameters: dict[str, Any] | list[Any] | None
    sql_conn_id: str | None
    max_concurrency: Annotated[int, Meta(ge=1, le=64)]


class NamedContactsOperator(PrivateFieldsOperator):
    """Base of operators whose contacts come from a list of emails, a list of user ids, or a query."""

    template_fields: Sequence[str] = (
        "emails",
        "user_ids",
        "sql",
        "parameters",
        "sql_conn_id",
        "contact_type",
        "customerly_conn_id",
    )
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"sql": "sql"}
    private_fields = ("emails", "user_ids", "parameters")
    ui_color = "#ffe3e3"

    def __init__(
        self,
        *,
        contact_type: str,
        emails: Sequence[str] | None = None,
        user_ids: Sequence[str | int] | None = None,
        sql: str | None = None,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        sql_conn_id: str | None = None,
        customerly_conn_id: str = CustomerlyHook.default_conn_name,
        max_concurrency: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.contact_type = contact_type
        self.emails = emails
        self.user_ids = user_ids
        self.sql = sql
        self.parameters = parameters
        self.sql_conn_id = sql_conn_id
        self.customerly_conn_id = customerly_conn_id
        self.max_concurrency = max_concurrency

    @cached_property
    def hook(self) -> CustomerlyHook:
        """The hook; its client is made at first use."""
        return CustomerlyHook(self.customerly_conn_id, max_concurrency=self.max_concurrency)

    def on_kill(self) -> None:
        """Begin no further contact, and give up waiting for requests."""
        self._stop.set()
        self.hook.client.cancel()

    @cached_property
    def _stop(self) -> threading.Event:
        return threading.Event()

    def _named(self, arguments: NamedArguments, max_deletions: int | None = None) -> Named:
        """Read and check the contacts.

        :raises ValueError: says what is wrong, and quotes no contact.
        """
        emails, user_ids = shown(self.emails), shown(self.user_ids)
        if sum(source is not None for source in (emails, user_ids, arguments.sql)) != 1:
            raise ValueError("Give exactly one of emails, user_ids and sql: where the contacts come from.")
        if arguments.sql is None:
            if arguments.parameters is not None or arguments.sql_conn_id is not None:
                raise ValueError("sql_conn_id and parameters go with sql: leave them out.")
            by: NamedBy = "email" if emails is not None else "user_id"
            entries = emails if emails is not None else user_ids
            if isinstance(entries, str) or not isinstance(entries, Sequence):
                raise ValueError(
                    f"{'emails' if emails is not None else 'user_ids'} must be a list, and is of type "
                    f"{type(entries).__name__}. A template gives text unless the DAG has "
                    "render_template_as_native_obj=True; the output of another task can be passed as it is."
                )
            return collect(by, [list(entries)], max_deletions)
        if not arguments.sql_conn_id:
            raise ValueError("sql_conn_id is missing: name the Airflow connection of the database.")
        source = SqlSource(arguments.sql_conn_id, sql=arguments.sql, parameters=arguments.parameters)
        with source.open() as rows:
            by = _named_by(rows.columns)
            return collect(by, ([row[0] for row in chunk] for chunk in rows), max_deletions)


def _named_by(columns: Sequence[str]) -> NamedBy:
    lowered = [column.lower() for column in columns]
    if lowered == ["email"]:
        return "email"
    if lowered == ["user_id"]:
        return "user_id"
    raise ValueError(
        f"The query must give one column, named email or user_id. It gives: {', '.join(columns)}. Nothing "
        "was sent. Choose what names the contacts, and select only that."
    )
