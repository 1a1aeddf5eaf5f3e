"""What changed between two commits, field by field."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from airflow_provider_customerly.export.current import commit_ids, open_files, open_state
from airflow_provider_customerly.export.read import commit_as_of, locate
from airflow_provider_customerly.storage import Dataset, chain, manifest_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from airflow_provider_customerly.storage import Location, Manifest

SCHEMA = pa.schema(
    [
        pa.field("crmhero_user_id", pa.int64(), nullable=False),
        pa.field("change", pa.string(), nullable=False),
        pa.field("column", pa.string()),
        pa.field("before", pa.string()),
        pa.field("after", pa.string()),
    ]
)
_ID = "crmhero_user_id"
_BUCKET_ROWS = 100_000
"""Contacts that are compared at a time."""


def changes(
    path: Any,
    contact_type: str,
    *,
    since: int | str | date,
    until: int | str | date | None = None,
) -> pa.RecordBatchReader:
    """Tell what changed between two commits, as a stream.

    The rows are `crmhero_user_id`, `change`, `column`, `before` and `after`. Each field that changed has a
    row with `change` = `changed` and both values as text. A contact that is new or not there any more has
    one row without a column: `added`, `deleted` (confirmed by look-up) or `gone` (not confirmed, or a lead
    that became a user). Columns that only one of both commits has are not compared.

    :param path: the `path` of the export, as for `read_contacts`.
    :param since: the earlier commit, as the `as_of` of `read_contacts`.
    :param until: the later one, likewise; the newest by default.
    :raises ValueError: the path is blank, the contact type unknown, or `since` later than `until`.
    :raises FileNotFoundError: there is no such commit.
    """
    location = locate(path, contact_type)
    old, new = commit_as_of(location, since), commit_as_of(location, until)
    if old.sequence > new.sequence:
        raise ValueError(f"since ({since}) is a later commit than until ({until}). Swap the two.")
    rows = _may_differ(location, old, new)
    sides = open_state(location, old), open_state(location, new)
    return pa.RecordBatchReader.from_batches(SCHEMA, _compare(sides, rows, _deleted(location, old, new)))


def _may_differ(location: Location, old: Manifest, new: Manifest) -> ds.Expression | None:
    """Tell which rows need a look when one commit only adds to the other; None for all."""
    first, second = chain(location, old), chain(location, new)
    if second[: len(first)] != first:
        return None
    ids = [commit_ids(location, commit) for commit in second[len(first) :]]
    return ds.field(_ID).isin(pa.concat_arrays([pa.array([], pa.int64()), *ids]))


def _deleted(location: Location, old: Manifest, new: Manifest) -> pa.Array:
    ids = [pa.array([], pa.int64())]
    for name in manifest_names(location):
        if old.sequence < name.sequence <= new.sequence:
            commit = Dataset(location).at(name.name)
            if commit.deleted:
                table = open_files(location, commit.deleted).to_table(columns=[_ID])
                ids.append(table[_ID].combine_chunks())
    return pa.concat_arrays(ids)


def _compare(
    sides: Sequence[ds.Dataset], rows: ds.Expression | None, deleted: pa.Array
) -> Iterator[pa.RecordBatch]:
    count = 1 + max(side.count_rows(filter=rows) for side in sides) // _BUCKET_ROWS
    with tempfile.TemporaryDirectory(prefix="customerly-") as folder:
        files = [_spill(side, rows, Path(folder) / str(number), count) for number, side in enumerate(sides)]
        for before, after in zip(*files, strict=True):
            yield from _compare_bucket(_load(before), _load(after), deleted)


def _spill(dataset: ds.Dataset, rows: ds.Expression | None, folder: Path, count: int) -> list[Path]:
    """Part the rows by id, so that both sides of a contact meet in files that fit into memory."""
    folder.mkdir()
    paths = [folder / f"{number}.arrow" for number in range(count)]
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(pa.ipc.new_file(str(path), dataset.schema)) for path in paths]
        for batch in dataset.to_batches(filter=rows, batch_readahead=2, fragment_readahead=1):
            bucket = batch[_ID].to_numpy(zero_copy_only=False) % count
            for number, writer in enumerate(writers):
                writer.write_batch(batch.filter(pa.array(bucket == number)))
    return paths


def _load(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        return reader.read_all()


def _compare_bucket(before: pa.Table, after: pa.Table, deleted: pa.Array) -> Iterator[pa.RecordBatch]:
    old_ids, new_ids = before[_ID].combine_chunks(), after[_ID].combine_chunks()
    at = pc.index_in(new_ids, value_set=old_ids)
    added = new_ids.filter(pc.is_null(at))
    gone = old_ids.filter(pc.invert(pc.is_in(old_ids, value_set=new_ids)))
    is_deleted = pc.is_in(gone, value_set=deleted)
    yield _whole("added", added)
    yield _whole("deleted", gone.filter(is_deleted))
    yield _whole("gone", gone.filter(pc.invert(is_deleted)))
    both = pc.is_valid(at)
    before, after = before.take(at.filter(both)), after.filter(both)
    for column in after.column_names:
        if column != _ID and column in before.column_names:
            yield _changed(column, after[_ID], before[column], after[column])


def _whole(change: str, ids: pa.Array) -> pa.RecordBatch:
    nulls = pa.nulls(len(ids), pa.string())
    return pa.record_batch([ids, _repeat(change, len(ids)), nulls, nulls, nulls], schema=SCHEMA)


def _changed(column: str, ids: pa.ChunkedArray, old: pa.ChunkedArray, new: pa.ChunkedArray) -> pa.RecordBatch:
    if old.type != new.type:
        old, new = old.cast(pa.string()), new.cast(pa.string())
    appeared_or_vanished = pc.not_equal(pc.is_null(old), pc.is_null(new))
    differs = pc.or_(pc.fill_null(pc.not_equal(old, new), False), appeared_or_vanished)
    ids, old, new = (side.filter(differs).combine_chunks() for side in (ids, old, new))
    texts = old.cast(pa.string()), new.cast(pa.string())
    return pa.record_batch(
        [ids, _repeat("changed", len(ids)), _repeat(column, len(ids)), *texts], schema=SCHEMA
    )


def _repeat(text: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(text), count)
