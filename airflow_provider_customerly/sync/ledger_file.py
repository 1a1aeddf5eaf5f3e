"""The ledger as a Parquet dataset that commits in one step."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from airflow_provider_customerly import __version__
from airflow_provider_customerly.storage import Column, Dataset, FileEntry, Manifest
from airflow_provider_customerly.sync.fingerprint import FIELD_BYTES, KEY_BYTES
from airflow_provider_customerly.sync.ledger import Ledger, Status, entry_type

if TYPE_CHECKING:
    import numpy.typing as npt

    from airflow_provider_customerly.storage import Location

_PARTITION = {"state": "current"}
_ROWS_AT_ONCE = 65_536
_STATUSES = pa.array([status.name.lower() for status in Status])
_FIELDS, _PLAN = b"fields", b"plan"
_SECONDS = pa.timestamp("s", tz="UTC")
_AT = pa.timestamp("ms", tz="UTC")  # Parquet knows no seconds


def read_ledger(location: Location) -> Ledger:
    """Read the newest committed ledger; an empty one if there is none.

    :param location: its folder.
    """
    manifest = Dataset(location).newest()
    if manifest is None:
        return Ledger(())
    fields: tuple[str, ...] = ()
    plan = ""
    entries = None
    filled = 0
    for file in manifest.files:
        with location.open(file.path) as stream:
            parquet = pq.ParquetFile(stream)
            notes = parquet.schema_arrow.metadata or {}
            fields = tuple(notes[_FIELDS].decode().split("\n"))
            plan = notes.get(_PLAN, b"").decode()
            if entries is None:
                entries = np.zeros(manifest.rows, entry_type(len(fields)))
            for batch in parquet.iter_batches(_ROWS_AT_ONCE):
                _fill(entries[filled : filled + len(batch)], batch)
                filled += len(batch)
    return Ledger(fields, entries, manifest.sequence, plan)


def write_ledger(location: Location, ledger: Ledger, owner: str) -> int:
    """Commit a ledger in place of the one before.

    :param owner: see `Lease`.
    :return: the number of the commit.
    """
    started = datetime.now(timezone.utc)
    schema = _schema(ledger)
    with Dataset(location).begin(owner) as write:
        name = write.part_path(_PARTITION)
        sink = location.create(name)
        with pq.ParquetWriter(sink, schema, compression="zstd", use_dictionary=["status"]) as writer:
            for start in range(0, len(ledger), _ROWS_AT_ONCE):
                writer.write_batch(_batch(ledger.entries[start : start + _ROWS_AT_ONCE], schema))
        sink.close()
        file = FileEntry(path=name, rows=len(ledger), bytes=sink.bytes, sha256=sink.sha256)
        manifest = write.commit(
            Manifest(
                run=write.run,
                mode="ledger",
                partition=_PARTITION,
                files=[file],
                rows=len(ledger),
                schema=[Column(field.name, str(field.type)) for field in schema],
                versions={"airflow-provider-customerly": __version__, "python": platform.python_version()},
                started_at=started,
                finished_at=datetime.now(timezone.utc),
            )
        )
    return manifest.sequence


def _schema(ledger: Ledger) -> pa.Schema:
    return pa.schema(
        {
            "key": pa.binary(KEY_BYTES),
            "row": pa.binary(KEY_BYTES),
            "status": pa.string(),
            "at": _AT,
            "fields": pa.binary(FIELD_BYTES * len(ledger.fields)),
        },
        metadata={_FIELDS: "\n".join(ledger.fields).encode(), _PLAN: ledger.plan.encode()},
    )


def _batch(entries: npt.NDArray[Any], schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        _STATUSES.take(pa.array(entries["status"]))
        if field.name == "status"
        else pa.array(entries["at"]).cast(_SECONDS).cast(_AT)
        if field.name == "at"
        else _binary(entries[field.name], field.type)
        for field in schema
    ]
    return pa.record_batch(columns, schema=schema)


def _binary(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    content = pa.py_buffer(np.ascontiguousarray(values).tobytes())
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(values), [None, content])


def _fill(entries: npt.NDArray[Any], batch: pa.RecordBatch) -> None:
    for name in ("key", "row", "fields"):
        column = batch[name]
        width = column.type.byte_width
        content = column.buffers()[1]
        piece = content.slice(column.offset * width, len(column) * width)
        entries[name] = np.frombuffer(piece, entries[name].dtype).reshape(entries[name].shape)
    entries["status"] = [Status[text.upper()] for text in batch["status"].to_pylist()]
    entries["at"] = batch["at"].cast(_SECONDS).cast(pa.int64()).to_numpy()
