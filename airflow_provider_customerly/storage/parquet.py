"""Write a Parquet file, describe it for the manifest, and read one in little memory."""

from __future__ import annotations

import contextlib
import platform
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_provider_customerly import __version__
from airflow_provider_customerly.storage.manifest import FileEntry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import IO

    from airflow_provider_customerly.storage.location import Location

VERSIONS = {
    "airflow-provider-customerly": __version__,
    "pyarrow": pa.__version__,
    "python": platform.python_version(),
}
"""The versions of the software that writes the files, for manifests and records."""

ROWS_AT_ONCE = 65_536
"""In a batch that is read, unless the caller wants fewer."""


def read_batches(
    stream: IO[bytes], columns: Sequence[str] | None = None, rows: int = ROWS_AT_ONCE
) -> Iterator[pa.RecordBatch]:
    """Read a file in little memory.

    It is read one row group at a time: else Arrow keeps all it has read of the file until the last batch.

    :param columns: the columns to read; None for all.
    :param rows: most rows in a batch.
    """
    file = pq.ParquetFile(stream)
    for group in range(file.num_row_groups):
        yield from file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)


class ParquetFile:
    """A Parquet file being written.

    Leaving the context manager without ``close`` leaves it unfinished. The caller deletes it.

    :param name: file name, relative to the location.
    :param path: final name for the description, if the file is moved there later.
    :param compression: Parquet's name of the codec; ``none`` for no compression.
    :param dictionary: columns to encode with a dictionary, or True for all.
    """

    def __init__(
        self,
        location: Location,
        name: str,
        schema: pa.Schema,
        *,
        path: str = "",
        compression: str = "zstd",
        dictionary: Sequence[str] | bool = True,
    ) -> None:
        self.path = path or name
        self.rows = 0
        self.row_groups = 0
        self._sink = location.create(name)
        self._writer = pq.ParquetWriter(
            self._sink, schema, compression=compression, use_dictionary=dictionary or False
        )

    def __enter__(self) -> ParquetFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def write(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Write rows as one row group."""
        table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self.rows += table.num_rows
        self.row_groups += 1

    def close(self) -> FileEntry:
        """Finish the file and return its description."""
        self._writer.close()
        self._sink.close()
        return FileEntry(
            path=self.path,
            rows=self.rows,
            bytes=self._sink.bytes,
            sha256=self._sink.sha256,
        )

    def abandon(self) -> None:
        """Stop writing, in whatever state the file is; do nothing after ``close``."""
        if not self._sink.closed:
            # Otherwise garbage collection would finish the file later, even after its deletion.
            self._sink.abandon()
            with contextlib.suppress(Exception):
                self._writer.close()
