"""The arguments of a sync, with the types it works with."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from airflow_provider_customerly.sync import Options


class SyncArguments(Options, frozen=True, kw_only=True):
    """What a sync can be told: its options, where its rows come from and where its state is."""

    sql_conn_id: str | None
    sql: str | None
    table: str | None
    parameters: dict[str, Any] | list[Any] | None
    chunk_size: Annotated[int, Meta(ge=1)]
    state_path: Annotated[str, Meta(pattern=r"\S")]
    state_conn_id: str | None
    sync_name: str | None
    plan_only: bool
    plan_path: str | None
    log_table: str | None

    def check(self) -> None:
        """Refuse combinations that cannot be meant.

        :raises ValueError: says which and what to do.
        """
        super().check()
        reads = self.sql is not None or self.table is not None
        if self.plan_path is not None and (reads or self.plan_only):
            raise ValueError("plan_path applies a plan as it is: leave out sql, table and dry_run.")
        if self.plan_path is None and not reads:
            raise ValueError("Give sql or table: the rows to sync; or plan_path: a plan to apply.")
        if (reads or self.log_table is not None) and not self.sql_conn_id:
            raise ValueError("sql_conn_id is missing: name the Airflow connection of the warehouse.")


EXPECTED = {
    "state_path": "must not be blank; if it is a template, check the variable it is rendered from",
    "keep_days": "must be a number of days, 0 or more, or None to keep all",
    "field_mapping": "must be a dictionary of column to field, such as {'email_address': 'email'}",
    "tags": "must be a list of texts",
    "booleans": "must be a list of names of columns",
    **dict.fromkeys(("max_changes", "max_vanished", "max_rejects"), "must be a number of rows or a share"),
    "parameters": "must be a list or a dictionary of values, or None",
    "plan_only": "(dry_run) must be true or false",
}
