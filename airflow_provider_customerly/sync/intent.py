"""What a run was going to do: its plan, which it writes before it sends anything, tells the next run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_provider_customerly.storage.process import Process
from airflow_provider_customerly.sync.compared_with import ComparedWith
from airflow_provider_customerly.sync.keys import keys_of
from airflow_provider_customerly.sync.plan_file import FOLDER, SENDING, read_notes
from airflow_provider_customerly.sync.seal import PLAN_NAME, seal_name

if TYPE_CHECKING:
    from airflow_provider_customerly.storage import Location
    from airflow_provider_customerly.sync.keys import Keys, Users

_INTENT = b"intent"
"""Where the metadata of a plan's file has it."""


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

    @property
    def notes(self) -> dict[bytes, bytes]:
        """What the metadata of the plan's file is to hold."""
        return {_INTENT: msgspec.json.encode(self)}


class UnreadablePlanError(Exception):
    """The file is no whole plan of a run that was about to send."""


def read_intent(location: Location, name: str) -> Intent:
    """Read the intent of a plan."""
    return msgspec.json.decode(read_notes(location, name)[_INTENT], type=Intent)


def list_intents(location: Location) -> dict[str, str]:
    """List plans that runs made to carry out themselves: name of the file to name of the run."""
    names = sorted(location.list(FOLDER))
    plans = {name: match[1] for name in names if (match := PLAN_NAME.fullmatch(name))}
    return {name: run for name, run in plans.items() if seal_name(name) not in names}


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
            intent = msgspec.json.decode((parquet.schema_arrow.metadata or {})[_INTENT], type=Intent)
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
