"""The arguments of a sync, with the types it works with."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from airflow_provider_customerly.sync import Guards, Options, limit


class SyncArguments(msgspec.Struct, frozen=True, kw_only=True):
    """What a sync can be told."""

    sql_conn_id: str | None
    sql: str | None
    table: str | None
    parameters: dict[str, Any] | list[Any] | None
    chunk_size: Annotated[int, Meta(ge=1)]
    state_path: Annotated[str, Meta(pattern=r"\S")]
    state_conn_id: str | None
    sync_name: str | None
    contact_type: Literal["users", "leads"]
    field_mapping: dict[str, str | None] | None
    tags: list[str]
    timezone: str | None
    null_as_empty: bool
    truncate_text: bool
    batch_size: Annotated[int, Meta(ge=1, le=100)]
    max_concurrency: Annotated[int, Meta(ge=1, le=64)]
    min_rows: Annotated[int, Meta(ge=0)]
    max_changes: int | float | str | None
    max_vanished: int | float | str
    max_rejects: int | float | str
    retry_rejects: bool
    full_resync: bool
    on_vanished: Literal["keep", "untag", "unsubscribe", "delete"]
    keep_days: Annotated[float, Meta(ge=0)] | None
    plan_only: bool
    plan_path: str | None
    log_table: str | None

    def check(self) -> None:
        """Refuse combinations that cannot be meant.

        :raises ValueError: says which and what to do.
        """
        reads = self.sql is not None or self.table is not None
        if self.plan_path is not None and (reads or self.plan_only):
            raise ValueError("plan_path applies a plan as it is: leave out sql, table and dry_run.")
        if self.plan_path is None and not reads:
            raise ValueError("Give sql or table: the rows to sync; or plan_path: a plan to apply.")
        if (reads or self.log_table is not None) and not self.sql_conn_id:
            raise ValueError("sql_conn_id is missing: name the Airflow connection of the warehouse.")

    def options(self) -> Options:
        """Give what `sync` is to be told.

        :raises ValueError: a limit is none.
        """
        return Options(
            contact_type=self.contact_type,
            field_mapping=self.field_mapping,
            tags=self.tags,
            timezone=self.timezone,
            null_as_empty=self.null_as_empty,
            truncate_text=self.truncate_text,
            batch_size=self.batch_size,
            max_concurrency=self.max_concurrency,
            guards=Guards(
                min_rows=self.min_rows,
                max_changes=None if self.max_changes is None else limit("max_changes", self.max_changes),
                max_vanished=limit("max_vanished", self.max_vanished),
            ),
            max_rejects=limit("max_rejects", self.max_rejects),
            retry_rejects=self.retry_rejects,
            full_resync=self.full_resync,
            on_vanished=self.on_vanished,
            keep_days=self.keep_days,
        )


EXPECTED = {
    "state_path": "must not be blank; if it is a template, check the variable it is rendered from",
    "keep_days": "must be a number of days, 0 or more, or None to keep all",
    "field_mapping": "must be a dictionary of column to field, such as {'email_address': 'email'}",
    "tags": "must be a list of texts",
    "parameters": "must be a list or a dictionary of values, or None",
    "plan_only": "(dry_run) must be true or false",
}
