"""One table over a whole export and the changes that came after it."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import FSSpecHandler, LocalFileSystem, PyFileSystem

from airflow_provider_customerly.storage import chain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_customerly.storage import FileEntry, Location, Manifest

_COMMIT = "__commit"
_ID = "crmhero_user_id"


class CurrentContacts(ds.FileSystemDataset):  # type: ignore[misc]  # Arrow has no types
    """The newest version of each contact over several commits, read as a stream.

    It is a filtered dataset: which commit a row comes from is known for each file and decides, with the
    contact's id, whether the row is still the newest. Only this hidden column makes it differ from other
    datasets; `sort_by` and `join` do not know of it and refuse, so use them on a table.
    """

    @property
    def schema(self) -> pa.Schema:
        """The schema of an export."""
        schema = super().schema
        return schema.remove(schema.get_field_index(_COMMIT))

    def scanner(self, columns: Any = None, **options: Any) -> ds.Scanner:
        """Scan it; the options are those of `pyarrow.dataset.Dataset.scanner`."""
        return super().scanner(columns=self.schema.names if columns is None else columns, **options)


def open_state(location: Location, manifest: Manifest) -> ds.Dataset:
    """Open the state that a commit made current.

    :raises FileNotFoundError: something that it rests on is gone.
    """
    commits = chain(location, manifest)
    if len(commits) == 1:
        return open_files(location, manifest.files)
    filesystem = arrow_filesystem(location)
    fragments = [
        ds.ParquetFileFormat().make_fragment(
            location.path(entry.path), filesystem, partition_expression=ds.field(_COMMIT) == number
        )
        for number, commit in enumerate(commits)
        for entry in commit.files
    ]
    schema = _schema(location, manifest.files, filesystem).append(pa.field(_COMMIT, pa.int32()))
    dataset = CurrentContacts(fragments, schema, ds.ParquetFileFormat(), filesystem)
    return dataset.filter(_is_newest(location, commits))


def open_files(location: Location, files: Sequence[FileEntry]) -> ds.Dataset:
    """Open files as they are; there is at least one."""
    filesystem = arrow_filesystem(location)
    paths = [location.path(entry.path) for entry in files]
    schema = _schema(location, files, filesystem)
    return ds.dataset(paths, schema=schema, format="parquet", filesystem=filesystem)


def arrow_filesystem(location: Location) -> Any:
    """Give the file system of a location as Arrow knows it."""
    return LocalFileSystem() if location.is_local else PyFileSystem(FSSpecHandler(location.fs))


def _schema(location: Location, files: Sequence[FileEntry], filesystem: Any) -> pa.Schema:
    return pq.read_schema(location.path(files[0].path), filesystem=filesystem)


def _is_newest(location: Location, commits: Sequence[Manifest]) -> ds.Expression:
    """Tell rows that no later commit has a newer version of.

    What was read later is newer, whatever its stamp says: the vendor's clock may have been set back. A commit
    has a contact once. The ids of changed contacts are held in memory, those of the base are not.
    """
    newer = pa.array([], pa.int64())
    terms = []
    for number in range(len(commits) - 1, 0, -1):
        ids = commit_ids(location, commits[number])
        own = ids.filter(pc.invert(pc.is_in(ids, value_set=newer)))
        comes_from = ds.field(_COMMIT) == number
        terms.append(comes_from if len(own) == len(ids) else comes_from & ds.field(_ID).isin(own))
        newer = pa.concat_arrays([newer, own])
    terms.append((ds.field(_COMMIT) == 0) & ~ds.field(_ID).isin(newer))
    return reduce(or_, terms)


def commit_ids(location: Location, commit: Manifest) -> pa.Array:
    """Give the ids of the contacts that a commit has."""
    return open_files(location, commit.files).to_table(columns=[_ID])[_ID].combine_chunks()
