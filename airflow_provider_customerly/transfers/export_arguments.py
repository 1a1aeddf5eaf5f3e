"""The arguments of an export, checked once their templates are rendered and before anything is asked for."""

from __future__ import annotations

from datetime import date, timedelta  # noqa: TC003  (msgspec reads the annotations)
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]


class ExportArguments(msgspec.Struct, frozen=True, kw_only=True):
    """What an export can be told, with the types it works with; a template gives all of them as text."""

    path: Annotated[str, Meta(pattern=r"\S")]
    path_conn_id: str | None
    contact_type: Literal["users", "leads"]
    mode: Literal["snapshot", "incremental"]
    snapshot_date: date
    lookback: timedelta
    full_refresh_every: timedelta | None
    full_refresh: bool
    compact: bool
    columns: list[str] | None
    attributes: dict[str, str] | None
    drop_columns: list[str]
    hash_columns: list[str]
    min_rows: Annotated[int, Meta(ge=0)]
    max_shrink: Share | None
    max_vanished: Share | None
    max_null_share: dict[str, Share] | None
    max_coercion_failures: Annotated[int, Meta(ge=0)] | None
    on_unproven: Literal["fail", "warn"]
    page_size: Annotated[int, Meta(ge=20, le=100)] | None
    max_concurrency: Annotated[int, Meta(ge=1, le=64)] | None
    compression: Literal["zstd", "snappy", "gzip", "lz4", "none"]
    row_group_size: Annotated[int, Meta(ge=1)]
    keep_manifests: Annotated[int, Meta(ge=1)] | None
    keep_days: Annotated[float, Meta(ge=0)] | None

    @property
    def options(self) -> dict[str, Any]:
        """Those that the export itself takes as options."""
        given = msgspec.structs.asdict(self)
        for name in ("path", "path_conn_id", "contact_type", "page_size", "max_concurrency"):
            del given[name]
        return {**given, "max_null_share": self.max_null_share or {}}


EXPECTED = {
    "path": "must not be blank; if it is a template, check the variable it is rendered from",
    "snapshot_date": "must be a day as YYYY-MM-DD",
    "lookback": "must be a duration such as PT10M, or a timedelta",
    "full_refresh_every": "must be a duration such as P7D, a timedelta, or None",
    "columns": "must be a list of columns, or None for all",
    "attributes": 'must be a dictionary of property to type, such as {"plan": "string"}',
    "drop_columns": "must be a list of columns",
    "hash_columns": "must be a list of columns",
    "max_shrink": "must be a share from 0 to 1, such as 0.5, or None",
    "max_vanished": "must be a share from 0 to 1, such as 0.1, or None",
    "max_null_share": 'must give a share from 0 to 1 for each column it names, such as {"email": 0.2}',
    "max_coercion_failures": "must be a whole number, 0 or more, or None",
    "page_size": "must be a whole number from 20 to 100, or None for the connection's",
    "keep_manifests": "must be a whole number, 1 or more, or None to keep all",
    "keep_days": "must be a number of days, 0 or more, or None to keep all",
    "max_concurrency": "must be a whole number from 1 to 64, or None for the connection's",
}
