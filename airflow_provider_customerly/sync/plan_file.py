"""A plan: what a run is going to do with each row, as a file.

The file holds rows of the source, hence personal data; it lies under the sync's state and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_provider_customerly.storage import read_batches
from airflow_provider_customerly.sync.damage import reading
from airflow_provider_customerly.sync.fingerprint import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import numpy.typing as npt

    from airflow_provider_customerly.storage import Location
    from airflow_provider_customerly.storage.sink import Sink

FOLDER = "plans"
Action = Literal["new", "changed", "again", "settled", "invalid", "still_refused", "vanished"]
SENDING: tuple[Action, ...] = ("new", "changed", "again")

Columns = Mapping[str, Sequence[Any]]
"""Rows of a plan in columns, by the names that they have in the file."""

_ROWS_AT_ONCE = 5_000
_FINGERPRINT = ("fingerprint", "field_fingerprints", "user_fingerprint")
_REPEATING = ("action", "reason", "field", "message", "changed_fields.list.element")
"""Columns in which few values come again and again."""
_SCHEMA = pa.schema(
    {
        "action": pa.string(),
        "row": pa.int64(),
        "key": pa.string(),
        "email": pa.string(),
        "user_id": pa.string(),
        "changed_fields": pa.list_(pa.string()),
        "contact": pa.string(),
        "reason": pa.string(),
        "field": pa.string(),
        "message": pa.string(),
        "fingerprint": pa.binary(),
        "field_fingerprints": pa.binary(),
        "user_fingerprint": pa.binary(),
        "is_there": pa.bool_(),
        "held": pa.string(),
        "edited_fields": pa.list_(pa.string()),
    }
)


class Planned(msgspec.Struct, frozen=True, gc=False):
    """What is to be done with a row, or with a contact that vanished from the source.

    :param number: position in the source, from 1; 0 for a vanished contact.
    :param action: `settled` is a row of which nothing is to be sent, because Customerly holds it already, or
        what somebody edited there is kept; it is remembered as delivered.
    :param key: the contact's key, empty where the row names no contact.
    :param changed_fields: those that differ from what was delivered; of a row that was compared with what
        Customerly held, those that would change there.
    :param contact: JSON text of what is to be sent.
    :param fingerprint: of the row, where it is to be sent, was refused or is settled.
    :param is_there: whether the export that the row was compared with has the contact; None if there is none.
    :param held: JSON text of what Customerly held in the fields that differ, as far as that is known.
    :param edited_fields: fields that somebody edited in Customerly since the last delivery.
    """

    action: Action
    number: int = 0
    key: bytes = b""
    email: str | None = None
    user_id: str | None = None
    changed_fields: list[str] | None = None
    contact: str | None = None
    reason: str | None = None
    field: str | None = None
    message: str | None = None
    fingerprint: Fingerprint | None = None
    is_there: bool | None = None
    held: str | None = None
    edited_fields: list[str] | None = None


class PlanWriter:
    """Writes a plan; left without `close`, it leaves nothing.

    :param name: name of the file, relative to the sync's state.
    :param notes: what the file's metadata is to hold, by name.
    """

    def __init__(
        self,
        location: Location,
        name: str,
        notes: Mapping[bytes, bytes] | None = None,
    ) -> None:
        self.name = name
        self._location = location
        self._rows: list[Planned] = []
        self._waiting: dict[str, list[Any]] = {column: [] for column in _SCHEMA.names}
        self._sink: Sink = location.create(name)
        self._schema = _SCHEMA.with_metadata(notes)
        self._writer = pq.ParquetWriter(
            self._sink, self._schema, compression="zstd", use_dictionary=_REPEATING
        )
        self._closed = False

    def __enter__(self) -> PlanWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._closed:
            self._sink.abandon()
            self._writer.close()
            self._location.delete(self.name)

    def add(self, planned: Planned) -> None:
        """Take a row."""
        self._rows.append(planned)
        if len(self._rows) == _ROWS_AT_ONCE:
            self._take_rows()

    def extend(self, columns: Columns) -> None:
        """Take rows in columns; what they have no column of is None."""
        self._take_rows()
        nothing = [None] * len(columns["action"])
        for name, waiting in self._waiting.items():
            waiting += columns.get(name, nothing)
        if len(self._waiting["action"]) >= _ROWS_AT_ONCE:
            self._write()

    def close(self) -> tuple[int, str]:
        """Finish the file; give its size and SHA-256."""
        self._take_rows()
        self._write()
        self._writer.close()
        self._sink.close()
        self._closed = True
        return self._sink.bytes, self._sink.sha256

    def _take_rows(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            self.extend(columns_of(rows))

    def _write(self) -> None:
        arrays = [pa.array(self._waiting[field.name], field.type) for field in _SCHEMA]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema), row_group_size=_ROWS_AT_ONCE)
        for waiting in self._waiting.values():
            waiting.clear()


def read_plan(
    location: Location,
    name: str,
    actions: Sequence[Action] = get_args(Action),
) -> Iterator[Planned]:
    """Read the rows of a plan in order, in little memory.

    :param actions: only rows with one of these.
    """
    wanted = pa.array(actions)
    for batch in read_in_batches(location, name):
        yield from rows_of(batch.filter(pc.is_in(batch["action"], wanted)).to_pydict())


def read_in_batches(location: Location, name: str, leave_out: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
    """Read a plan in columns, some rows at a time.

    :param leave_out: columns that are not read.
    """
    with reading(location, name), location.open(name) as stream:
        yield from read_batches(stream, [column for column in _SCHEMA.names if column not in leave_out])


def rows_of(columns: Columns) -> Iterator[Planned]:
    """Return the rows that columns hold.

    :param columns: action, row, key and the fingerprints; values that have no column are None.
    """
    nothing = [None] * len(columns["action"])
    fingerprints = zip(*(columns[name] for name in _FINGERPRINT), strict=True)
    own = {
        "number": columns["row"],
        "key": map(bytes.fromhex, columns["key"]),
        "fingerprint": (None if one[0] is None else Fingerprint(*one) for one in fingerprints),
    }
    names = Planned.__struct_fields__
    return map(Planned, *(own.get(name) or columns.get(name, nothing) for name in names))


def columns_of(rows: Sequence[Planned]) -> Columns:
    """Return rows in columns."""
    columns: dict[str, Sequence[Any]] = {
        name: [getattr(row, name) for row in rows]
        for name in _SCHEMA.names
        if name in Planned.__struct_fields__
    }
    columns["row"] = [row.number for row in rows]
    columns["key"] = [row.key.hex() for row in rows]
    for name, part in zip(_FINGERPRINT, ("row", "fields", "user"), strict=True):
        columns[name] = [getattr(row.fingerprint, part, None) for row in rows]
    return columns


def in_source_order(*parts: Columns) -> Columns:
    """Return the rows of all parts, in the order of the source."""
    numbers = [number for part in parts for number in part["row"]]
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    columns = {}
    for name in _SCHEMA.names:
        values = [value for part in parts for value in part.get(name, [None] * len(part["row"]))]
        columns[name] = [values[at] for at in order]
    return columns


def entries_in(batch: pa.RecordBatch, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return the ledger's entries for rows that are to be sent, as delivered, without the time.

    :param kind: their layout.
    """
    columns = {
        "key": bytes.fromhex("".join(batch["key"].to_pylist())),
        "row": b"".join(batch["fingerprint"].to_pylist()),
        "field_digests": b"".join(batch["field_fingerprints"].to_pylist()),
        "user": b"".join(batch["user_fingerprint"].to_pylist()),
    }
    entries = np.zeros(len(batch), kind)
    for name, content in columns.items():
        entries[name] = np.frombuffer(content, kind[name])
    return entries


def in_chunks(rows: Iterator[Planned]) -> Iterator[list[Planned]]:
    """Yield the rows, some at a time."""
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        yield some


def read_notes(location: Location, name: str) -> dict[bytes, bytes]:
    """Read what the metadata of a plan's file holds."""
    with reading(location, name), location.open(name) as stream:
        return pq.ParquetFile(stream).schema_arrow.metadata or {}
