"""The base of operators that work on a list of contacts."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_customerly.client.settings import MaxConcurrency
from airflow_provider_customerly.contacts import Named, collect
from airflow_provider_customerly.hooks.customerly import CustomerlyHook
from airflow_provider_customerly.operators.base import CustomerlyOperator
from airflow_provider_customerly.transfers.sql_source import SqlSource, check_query
from airflow_provider_customerly.values.arguments import Arguments, Rule

if TYPE_CHECKING:
    from airflow_provider_customerly.contacts import NamedBy


_A_LIST = (
    "must be a list. A template renders to text unless the DAG has render_template_as_native_obj=True. Pass "
    "the output of another task directly"
)


def _check_source(arguments: NamedArguments) -> None:
    if sum(one is not None for one in (arguments.emails, arguments.user_ids, arguments.sql)) != 1:
        raise ValueError("Set exactly one of emails, user_ids and sql as the source of the contacts.")


def _check_query(arguments: NamedArguments) -> None:
    if arguments.sql is not None:
        check_query(arguments.sql)
        if arguments.sql_conn_id is None:
            raise ValueError("sql_conn_id is missing. Set it to the Airflow connection of the database.")
    elif arguments.parameters is not None or arguments.sql_conn_id is not None:
        raise ValueError("sql_conn_id and parameters only work with sql. Remove them, or set sql.")


class NamedArguments(Arguments, frozen=True, kw_only=True):
    """The arguments that these operators share."""

    emails: list[Any] | None = None
    user_ids: list[Any] | None = None
    sql: str | None = None
    parameters: dict[str, Any] | list[Any] | None = None
    sql_conn_id: str | None = None
    customerly_conn_id: str = CustomerlyHook.default_conn_name
    max_concurrency: MaxConcurrency = 1

    expected: ClassVar[Mapping[str, str]] = {
        "emails": _A_LIST,
        "user_ids": _A_LIST,
        "parameters": "must be a list or a dictionary of values, or None",
    }
    rules: ClassVar[Sequence[Rule]] = (_check_source, _check_query)


class NamedContactsOperator(CustomerlyOperator):
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
        """The hook, whose client is created at first use."""
        return CustomerlyHook(self.connection_id, max_concurrency=self.max_concurrency)

    def on_kill(self) -> None:
        """Start no further contact, and cancel waiting requests."""
        self._stop.set()
        self.hook.client.cancel()

    @cached_property
    def _stop(self) -> threading.Event:
        return threading.Event()

    def _named(self, arguments: NamedArguments, max_deletions: int | None = None) -> Named:
        """Read and check the contacts.

        :raises ValueError: contacts are invalid. The message quotes none of them.
        """
        if arguments.emails is not None:
            return collect("email", [arguments.emails], max_deletions)
        if arguments.user_ids is not None:
            return collect("user_id", [arguments.user_ids], max_deletions)
        source = SqlSource(arguments.sql_conn_id or "", sql=arguments.sql, parameters=arguments.parameters)
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
        f"The query must return one column, named email or user_id. It returns: {', '.join(columns)}. "
        "Nothing was sent. Select only the column that identifies the contacts."
    )
