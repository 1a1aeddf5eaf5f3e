"""The options of an export."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta

from airflow_provider_customerly.client import ContactType
from airflow_provider_customerly.export.columns import choose_columns, elsewhere_only
from airflow_provider_customerly.values.arguments import Arguments, Rule

if TYPE_CHECKING:
    from airflow_provider_customerly.export.columns import Columns

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
TableFormat = Literal["parquet", "delta"]


_LONGEST = timedelta(days=36_500)


def _chosen(options: ExportOptions) -> Columns:
    return choose_columns(
        options.contact_type, options.columns, options.attributes, options.drop_columns, options.hash_columns
    )


def _null_limits(options: ExportOptions) -> dict[str, float]:
    limits = options.max_null_share or {}
    elsewhere = elsewhere_only(options.contact_type, limits)
    return {name: share for name, share in limits.items() if name not in elsewhere}


def _check_durations(options: ExportOptions) -> None:
    for name in ("lookback", "full_refresh_every"):
        value = getattr(options, name)
        if value is not None and not timedelta(0) <= value <= _LONGEST:
            raise ValueError(f"{name} {ExportOptions.expected[name]}. It is {value}.")


def _check_columns(options: ExportOptions) -> None:
    columns = _chosen(options).schema.names
    if unknown := set(_null_limits(options)) - set(columns):
        raise ValueError(
            f"max_null_share names columns that this export does not have: {', '.join(sorted(unknown))}. "
            f"It has: {', '.join(columns)}."
        )


class ExportOptions(Arguments, frozen=True, kw_only=True, dict=True):
    """The options of an export, with types, ranges and defaults.

    ``columns``, ``attributes``, ``drop_columns`` and ``hash_columns`` are those of ``choose_columns``.
    """

    contact_type: ContactType = "users"
    mode: Literal["snapshot", "incremental"] = "snapshot"
    """``snapshot`` reads all contacts. ``incremental`` reads those that changed since the newest commit, or
    all of them if there is no commit to merge with. Both write the whole table."""
    snapshot_date: date
    """The day of the export, which is also the folder name."""
    lookback: timedelta = timedelta(minutes=10)
    """How far before the watermark an incremental export starts to read, in addition to an hour for clocks
    that are set back."""
    full_refresh_every: timedelta | None = None
    """Do a full refresh if the last one is older than this."""
    full_refresh: bool = False
    """Do a full refresh in this run."""
    columns: list[str] | None = None
    attributes: dict[str, str] | None = None
    drop_columns: list[str] = []
    hash_columns: list[str] = []
    min_rows: Count = 0
    """Minimum number of rows in the table."""
    max_shrink: Share | None = None
    """Maximum share by which the table may shrink compared to the last one."""
    max_vanished: Share | None = None
    """Maximum share of known contacts that may be missing from a full refresh."""
    max_null_share: dict[str, Share] | None = None
    """Maximum share of nulls, by column."""
    max_coercion_failures: Count | None = None
    """Maximum number of values per column that do not fit its type."""
    on_unproven: Literal["fail", "warn"] = "fail"
    """``warn`` commits an export even if it is not proven complete."""
    table_format: TableFormat = "parquet"
    """``delta`` also publishes each commit as a version of a Delta table."""
    compression: Literal["zstd", "snappy", "gzip", "lz4", "none"] = "zstd"
    row_group_size: Annotated[int, Meta(ge=1)] = 65_536
    """Maximum number of rows per row group, and of rows held in memory."""
    keep_manifests: Annotated[int, Meta(ge=1)] | None = None
    """Keep this many of the newest commits and remove older ones; None keeps all."""
    keep_days: Annotated[float, Meta(ge=0, le=36_500)] | None = None
    """Keep the commits of this many days. A commit stays if either of the two limits keeps it."""

    expected: ClassVar[Mapping[str, str]] = {
        "lookback": "must be a duration of at most 36500 days, such as PT10M, or a timedelta",
        "full_refresh_every": "must be a duration of at most 36500 days, such as P7D, a timedelta, or None",
        "columns": "must be a list of columns, or None for all",
        "attributes": 'must be a dictionary of property to type, such as {"plan": "string"}',
        "drop_columns": "must be a list of columns",
        "hash_columns": "must be a list of columns",
        "max_shrink": "must be a share from 0 to 1, such as 0.5, or None",
        "max_vanished": "must be a share from 0 to 1, such as 0.1, or None",
        "max_null_share": 'must map columns to shares from 0 to 1, such as {"email": 0.2}',
        "max_coercion_failures": "must be a whole number, 0 or more, or None",
        "keep_manifests": "must be a whole number, 1 or more, or None to keep all",
        "keep_days": "must be a number of days from 0 to 36500, or None to keep all",
    }
    rules: ClassVar[Sequence[Rule]] = (_check_durations, _check_columns)

    @cached_property
    def chosen(self) -> Columns:
        """The columns of the export.

        :raises ValueError: see ``choose_columns``.
        """
        return _chosen(self)

    @property
    def null_limits(self) -> dict[str, float]:
        """``max_null_share`` without columns that only the other contact type has."""
        return _null_limits(self)

    def settings(self, salt: str | None) -> str:
        """Return a fingerprint of the settings that affect rows; it does not reveal the salt."""
        chosen = self.chosen
        content = [
            [[field.name, str(field.type)] for field in chosen.schema],
            list(chosen.promoted),
            sorted(chosen.hashed),
        ]
        key = salt if chosen.hashed and salt else ""
        return hmac.new(key.encode(), json.dumps(content).encode(), hashlib.sha256).hexdigest()
