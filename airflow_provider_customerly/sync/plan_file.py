"""A plan: what a run is going to do with each row, as a file that shows when it was altered.

The file holds rows of the source, hence personal data; it lies under the sync's state and nowhere else.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_provider_customerly.storage import read_batches
from airflow_provider_customerly.storage.process import Process
from airflow_provider_customerly.storage.run_id import RunId
from airflow_provider_customerly.sync.compared_with import ComparedWith
from airflow_provider_customerly.sync.damage import reading
from airflow_provider_customerly.sync.fingerprint import Fingerprint
from airflow_provider_customerly.sync.keys import keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from airflow_provider_customerly.storage import Location
    from airflow_provider_customerly.storage.sink import Sink
    from airflow_provider_customerly.sync.keys import Keys, Users

FOLDER = "plans"
Action = Literal["new", "changed", "again", "settled", "invalid", "still_refused", "vanished"]
SENDING: tuple[Action, ...] = ("new", "changed", "again")

_ROWS_AT_ONCE = 1_000
INTENT = b"intent"
"""Where the metadata of a plan's file has its `Intent`."""
_FINGERPRINT = ("fingerprint", "field_fingerprints", "user_fingerprint")
_PLAN = re.compile(rf"{FOLDER}/({RunId.PATTERN})(?:-\d+)?\.parquet")
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
    :param fingerprint: of the row, where it is to be sent or was refused.
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


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """The file beside a plan that says what the plan is and what it was made for.

    The seal shows that a plan was cut short, or altered by mistake, since somebody looked at it. It does not
    protect against people who may write to the state: they can seal anew, as they can change the ledger.
    """

    run: str
    state: str
    """Names the salt of the plan's digests; see `State.id`."""
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
    compared_with: ComparedWith | None = None
    undoes: str = ""
    """The run that it undoes, if it does."""
    cannot_undo: dict[str, int] | None = None


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """What the next run must know of the plan of a run that did not finish; kept in the file's metadata."""

    state: str
    """Names the salt of the digests; see `State.id`."""
    base: int
    """The ledger's commit that the rows were compared with."""
    process: Process
    in_flight: int
    """Most rows that are sent at any moment and not in the journal yet, counted from the last one that is."""
    applies: str = ""
    """The sealed plan that this is, or is what is left of."""
    compared_with: ComparedWith | None = None
    undoes: str = ""
    """The run that it undoes, if it does."""
    fields: list[str] = []
    """The mapped fields."""
    on_vanished: str = "keep"


class UnreadablePlanError(Exception):
    """The file is no whole plan of a run that was about to send."""


class PlanWriter:
    """Writes a plan row by row; left without `close`, it leaves nothing.

    :param name: name of the file, relative to the sync's state.
    :param intent: of a run that is going to send what it plans.
    :param notes: what the file's metadata is to hold beside that.
    """

    def __init__(
        self,
        location: Location,
        name: str,
        intent: Intent | None = None,
        notes: Mapping[bytes, bytes] | None = None,
    ) -> None:
        self.name = name
        self._location = location
        self._waiting: list[Planned] = []
        self._sink: Sink = location.create(name)
        noted = {} if intent is None else {INTENT: msgspec.json.encode(intent)}
        self._schema = _SCHEMA.with_metadata({**noted, **(notes or {})})
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
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
            [None if one is None else one.user for one in prints],
            [row.is_there for row in rows],
            [row.held for row in rows],
            [row.edited_fields for row in rows],
        ]
        arrays = [pa.array(values, field.type) for values, field in zip(columns, _SCHEMA, strict=True)]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))


def read_plan(
    location: Location,
    name: str,
    actions: Sequence[Action] = get_args(Action),
    leave_out: Sequence[str] = (),
) -> Iterator[Planned]:
    """Read the rows of a plan in order, in little memory.

    :param actions: only rows with one of these.
    :param leave_out: fields that are not read, and None.
    """
    wanted = pa.array(actions)
    with reading(location, name), location.open(name) as stream:
        read = [column for column in _SCHEMA.names if column not in leave_out]
        for batch in read_batches(stream, read):
            columns = batch.filter(pc.is_in(batch["action"], wanted)).to_pydict()
            prints = list(zip(*(columns.pop(name) for name in _FINGERPRINT), strict=True))
            columns["key"] = [bytes.fromhex(key) for key in columns["key"]]
            columns["fingerprint"] = [None if one[0] is None else Fingerprint(*one) for one in prints]
            columns["number"] = columns.pop("row")
            empty = [None] * len(prints)
            yield from map(Planned, *(columns.get(field, empty) for field in Planned.__struct_fields__))


def in_chunks(rows: Iterator[Planned]) -> Iterator[list[Planned]]:
    """Yield the rows, some at a time."""
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        yield some


def read_notes(location: Location, name: str) -> dict[bytes, bytes]:
    """Read what the metadata of a plan's file holds."""
    with reading(location, name), location.open(name) as stream:
        return pq.ParquetFile(stream).schema_arrow.metadata or {}


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
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(
            f"There is no sealed plan {name} at {location}. Pass the `plan` of a dry run's result."
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


def check_name(name: str) -> None:
    """Make sure that a name is that of a plan, and leads nowhere else.

    :raises ValueError: it is not.
    """
    if not _PLAN.fullmatch(name):
        raise ValueError(
            f"plan_path is {name!r}, which is not a plan of this sync. Pass the `plan` of a dry run's "
            "result, such as plans/20261123T020000123456Z-9f86d081.parquet. It lies below the sync's state."
        )


def list_intents(location: Location) -> dict[str, str]:
    """List plans that runs made to carry out themselves: name of the file to name of the run."""
    names = sorted(location.list(FOLDER))
    return {
        name: match[1] for name in names if (match := _PLAN.fullmatch(name)) and _seal_name(name) not in names
    }


class Intended(NamedTuple):
    """What a run was going to do."""

    intent: Intent
    keys: Keys
    """The keys that it was going to send, in that order, and then those of vanished contacts."""
    users: Users
    """The user_id that was to be sent with each; a vanished contact has none."""
    sending: int
    """How many of the keys it was going to send."""


def read_intended(location: Location, name: str) -> Intended:
    """Read what a run was going to do.

    :raises UnreadablePlanError: the file is cut short, or is no such plan.
    """
    try:
        with location.open(name) as stream:
            parquet = pq.ParquetFile(stream)
            intent = msgspec.json.decode((parquet.schema_arrow.metadata or {})[INTENT], type=Intent)
            table = parquet.read(columns=["action", "key", "user_fingerprint"])
        sending = table.filter(pc.is_in(table["action"], pa.array(SENDING)))
        vanished = table.filter(pc.equal(table["action"], "vanished"))
        keys = _keys(pa.chunked_array([*sending["key"].chunks, *vanished["key"].chunks], pa.string()))
        users = np.zeros(len(keys), np.uint64)
        users[: len(sending)] = np.frombuffer(b"".join(sending["user_fingerprint"].to_pylist()), np.uint64)
        return Intended(intent, keys, users, len(sending))
    except FileNotFoundError:
        raise
    except (pa.ArrowException, msgspec.MsgspecError, LookupError, ValueError, OSError) as error:
        raise UnreadablePlanError(str(error)) from error


def _keys(column: pa.ChunkedArray) -> Keys:
    return keys_of([bytes.fromhex("".join(column.to_pylist()))])


def _seal_name(name: str) -> str:
    return name.removesuffix(".parquet") + ".json"


def _count_actions(location: Location, name: str) -> Counter[str]:
    actions = Counter[str]()
    with reading(location, name), location.open(name) as stream:
        for batch in read_batches(stream, ["action"]):
            actions.update(batch["action"].to_pylist())
    return actions


def _digest(location: Location, name: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with location.open(name) as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size
