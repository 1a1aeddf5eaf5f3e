"""Describe the files of a commit for the log of a Delta table."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_provider_customerly.export.columns import FIELDS, TIMESTAMP

if TYPE_CHECKING:
    from airflow_provider_customerly.storage import FileEntry, Location, Manifest

PARTITION = "snapshot_date"


def describe(location: Location, commit: Manifest) -> tuple[pa.Schema, list[Any]]:
    """Read the footers of a commit's files.

    :return: the columns, and for each file what adds it to a Delta table.
    :raises FileNotFoundError: a file is missing.
    """
    from deltalake.transaction import AddAction

    footers = [_read_footer(location, entry) for entry in commit.files]
    schema = footers[0].schema.to_arrow_schema().remove_metadata().append(pa.field(PARTITION, pa.date32()))
    actions = [
        AddAction(
            path=entry.path,
            size=entry.bytes,
            partition_values=commit.partition,
            modification_time=int(commit.finished_at.timestamp() * 1000),
            data_change=True,
            stats=json.dumps(_statistics(footer, schema)),
        )
        for entry, footer in zip(commit.files, footers, strict=True)
    ]
    return schema, actions


def _read_footer(location: Location, entry: FileEntry) -> Any:
    with location.open(entry.path) as stream:
        return pq.read_metadata(stream)


def _statistics(footer: Any, schema: pa.Schema) -> dict[str, Any]:
    """Return the Delta statistics of a file.

    The log outlives the files and must not hold personal data, so minimum and maximum values are only those
    of the API's own numbers and times, never of text or attributes.
    """
    smallest: dict[str, Any] = {}
    largest: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    for position, name in enumerate(footer.schema.names):
        found = [group.column(position).statistics for group in groups if group.num_rows]
        if any(one is None for one in found):
            continue
        if all(one.has_null_count for one in found):
            nulls[name] = sum(one.null_count for one in found)
        if _is_telling(schema.field(name)):
            with contextlib.suppress(ValueError, OverflowError):  # times out of Python's range
                filled = [one for one in found if one.num_values]
                smallest[name], largest[name] = _bounds([(one.min, one.max) for one in filled])
    return {
        "numRecords": footer.num_rows,
        "minValues": smallest,
        "maxValues": largest,
        "nullCount": nulls,
    }


def _is_telling(field: pa.Field) -> bool:
    return field.type in (pa.int64(), TIMESTAMP) and FIELDS["users"].get(field.name) == field.type


def _bounds(found: list[tuple[Any, Any]]) -> tuple[int | str, int | str]:
    """Return the smallest and largest value for JSON: times in milliseconds, rounded outwards.

    :raises ValueError: there is none, or it is not known.
    """
    low, high = min(low for low, _ in found), max(high for _, high in found)
    if isinstance(low, int) and isinstance(high, int):
        return low, high
    if not isinstance(low, datetime) or not isinstance(high, datetime):
        raise ValueError("not known")
    high += timedelta(microseconds=-high.microsecond % 1000)
    return _stamp(low), _stamp(high)


def _stamp(at: datetime) -> str:
    return at.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
