"""The differences in a Parquet file for each run, with a row for each field that differs.

The file contains personal data, so that you can look into it. Nothing else of a reconciliation does.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pyarrow as pa

from airflow_provider_customerly.storage import RunId
from airflow_provider_customerly.storage.parquet import ParquetFile

if TYPE_CHECKING:
    from types import TracebackType

    from airflow_provider_customerly.storage import Location

FOLDER = "differences"
_ROWS_AT_ONCE = 1_000

Kind = Literal["differing", "only_warehouse", "only_customerly", "invalid"]


class Difference(NamedTuple):
    """A row or contact without a counterpart, or a field that differs.

    :param row: position in the source, from 1; None for a contact without a row.
    :param contact: Customerly's own id of the contact.
    :param reason: why a row is invalid.
    """

    kind: Kind
    row: int | None = None
    email: str | None = None
    user_id: str | None = None
    contact: int | None = None
    field: str | None = None
    in_customerly: Any = None
    in_warehouse: Any = None
    reason: str | None = None


_SCHEMA = pa.schema(
    [(name, pa.int64() if name in ("row", "contact") else pa.string()) for name in Difference._fields]
)


class DifferenceWriter:
    """Write the differences of a run, with values as JSON text. The first difference creates the file.

    Leaving the context manager without ``close`` deletes it.

    :param location: folder of the file; None to write nothing.
    """

    def __init__(self, location: Location | None) -> None:
        self._location = location
        self._name = f"{FOLDER}/{RunId.new()}.parquet"
        self._waiting: list[Difference] = []
        self._file: ParquetFile | None = None

    @property
    def is_used(self) -> bool:
        """True if differences are written at all."""
        return self._location is not None

    def __enter__(self) -> DifferenceWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._location is not None and self._file is not None:
            self._file.abandon()
            self._location.delete(self._name)

    def add(self, difference: Difference) -> None:
        """Add a difference."""
        if self._location is None:
            return
        self._waiting.append(difference)
        if len(self._waiting) == _ROWS_AT_ONCE:
            self._write(self._location)

    def close(self) -> str | None:
        """Finish the file and return its path; None if there is no file."""
        if self._location is None:
            return None
        if self._waiting:
            self._write(self._location)
        if self._file is None:
            return None
        self._file.close()
        self._file = None
        return f"{self._location}/{self._name}"

    def _write(self, location: Location) -> None:
        if self._file is None:
            self._file = ParquetFile(location, self._name, _SCHEMA)
        columns = dict(zip(Difference._fields, zip(*self._waiting, strict=True), strict=True))
        for name in ("in_customerly", "in_warehouse"):
            columns[name] = tuple(map(_json, columns[name]))
        arrays = [pa.array(columns[field.name], field.type) for field in _SCHEMA]
        self._file.write(pa.record_batch(arrays, schema=_SCHEMA))
        self._waiting = []


def remove_old(location: Location, days: float) -> None:
    """Delete the files of runs that are older than this."""
    before = datetime.now(timezone.utc) - timedelta(days=days)
    for name in location.list(FOLDER):
        run = RunId.within(name)
        if run is not None and run.began < before:
            location.delete(name)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)
