"""Compare two commits field by field."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_customerly.export.read import commit_as_of, locate, open_files, stream_batches
from airflow_provider_customerly.storage import Dataset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    import pyarrow.dataset as ds

    from airflow_provider_customerly.storage import Manifest

CHANGES = pa.schema(
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
"""Number of contacts compared at a time."""


def changes(
    path: Any,
    contact_type: str,
    *,
    since: int | str | date,
    until: int | str | date | None = None,
) -> pa.RecordBatchReader:
    """Return the changes between two commits as a stream.

    The columns are ``crmhero_user_id``, ``change``, ``column``, ``before`` and ``after``. Each changed field
    has a row with ``change`` = ``changed`` and both values as text. A contact that is new or missing has one
    row without a column: ``added``, ``deleted`` (confirmed by a look-up) or ``gone`` (not confirmed, or a
    lead that became a user). Columns that only one of the commits has are not compared.

    :param path: the ``path`` of the export, as for ``read_contacts``.
    :param since: the earlier commit, like ``as_of`` of ``read_contacts``.
    :param until: the later commit; the newest by default.
    :raises ValueError: the path is blank, the contact type is unknown, or ``since`` is later than ``until``.
    :raises FileNotFoundError: there is no such commit.
    """
    location = locate(path, contact_type)
    old, new = commit_as_of(location, since), commit_as_of(location, until)
    if old.sequence > new.sequence:
        raise ValueError(f"since ({since}) is a later commit than until ({until}). Swap the two.")
    sides = [open_files(location, [entry.path for entry in commit.files]) for commit in (old, new)]
    return pa.RecordBatchReader.from_batches(CHANGES, _compare(sides, _deleted(Dataset(location), old, new)))


def _deleted(dataset: Dataset, old: Manifest, new: Manifest) -> pa.Array:
    ids = [pa.array([], pa.int64())]
    for commit in dataset.commits():
        if old.sequence < commit.sequence <= new.sequence and commit.deleted:
            table = open_files(dataset.deleted, [entry.path for entry in commit.deleted])
            ids.append(table.to_table(columns=[_ID])[_ID].combine_chunks())
    return pa.concat_arrays(ids)


def _compare(sides: Sequence[ds.Dataset], deleted: pa.Array) -> Iterator[pa.RecordBatch]:
    count = 1 + max(side.count_rows() for side in sides) // _BUCKET_ROWS
    with tempfile.TemporaryDirectory(prefix="customerly-") as folder:
        files = [_spill(side, Path(folder) / str(number), count) for number, side in enumerate(sides)]
        for before, after in zip(*files, strict=True):
            batches = _compare_bucket(_load(before), _load(after), deleted)
            yield from (batch for batch in batches if batch.num_rows)


def _spill(dataset: ds.Dataset, folder: Path, count: int) -> list[Path]:
    """Split the rows by id into files that fit in memory, so that both versions of a contact meet."""
    folder.mkdir()
    paths = [folder / f"{number}.arrow" for number in range(count)]
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(pa.ipc.new_file(str(path), dataset.schema)) for path in paths]
        for batch in stream_batches(dataset):
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
    return pa.record_batch([ids, _repeat(change, len(ids)), nulls, nulls, nulls], schema=CHANGES)


def _changed(column: str, ids: pa.ChunkedArray, old: pa.ChunkedArray, new: pa.ChunkedArray) -> pa.RecordBatch:
    if old.type != new.type:
        old, new = old.cast(pa.string()), new.cast(pa.string())
    appeared_or_vanished = pc.not_equal(pc.is_null(old), pc.is_null(new))
    differs = pc.or_(pc.fill_null(pc.not_equal(old, new), False), appeared_or_vanished)
    ids, old, new = (side.filter(differs).combine_chunks() for side in (ids, old, new))
    texts = old.cast(pa.string()), new.cast(pa.string())
    return pa.record_batch(
        [ids, _repeat("changed", len(ids)), _repeat(column, len(ids)), *texts], schema=CHANGES
    )


def _repeat(text: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(text), count)
