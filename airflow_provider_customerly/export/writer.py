"""Writes record batches as Parquet parts, one row group in memory at a time."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_provider_customerly.export.arrays import to_array
from airflow_provider_customerly.export.schema import TIMESTAMP
from airflow_provider_customerly.storage import FileEntry, Write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from airflow_provider_customerly.storage.sink import Sink

_ROW_GROUPS_A_PART = 4


@dataclasses.dataclass
class _Part:
    name: str
    sink: Sink
    writer: pq.ParquetWriter
    rows: int = 0
    row_groups: int = 0


class PartWriter:
    """The parts of one write. There is always at least one, so that an empty export has its schema too.

    :param write: the write that the parts belong to.
    :param partition: the folder they go to, such as `{"snapshot_date": "2026-11-23"}`.
    :param compression: as Parquet names it, `none` for none.
    :param row_group_size: rows in a row group.
    """

    def __init__(
        self,
        write: Write,
        partition: dict[str, str],
        schema: pa.Schema,
        compression: str,
        row_group_size: int,
    ) -> None:
        self.rows = 0
        self.low: datetime | None = None
        self.high: datetime | None = None
        self._write = write
        self._partition = partition
        self._schema = schema
        self._compression = compression
        self._row_group_size = row_group_size
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._part: _Part | None = None
        self._files: list[FileEntry] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch; it is written when a row group is full."""
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        while self._waiting_rows >= self._row_group_size:
            self._write_row_group()

    def finish(self, superseded: Mapping[int, str]) -> list[FileEntry]:
        """Write what waits, drop rows that have a newer version, and give the files.

        :param superseded: contact id to the `last_update` of its newest version; older ones go.
        """
        if self._waiting_rows or (self._part is None and not self._files):
            self._write_row_group()
        self._close_part()
        written, self._files = self._files, []
        stale = _Superseded(superseded)
        for entry in written:
            self._keep_newest(entry, stale)
        if not self._files:
            self._write_row_group()
            self._close_part()
        for entry in self._files:
            self._note_bounds(entry)
        self.rows = sum(entry.rows for entry in self._files)
        return self._files

    def _keep_newest(self, entry: FileEntry, stale: _Superseded) -> None:
        with self._write.location.open(entry.path) as stream:
            part = pq.ParquetFile(stream)
            groups = range(part.num_row_groups)
            keys = ["crmhero_user_id", "last_update"]
            keep = [stale.mask(part.read_row_group(group, columns=keys)) for group in groups]
            if all(pc.all(mask).as_py() is not False for mask in keep):
                self._files.append(entry)
            else:
                for group, mask in zip(groups, keep, strict=True):
                    for batch in part.read_row_group(group).filter(mask).to_batches():
                        self.add(batch)
                if self._waiting_rows:
                    self._write_row_group()
                self._close_part()
                self._write.remove_part(entry.path)

    def _note_bounds(self, entry: FileEntry) -> None:
        with self._write.location.open(entry.path) as stream:
            metadata = pq.ParquetFile(stream).metadata
        index = self._schema.names.index("last_update")
        for group in range(metadata.num_row_groups):
            statistics = metadata.row_group(group).column(index).statistics
            if statistics is not None and statistics.has_min_max:
                self.low = min(filter(None, (self.low, statistics.min)))
                self.high = max(filter(None, (self.high, statistics.max)))

    def _write_row_group(self) -> None:
        table = pa.Table.from_batches(self._waiting, schema=self._schema)
        group, rest = table.slice(0, self._row_group_size), table.slice(self._row_group_size)
        self._waiting = rest.to_batches()
        self._waiting_rows = rest.num_rows
        part = self._part or self._open_part()
        part.writer.write_table(group, row_group_size=self._row_group_size)
        part.rows += group.num_rows
        part.row_groups += 1
        self._write.renew()
        if part.row_groups == _ROW_GROUPS_A_PART:
            self._close_part()

    def _open_part(self) -> _Part:
        name = self._write.part_path(self._partition)
        sink = self._write.location.create(name)
        writer = pq.ParquetWriter(sink, self._schema, compression=self._compression)
        self._part = _Part(name, sink, writer)
        return self._part

    def _close_part(self) -> None:
        part, self._part = self._part, None
        if part is None:
            return
        part.writer.close()
        part.sink.close()
        self._files.append(
            FileEntry(
                path=part.name,
                rows=part.rows,
                bytes=part.sink.bytes,
                sha256=part.sink.sha256,
                row_groups=part.row_groups,
            )
        )


class _Superseded:
    """Tells rows that have a newer version, by the ids and stamps of the newest ones."""

    def __init__(self, newest: Mapping[int, str]) -> None:
        stamps, _ = to_array(list(newest.values()), TIMESTAMP)
        order = np.argsort(np.fromiter(newest, dtype=np.int64, count=len(newest)))
        self._ids = np.fromiter(newest, dtype=np.int64, count=len(newest))[order]
        self._stamps = _microseconds(stamps)[order]

    def mask(self, rows: pa.Table) -> pa.Array:
        """Give true for each row that stays."""
        ids = rows["crmhero_user_id"].to_numpy()
        if not len(self._ids):
            return pa.array(np.ones(len(ids), dtype=bool))
        at = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        older = _microseconds(rows["last_update"]) < self._stamps[at]
        return pa.array(~((self._ids[at] == ids) & older))


def _microseconds(stamps: Any) -> Any:
    least = np.iinfo(np.int64).min
    return pc.fill_null(stamps.cast(pa.int64()), least).to_numpy(zero_copy_only=False)


def batches_of(rows: Iterator[list[Any]], size: int) -> Iterator[list[Any]]:
    """Regroup lists of rows into lists of about `size`: larger ones are cheaper to convert."""
    waiting: list[Any] = []
    for some in rows:
        waiting += some
        if len(waiting) >= size:
            yield waiting
            waiting = []
    if waiting:
        yield waiting
