"""A plan: what a run is going to do with each row, as a file that shows when it was altered.

The file holds rows of the source, hence personal data; it lies under the sync's state and nowhere else.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_provider_customerly.sync.fingerprint import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from airflow_provider_customerly.storage import Location
    from airflow_provider_customerly.storage.sink import Sink

FOLDER = "plans"
Action = Literal["new", "changed", "again", "invalid", "still_refused", "vanished"]
SENDING: tuple[Action, ...] = ("new", "changed", "again")

_ROWS_AT_ONCE = 1_000
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
    }
)


class Planned(NamedTuple):
    """What is to be done with a row, or with a contact that vanished from the source.

    :param number: position in the source, from 1; 0 for a vanished contact.
    :param key: the contact's key, empty where the row names no contact.
    :param contact: JSON text of what is to be sent.
    :param fingerprint: of the row, where it is to be sent or was refused.
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


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """The file beside a plan that says what the plan is and what it was made for."""

    run: str
    sync_name: str
    contact_type: str
    ledger_sequence: int
    """The ledger's commit that the rows were compared with."""
    fields: list[str]
    rows_read: int
    """Of the source."""
    unchanged: int
    """Rows of the source that are not in the plan."""
    bytes: int
    sha256: str


class PlanWriter:
    """Writes a plan row by row; left without `close`, it leaves nothing.

    :param name: name of the file, relative to the sync's state.
    """

    def __init__(self, location: Location, name: str) -> None:
        self.name = name
        self._location = location
        self._waiting: list[Planned] = []
        self._sink: Sink = location.create(name)
        self._writer = pq.ParquetWriter(self._sink, _SCHEMA, compression="zstd")
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
        self._waiting.append(planned)
        if len(self._waiting) == _ROWS_AT_ONCE:
            self._write()

    def close(self) -> tuple[int, str]:
        """Finish the file; give its size and SHA-256."""
        self._write()
        self._writer.close()
        self._sink.close()
        self._closed = True
        return self._sink.bytes, self._sink.sha256

    def _write(self) -> None:
        rows = self._waiting
        self._waiting = []
        prints = [row.fingerprint for row in rows]
        columns = [
            [row.action for row in rows],
            [row.number for row in rows],
            [row.key.hex() for row in rows],
            [row.email for row in rows],
            [row.user_id for row in rows],
            [row.changed_fields for row in rows],
            [row.contact for row in rows],
            [row.reason for row in rows],
            [row.field for row in rows],
            [row.message for row in rows],
            [None if one is None else one.row for one in prints],
            [None if one is None else one.fields for one in prints],
        ]
        arrays = [pa.array(values, field.type) for values, field in zip(columns, _SCHEMA, strict=True)]
        self._writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))


def read_plan(
    location: Location, name: str, actions: Sequence[Action] = get_args(Action)
) -> Iterator[Planned]:
    """Read the rows of a plan in order, in little memory.

    :param actions: only rows with one of these.
    """
    wanted = pa.array(actions)
    with location.open(name) as stream:
        for batch in pq.ParquetFile(stream).iter_batches(_ROWS_AT_ONCE):
            for row in batch.filter(pc.is_in(batch["action"], wanted)).to_pylist():
                digest, fields = row.pop("fingerprint"), row.pop("field_fingerprints")
                yield Planned(
                    row.pop("action"),
                    row.pop("row"),
                    bytes.fromhex(row.pop("key")),
                    **row,
                    fingerprint=None if digest is None else Fingerprint(digest, fields),
                )


def seal_plan(location: Location, name: str, seal: Seal) -> None:
    """Write the seal beside a plan."""
    location.write_atomic(_seal_name(name), msgspec.json.format(msgspec.json.encode(seal), indent=2))


def read_seal(location: Location, name: str) -> tuple[Seal, Counter[str]]:
    """Read a plan's seal and hold the plan against it.

    :param name: name of the plan, relative to the sync's state.
    :return: the seal, and how many rows the plan has of each action.
    :raises ValueError: there is no such plan, or it was altered since it was made.
    """
    try:
        seal = msgspec.json.decode(location.read(_seal_name(name)), type=Seal)
        digest, size = _digest(location, name)
    except FileNotFoundError:
        raise ValueError(
            f"There is no sealed plan {name} at {location}. Give the `plan` that a dry run's result names."
        ) from None
    except msgspec.DecodeError as error:
        raise ValueError(f"The seal of {name} at {location} is damaged ({error}). Plan again.") from None
    altered = ValueError(
        f"The plan {name} at {location} was altered since it was made. Plan again: correct rows in the "
        "warehouse, not in the plan."
    )
    if (digest, size) != (seal.sha256, seal.bytes):
        raise altered
    actions = _count_actions(location, name)
    if seal.unchanged < 0 or seal.rows_read != seal.unchanged + actions.total() - actions["vanished"]:
        raise altered
    return seal, actions


def remove_unsealed(location: Location) -> None:
    """Delete plans that runs made for themselves and left when they died."""
    names = set(location.list(FOLDER))
    for name in names:
        if not name.endswith(".json") and _seal_name(name) not in names:
            location.delete(name)


def _seal_name(name: str) -> str:
    return name.removesuffix(".parquet") + ".json"


def _count_actions(location: Location, name: str) -> Counter[str]:
    actions = Counter[str]()
    with location.open(name) as stream:
        for batch in pq.ParquetFile(stream).iter_batches(columns=["action"]):
            actions.update(batch["action"].to_pylist())
    return actions


def _digest(location: Location, name: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with location.open(name) as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size
