"""Writes record batches as the parts of a commit, one row group in memory at a time."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_customerly.export.superseded import Superseded
from airflow_provider_customerly.storage import read_batches

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from types import TracebackType

    from airflow_provider_customerly.storage import FileEntry, ParquetFile, Write

_ROW_GROUPS_A_PART = 4
_ROW_GROUP_BYTES = 32 << 20
"""Rows that wait in memory are written when they take this much, even if the group is smaller than requested:
contacts may carry attributes of any length."""
_REREAD_ROWS = 1_024
_MOSTLY_UNIQUE = {"crmhero_user_id", "user_id", "email", "name", "last_update", "attributes", "extra"}
"""Columns for which a dictionary costs time and saves no space."""


@dataclasses.dataclass
class _Part:
    file: ParquetFile
    low: datetime | None = None
    high: datetime | None = None


class PartWriter:
    """The parts of one write. There is always at least one, so that an empty export has its schema too.

    As a context manager it stops writing when left, whatever state the last part is in; deleting what was
    written is up to the `write`.

    :param write: the write that the parts belong to.
    :param partition: the folder they go to, such as `{"snapshot_date": "2026-11-23"}`.
    :param compression: as Parquet names it, `none` for none.
    :param row_group_size: most rows in a row group.
    :param deleted: the rows are deleted contacts.
    """

    def __init__(
        self,
        write: Write,
        partition: dict[str, str],
        schema: pa.Schema,
        compression: str = "zstd",
        row_group_size: int = 65_536,
        *,
        deleted: bool = False,
    ) -> None:
        self._write = write
        self._deleted = deleted
        self._partition = partition
        self._schema = schema
        self._compression = compression
        self._row_group_size = row_group_size
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._part: _Part | None = None
        self._done: list[tuple[FileEntry, _Part]] = []

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._part is not None:
            self._part.file.abandon()

    @property
    def files(self) -> list[FileEntry]:
        """The parts that are complete."""
        return [entry for entry, _ in self._done]

    @property
    def rows(self) -> int:
        """Rows in these."""
        return sum(entry.rows for entry in self.files)

    @property
    def low(self) -> datetime | None:
        """Oldest `last_update` in these."""
        return min((part.low for _, part in self._done if part.low), default=None)

    @property
    def high(self) -> datetime | None:
        """Newest `last_update` in these."""
        return max((part.high for _, part in self._done if part.high), default=None)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch; it is written when a row group is full."""
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        self._waiting_bytes += batch.get_total_buffer_size()
        while self._waiting_rows >= self._row_group_size or self._waiting_bytes >= _ROW_GROUP_BYTES:
            self._write_row_group()

    def finish(self, superseded: Mapping[int, str]) -> list[FileEntry]:
        """Write what waits, drop rows that have a newer version, and return the files.

        :param superseded: contact id to the `last_update` of its newest version; rows with an older one go.
        """
        self._flush()
        if superseded:
            stale = Superseded(superseded)
            written, self._done = self._done, []
            for entry, part in written:
                self._keep_newest(entry, part, stale)
            self._flush()
        if not self._done:
            self._write_row_group()
            self._close_part()
        return self.files

    def _keep_newest(self, entry: FileEntry, part: _Part, stale: Superseded) -> None:
        with self._write.location.open(self._write.staged(entry.path)) as stream:
            stamps = read_batches(stream, stale.columns)
            if all(_all_true(stale.keep(batch)) for batch in stamps):
                self._done.append((entry, part))
                return
            for batch in read_batches(stream, rows=_REREAD_ROWS):
                self.add(batch.filter(stale.keep(batch)))
        self._flush()
        self._write.remove_part(entry.path)

    def _flush(self) -> None:
        if self._waiting_rows:
            self._write_row_group()
        self._close_part()

    def _write_row_group(self) -> None:
        table = pa.Table.from_batches(self._waiting, schema=self._schema)
        group, rest = table.slice(0, self._row_group_size), table.slice(self._row_group_size)
        self._waiting = rest.to_batches()
        self._waiting_rows, self._waiting_bytes = rest.num_rows, rest.get_total_buffer_size()
        part = self._part or self._open_part()
        part.file.write(group)
        bounds = pc.min_max(group["last_update"]).as_py()
        part.low = min(filter(None, (part.low, bounds["min"])), default=None)
        part.high = max(filter(None, (part.high, bounds["max"])), default=None)
        if part.file.row_groups == _ROW_GROUPS_A_PART:
            self._close_part()

    def _open_part(self) -> _Part:
        repetitive = [column for column in self._schema.names if column not in _MOSTLY_UNIQUE]
        file = self._write.create_part(
            self._partition,
            self._schema,
            deleted=self._deleted,
            compression=self._compression,
            dictionary=repetitive,
        )
        self._part = _Part(file)
        return self._part

    def _close_part(self) -> None:
        part = self._part
        if part is None:
            return
        self._done.append((part.file.close(), part))
        self._part = None


def _all_true(mask: pa.Array) -> bool:
    return bool(mask.true_count == len(mask))
