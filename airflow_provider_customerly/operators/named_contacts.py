"""What operators share that work on contacts which are named one by one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_customerly.contacts import Named, collect
from airflow_provider_customerly.hooks.customerly import CustomerlyHook
from airflow_provider_customerly.operators.unshown import Unshown, shown
from airflow_provider_customerly.transfers.sql_source import SqlSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import jinja2
    from airflow.sdk import Context

    from airflow_provider_customerly.contacts import NamedBy

_PRIVATE = ("emails", "user_ids", "parameters")


class NamedContactsOperator(BaseOperator):
    """Base of operators whose contacts come from a list of emails, a list of user ids, or a query.

    The values rendered for the lists and for ``parameters`` are not shown in Airflow's pages.
    """

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

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: jinja2.Environment,
        seen_oids: set[int],
    ) -> None:
        # The one place that mapped and other tasks both come through after rendering and before Airflow
        # stores what was rendered.
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
        if parent is self:
            for name in _PRIVATE:
                if getattr(self, name) is not None:
                    setattr(self, name, Unshown(shown(getattr(self, name))))

    def _named(self, max_deletions: int | None = None) -> Named:
        """Read and check the contacts.

        :raises ValueError: says what is wrong, and quotes no contact.
        """
        emails, user_ids, parameters = (shown(getattr(self, name)) for name in _PRIVATE)
        if sum(source is not None for source in (emails, user_ids, self.sql)) != 1:
            raise ValueError("Give exactly one of emails, user_ids and sql: where the contacts come from.")
        if self.sql is None:
            if parameters is not None or self.sql_conn_id is not None:
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
        if not self.sql_conn_id:
            raise ValueError("sql_conn_id is missing: name the Airflow connection of the database.")
        with SqlSource(self.sql_conn_id, sql=self.sql, parameters=parameters).open() as rows:
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
