"""Merge changed contacts into the table of the previous commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_provider_customerly.export.read import open_files, stream_batches
from airflow_provider_customerly.storage import read_batches

if TYPE_CHECKING:
    import pyarrow.dataset as ds

    from airflow_provider_customerly.export.writer import PartWriter
    from airflow_provider_customerly.storage import FileEntry, Manifest, Write

_ID, _STAMP = "crmhero_user_id", "last_update"
_ROWS_AT_ONCE = 4_096


def merge(
    write: Write, before: Manifest, fresh: list[FileEntry], writer: PartWriter, partition: dict[str, str]
) -> tuple[list[FileEntry], dict[str, int]]:
    """Write the table of a commit again with newer contacts, holding a few thousand rows in memory.

    If no contact differs from its version in the table, the files are copied byte by byte.

    :param fresh: staged parts of ``write`` with the contacts read, once each. They are removed.
    :param writer: writes the new table, unless files are copied.
    :return: the files of the new table, and the number of new and changed rows.
    :raises FileNotFoundError: a file of ``before`` is missing.
    """
    read = open_files(write.location, [write.staged(entry.path) for entry in fresh])
    keys = read.to_table(columns=[_ID, _STAMP]).combine_chunks()
    ids = keys[_ID].combine_chunks()
    known = _find(write, before, ids)
    new = len(ids) - known.keys.num_rows
    changed = _count_moved(keys, known.keys) or _count_different(write, read, known)
    if new or changed:
        for entry in before.files:
            with write.location.open(entry.path) as stream:
                for batch in read_batches(stream, rows=_ROWS_AT_ONCE):
                    stays = pc.invert(pc.is_in(batch[_ID], value_set=ids))
                    writer.add(batch if pc.all(stays).as_py() else batch.filter(stays))
        for batch in stream_batches(read):
            writer.add(batch)
        files = writer.finish({})
    else:
        files = [write.copy_part(entry, partition) for entry in before.files]
    for entry in fresh:
        write.remove_part(entry.path)
    return files, {"new": new, "changed": changed}


class _Known(NamedTuple):
    """The contacts read that the previous table already has."""

    keys: pa.Table
    groups: dict[str, list[int]]
    """The row groups that have such contacts, by file."""


def _find(write: Write, before: Manifest, ids: pa.Array) -> _Known:
    found: list[pa.Table] = []
    groups: dict[str, list[int]] = {}
    for entry in before.files:
        with write.location.open(entry.path) as stream:
            file = pq.ParquetFile(stream)
            for number in range(file.num_row_groups):
                rows = file.read_row_group(number, [_ID, _STAMP])
                rows = rows.filter(pc.is_in(rows[_ID], value_set=ids))
                found.append(rows)
                if rows.num_rows:
                    groups.setdefault(entry.path, []).append(number)
    return _Known(pa.concat_tables(found).combine_chunks(), groups)


def _count_moved(keys: pa.Table, known: pa.Table) -> int:
    """Count contacts whose timestamp changed."""
    at = pc.index_in(known[_ID], value_set=keys[_ID].combine_chunks())
    same = pc.equal(known[_STAMP], keys[_STAMP].take(at))
    unmoved: int = pc.sum(same).as_py() or 0
    return int(known.num_rows) - unmoved


def _count_different(write: Write, read: ds.Dataset, known: _Known) -> int:
    """Count contacts that differ although their timestamp, which is in seconds, is the same."""
    count = 0
    for path, numbers in known.groups.items():
        with write.location.open(path) as stream:
            file = pq.ParquetFile(stream)
            for number in numbers:
                old = file.read_row_group(number)
                old = old.filter(pc.is_in(old[_ID], value_set=known.keys[_ID].combine_chunks()))
                ids = old[_ID].combine_chunks()
                now = read.to_table(filter=pc.field(_ID).isin(ids))
                count += _differ(old, now.take(pc.index_in(ids, value_set=now[_ID].combine_chunks())))
    return count


def _differ(old: pa.Table, now: pa.Table) -> int:
    differ = pa.array([False] * now.num_rows)
    for name in now.column_names:
        before, after = old[name].combine_chunks(), now[name].combine_chunks()
        equal = pc.fill_null(pc.equal(before, after), False)
        both_null = pc.and_(pc.is_null(before), pc.is_null(after))
        differ = pc.or_(differ, pc.invert(pc.or_(equal, both_null)))
    return int(pc.sum(differ).as_py() or 0)
