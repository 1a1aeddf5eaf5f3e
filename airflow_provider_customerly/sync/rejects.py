"""The rows that were not delivered, with reasons, in a Parquet file for each run.

The file contains personal data, so that the rows can be fixed. It is only written below the sync's state.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_provider_customerly.storage import read_batches
from airflow_provider_customerly.sync.damage import reading
from airflow_provider_customerly.sync.records import FOLDER as RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from airflow_provider_customerly.storage import Location
    from airflow_provider_customerly.storage.sink import Sink

FOLDER = "rejects"
_ROWS_AT_ONCE = 1_000


class Reject(NamedTuple):
    """A row that is not delivered.

    :param run: the run that refused it, which is an earlier one if the row is still refused.
    :param row: position in the source of that run, from 1.
    :param key: the contact's key in the ledger, in hex; empty if the row has no email.
    :param reason: see ``rows.Reason``.
    """

    run: str
    row: int
    email: str | None
    key: str
    reason: str
    field: str | None
    message: str


_SCHEMA = pa.schema([(name, pa.int64() if name == "row" else pa.string()) for name in Reject._fields])


class RejectWriter:
    """Write the rejects of a run. The first reject creates the file.

    Leaving the context manager without ``close`` deletes it.
    """

    def __init__(self, location: Location, run: str) -> None:
        self.name = f"{FOLDER}/{run}.parquet"
        self._location = location
        self._waiting: list[Reject] = []
        self._sink: Sink | None = None
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> RejectWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sink is not None and self._writer is not None:
            self._sink.abandon()
            self._writer.close()
            self._location.delete(self.name)

    def add(self, reject: Reject) -> None:
        """Add a row."""
        self._waiting.append(reject)
        if len(self._waiting) == _ROWS_AT_ONCE:
            self._write()

    def close(self) -> str | None:
        """Finish the file and return its name; None if there were no rejects."""
        if self._waiting:
            self._write()
        if self._sink is None or self._writer is None:
            return None
        self._writer.close()
        self._sink.close()
        self._sink = self._writer = None
        return self.name

    def _write(self) -> None:
        if self._writer is None:
            self._sink = self._location.create(self.name)
            self._writer = pq.ParquetWriter(self._sink, _SCHEMA, compression="zstd")
        columns = zip(*self._waiting, strict=True)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, _SCHEMA, strict=True)]
        self._writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))
        self._waiting = []


def read_rejects(location: Location, name: str) -> Iterator[Reject]:
    """Yield the rejects of a run.

    :param name: name of the file, relative to the sync's state.
    """
    with reading(location, name), location.open(name) as stream:
        for batch in read_batches(stream):
            for row in batch.to_pylist():
                yield Reject(**row)


def remove_unrecorded(location: Location) -> None:
    """Delete the rejects of crashed runs, which have no record."""
    recorded = {_run_of(name) for name in location.list(RECORDS)}
    for name in location.list(FOLDER):
        if _run_of(name) not in recorded:
            location.delete(name)


def _run_of(name: str) -> str:
    return PurePosixPath(name).stem
