"""Read committed exports."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from pyarrow.fs import FSSpecHandler, PyFileSystem

from airflow_provider_customerly.export.columns import DELETIONS, FIELDS
from airflow_provider_customerly.storage import Dataset, Location, RefusedError
from airflow_provider_customerly.storage.intact import find_damage
from airflow_provider_customerly.storage.parquet import ROWS_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date

    import pyarrow.dataset as ds

    from airflow_provider_customerly.storage import FileEntry, Manifest

_TRIES = 3


def read_contacts(path: Any, contact_type: str, *, as_of: int | str | date | None = None) -> ds.Dataset:
    """Open the contacts of the newest commit, or of an earlier one. Uncommitted files are never visible.

    The dataset is read as a stream. On a local disk it stays readable even if a later export replaces it.

    :param path: the ``path`` of the export: text, ``os.PathLike``, or Airflow's ``ObjectStoragePath``.
    :param contact_type: ``users`` or ``leads``.
    :param as_of: an earlier commit: its sequence, the name of its manifest, or a time at which it was the
        newest commit: UTC if it has no zone, and the end of the day if it is a date. Each can also be passed
        as text.
    :raises ValueError: the path is blank or the contact type is unknown.
    :raises FileNotFoundError: there is no commit, or none as of then, or it was removed.
    """
    location = locate(path, contact_type)
    return open_commit(location, lambda: commit_as_of(location, as_of))


def read_deletions(path: Any, contact_type: str) -> ds.Dataset:
    """Open the deleted contacts of all commits that are kept.

    The columns are ``crmhero_user_id``, ``last_update`` (of the last known version), ``last_seen`` (when that
    was exported) and ``confirmed_at``.

    :param path: the ``path`` of the export, as for ``read_contacts``.
    :raises ValueError: the path is blank or the contact type is unknown.
    """
    dataset = Dataset(locate(path, contact_type))
    names = [entry.path for commit in dataset.commits() for entry in commit.deleted]
    if names:
        return open_files(dataset.deleted, names)
    import pyarrow.dataset as ds

    return ds.dataset(DELETIONS.empty_table())


def locate(path: Any, contact_type: str) -> Location:
    """Return the folder of a contact type.

    :raises ValueError: the path is blank or the contact type is unknown.
    """
    if contact_type not in FIELDS:
        raise ValueError(f"Unknown contact type {contact_type!r}. Choose one of: {', '.join(FIELDS)}.")
    return Location.of(path).join(contact_type)


def commit_as_of(location: Location, as_of: int | str | date | None) -> Manifest:
    """Return the newest commit, or an earlier one.

    :raises FileNotFoundError: there is none.
    """
    if as_of is not None:
        return Dataset(location).at(as_of)
    manifest = Dataset(location).newest()
    if manifest is None:
        raise FileNotFoundError(
            f"No export has been committed at {location}. Run one, or check the path and the contact type."
        )
    return manifest


def open_commit(location: Location, find: Callable[[], Manifest]) -> ds.Dataset:
    """Open the files of a commit, or of one that has replaced it meanwhile.

    :param find: returns the commit.
    """
    for _ in range(_TRIES):
        manifest = find()
        try:
            return open_files(location, [entry.path for entry in manifest.files])
        except FileNotFoundError:
            if find() == manifest:
                raise
    manifest = find()
    return open_files(location, [entry.path for entry in manifest.files])


def open_intact(location: Location, entries: Sequence[FileEntry]) -> ds.Dataset:
    """Open committed files after a look at whether they are still what was committed.

    :raises RefusedError: one of them is not.
    """
    if problem := find_damage(location, entries):
        raise RefusedError(problem)
    return open_files(location, [entry.path for entry in entries])


def open_files(location: Location, names: Sequence[str]) -> ds.Dataset:
    """Open one or more Parquet files with the same schema. On a local disk they stay readable if removed.

    :raises FileNotFoundError: a file is missing.
    """
    import pyarrow.dataset as ds  # it brings pandas along, for which no DAG file should wait

    paths = [location.path(name) for name in names]
    handler = _Held(location, paths) if location.is_local else _Remote(location.fs)
    filesystem = PyFileSystem(handler)
    schema = pq.read_schema(paths[0], filesystem=filesystem)
    return ds.dataset(paths, schema=schema, format="parquet", filesystem=filesystem)


def stream_batches(
    table: ds.Dataset, columns: Sequence[str] | None = None, rows: int = ROWS_AT_ONCE
) -> Iterator[pa.RecordBatch]:
    """Read opened files in little memory, one row group at a time, as ``read_batches`` does.

    :param columns: the columns to read; None for all.
    :param rows: most rows in a batch.
    """
    from pyarrow.dataset import ParquetFragmentScanOptions

    options = ParquetFragmentScanOptions(pre_buffer=False)
    for file in table.get_fragments():
        for group in file.split_by_row_group():
            yield from group.to_batches(
                table.schema,
                columns=columns,
                batch_size=rows,
                batch_readahead=1,
                fragment_scan_options=options,
                use_threads=False,
            )


class _Held(FSSpecHandler):  # type: ignore[misc]  # Arrow has no types
    """Local files, held open so that they can be read even if they are removed."""

    def __init__(self, location: Location, paths: Sequence[str]) -> None:
        super().__init__(location.fs)
        self._files: dict[str, IO[bytes]] = {path: open(path, "rb") for path in paths}  # noqa: SIM115

    def __reduce__(self) -> Any:
        # Another process does not hold them open.
        return _local_filesystem, ()

    def open_input_file(self, path: str) -> pa.NativeFile:
        """Open a file by its name, or by its open handle if it was removed."""
        try:
            return pa.OSFile(path)
        except FileNotFoundError:
            return pa.OSFile(f"/dev/fd/{self._files[path].fileno()}")

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """Open a file in the same way."""
        return self.open_input_file(path)


class _Remote(FSSpecHandler):  # type: ignore[misc]
    """Files of an object store, which cannot be held open."""

    def open_input_file(self, path: str) -> pa.PythonFile:
        """Open a file."""
        try:
            return super().open_input_file(path)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{path} no longer exists: a later export replaced or removed this commit after it was "
                "opened. Open the export again."
            ) from None


def _local_filesystem() -> FSSpecHandler:
    return FSSpecHandler(LocalFileSystem())
