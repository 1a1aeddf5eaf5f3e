"""Keep the ledger as a Parquet dataset with atomic commits."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from airflow_provider_customerly.storage import (
    VERSIONS,
    Column,
    CommitConflictError,
    DamagedManifestError,
    Dataset,
    Manifest,
    read_batches,
)
from airflow_provider_customerly.storage.intact import find_problem
from airflow_provider_customerly.sync.damage import IDENTITY, DamagedStateError
from airflow_provider_customerly.sync.fingerprint import FIELD_BYTES, KEY_BYTES
from airflow_provider_customerly.sync.ledger import Ledger, Status, entry_type

if TYPE_CHECKING:
    import numpy.typing as npt

    from airflow_provider_customerly.storage import Location, Write

_PARTITION = {"state": "current"}
_ROWS_AT_ONCE = 65_536
_STATUSES = [status.name.lower() for status in Status]
_NOTES = b"customerly"
_SECONDS = pa.timestamp("s", tz="UTC")
_AT = pa.timestamp("ms", tz="UTC")  # Parquet has no type for seconds


class _Notes(msgspec.Struct):
    """What the metadata of the file has beside the entries."""

    fields: list[str]
    state: str
    """Names the salt of the digests; see `State.id`."""
    plan: str = ""
    taken: dict[str, int] = {}
    ended: list[str] = []


def begin(location: Location, sequence: int | None = None) -> Write:
    """Start a write that replaces the newest ledger atomically.

    :param location: the ledger's folder.
    :param sequence: required number of the newest commit.
    :raises CommitConflictError: another run has committed since.
    :raises DamagedStateError: the newest commit cannot be read.
    """
    try:
        write = Dataset(location).begin()
    except DamagedManifestError as error:
        raise DamagedStateError(location, error.name, error.problem) from None
    now = write.before.sequence if write.before else 0
    if sequence not in (None, now):
        raise CommitConflictError(
            f"Another run committed ledger {now} at {location} right after this one's {sequence}. Nothing "
            "was sent. Run it again: it then starts from the new state."
        )
    return write


def read_ledger(write: Write, state: str) -> Ledger:
    """Read the ledger that a write started from; an empty one if there is none.

    :param state: names the salt that its digests must have.
    :raises DamagedStateError: it cannot be read.
    """
    if write.before is None:
        return Ledger(())
    manifest, location = write.before, write.location
    [file] = manifest.files
    try:
        with location.open(file.path) as stream:
            parquet = pq.ParquetFile(stream)
            notes = msgspec.json.decode((parquet.schema_arrow.metadata or {})[_NOTES], type=_Notes)
            entries = np.zeros(manifest.rows, entry_type(len(notes.fields)))
            filled = 0
            for batch in read_batches(stream):
                _fill(entries[filled : filled + len(batch)], batch)
                filled += len(batch)
            if filled != manifest.rows:
                raise ValueError(f"it has {filled} rows, and {manifest.rows} were committed")
    except (
        OSError,
        pa.ArrowException,
        msgspec.MsgspecError,
        LookupError,
        ValueError,
    ) as error:
        problem = find_problem(location, file)
        if problem is None:
            raise OSError(
                f"{location.path(file.path)} could not be read to its end: {error}. Try again."
            ) from error
        raise DamagedStateError(location, file.path, problem) from None
    if notes.state != state:
        raise DamagedStateError(location, file.path, f"it was made with another {IDENTITY}")
    return Ledger(notes.fields, entries, manifest.sequence, notes.plan, notes.taken, notes.ended)


def write_ledger(write: Write, ledger: Ledger, state: str) -> int:
    """Commit a ledger that replaces the one that was read.

    :return: the number of the commit.
    :raises CommitConflictError: another run has committed since.
    """
    started = datetime.now(timezone.utc)
    schema = _schema(ledger, state)
    with write:
        with write.create_part(_PARTITION, schema, dictionary=["status"]) as part:
            for start in range(0, len(ledger), _ROWS_AT_ONCE):
                part.write(_batch(ledger.entries[start : start + _ROWS_AT_ONCE], schema))
            file = part.close()
        manifest = write.commit(
            Manifest(
                run=write.run,
                mode="ledger",
                partition=_PARTITION,
                files=[file],
                rows=len(ledger),
                schema=[Column(field.name, str(field.type)) for field in schema],
                versions=VERSIONS,
                started_at=started,
                finished_at=datetime.now(timezone.utc),
            )
        )
    return manifest.sequence


def _schema(ledger: Ledger, state: str) -> pa.Schema:
    notes = _Notes(list(ledger.fields), state, ledger.plan, ledger.taken, sorted(ledger.ended))
    columns = {
        "key": pa.binary(KEY_BYTES),
        "row": pa.binary(KEY_BYTES),
        "status": pa.string(),
        "at": _AT,
        "user": pa.uint64(),
    }
    if ledger.fields:  # Parquet has no values of no length
        columns["field_digests"] = pa.binary(FIELD_BYTES * len(ledger.fields))
    return pa.schema(columns, metadata={_NOTES: msgspec.json.encode(notes)})


def _batch(entries: npt.NDArray[Any], schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        pa.array(_STATUSES).take(pa.array(entries["status"]))
        if field.name == "status"
        else pa.array(entries["at"]).cast(_SECONDS).cast(_AT)
        if field.name == "at"
        else pa.array(np.ascontiguousarray(entries["user"]))
        if field.name == "user"
        else _binary(entries[field.name], field.type)
        for field in schema
    ]
    return pa.record_batch(columns, schema=schema)


def _binary(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    content = pa.py_buffer(np.ascontiguousarray(values).tobytes())
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(values), [None, content])


def _fill(entries: npt.NDArray[Any], batch: pa.RecordBatch) -> None:
    # Earlier versions made other digests of the fields, in a column named `fields`: they tell nothing here.
    for name in ("key", "row", *({"field_digests"} & set(batch.schema.names))):
        column = batch[name]
        width = column.type.byte_width
        content = column.buffers()[1]
        piece = content.slice(column.offset * width, len(column) * width)
        entries[name] = np.frombuffer(piece, entries[name].dtype).reshape(entries[name].shape)
    texts = batch["status"].dictionary_encode()
    known = np.array([Status[text.upper()] for text in texts.dictionary.to_pylist()], np.uint8)
    entries["status"] = known[texts.indices.to_numpy()]
    entries["user"] = batch["user"].to_numpy()
    entries["at"] = batch["at"].cast(_SECONDS).cast(pa.int64()).to_numpy()
