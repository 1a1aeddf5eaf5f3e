"""Keep what Customerly held before a run changed it.

A run that compared its rows with an export leaves such a file, ``undo/<run>.parquet``. It has the rows of the
plan that were accepted, and holds personal data like the plan. The run writes it before it merges its journal
into the ledger, or the next run does if this one crashed. So it has every row that the journal reports as
delivered.
"""

from __future__ import annotations

import logging
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from airflow_provider_customerly.storage.run_id import RunId
from airflow_provider_customerly.sync.compared_with import ComparedWith
from airflow_provider_customerly.sync.fingerprint import KEY_BYTES
from airflow_provider_customerly.sync.intent import read_intent
from airflow_provider_customerly.sync.keys import SortedKeys, keys_of, newest_by_key
from airflow_provider_customerly.sync.ledger import Status, entry_type
from airflow_provider_customerly.sync.plan_file import (
    SENDING,
    PlanWriter,
    in_chunks,
    read_notes,
    read_plan,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from airflow_provider_customerly.storage import Location
    from airflow_provider_customerly.sync.keys import Keys
    from airflow_provider_customerly.sync.plan_file import Planned

log = logging.getLogger(__name__)

FOLDER = "undo"
_NAME = re.compile(rf"{FOLDER}/({RunId.PATTERN})\.parquet")
_NOTES = b"undo"
_RUNS_NAMED = 5


class UndoNotes(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata of the file, needed to read its rows."""

    run: str
    state: str
    """Id of the salt of the digests; see ``State.id``."""
    fields: list[str]
    """The mapped fields."""
    delivered_until: datetime
    """When the last row was accepted."""
    plan: str = ""
    """The sealed plan that the run applied, if any."""
    compared_with: ComparedWith | None = None
    on_vanished: str = "keep"
    vanished: int = 0
    """Number of contacts for which ``on_vanished`` was carried out."""


class _Done(NamedTuple):
    """What a run has done."""

    delivered: Keys
    vanished: int
    until: datetime

    @classmethod
    def of(cls, entries: npt.NDArray[Any]) -> _Done:
        """Read it from the entries of its outcomes, of which the last one per contact counts."""
        newest = newest_by_key(entries["key"])
        status = entries["status"][newest]
        latest = int(entries["at"][newest].max()) if len(newest) else 0
        return cls(
            entries["key"][newest[status == Status.DELIVERED]],
            int((status == Status.VANISHED).sum()),
            datetime.fromtimestamp(latest, timezone.utc),
        )


def write_undo(location: Location, run: str, plan: str, outcomes: npt.NDArray[Any]) -> str | None:
    """Write what a run changed, with the old values.

    If several attempts applied one sealed plan, the file of the last attempt covers all of them.

    :param plan: the plan that the run carried out.
    :param outcomes: entries as of a ledger; the last one of a contact counts.
    :return: name of the file; None if the run compared nothing, or changed nothing.
    """
    intent = read_intent(location, plan)
    if intent.compared_with is None and not intent.undoes:
        return None
    done = _Done.of(outcomes)
    before = _earlier_tries(location, run, intent.applies)
    if not len(done.delivered) and not done.vanished and not before:
        return None
    notes = UndoNotes(
        run=run,
        state=intent.state,
        fields=intent.fields,
        delivered_until=done.until,
        plan=intent.applies,
        compared_with=intent.compared_with,
        on_vanished=intent.on_vanished,
        vanished=done.vanished + sum(notes.vanished for _, notes in before),
    )
    name = f"{FOLDER}/{run}.parquet"
    delivered = SortedKeys(done.delivered)
    with PlanWriter(location, name, notes={_NOTES: msgspec.json.encode(notes)}) as writer:
        for planned, is_delivered in _looked_up(
            read_plan(location, plan, (*SENDING, "still_refused")), delivered
        ):
            if is_delivered:
                writer.add(planned)
        for earlier, _ in before:
            for planned, is_there in _looked_up(read_plan(location, earlier), delivered):
                if not is_there:
                    writer.add(planned)
        writer.close()
    return name


def find_undo(location: Location, run: str) -> tuple[str, UndoNotes]:
    """Find the undo file of a run.

    :param run: id of the run, or name of the file.
    :raises ValueError: there is none. The message lists runs that can be undone.
    """
    wanted = RunId.within(run) or run
    names = list_undo(location)
    name = next((name for name, of in names.items() if of == wanted), None)
    if name is None:
        some = ", ".join(list(names.values())[-_RUNS_NAMED:])
        raise ValueError(
            f"There is nothing to undo for run {run!r} at {location}. A run can be undone if it used "
            "compare_with and changed something. "
            f"{f'The last such runs: {some}' if some else 'No run here can be undone'}."
        )
    return name, _read_notes(location, name)


def list_undo(location: Location) -> dict[str, str]:
    """Return the runs that can be undone by the names of their files, the oldest first."""
    matches = (_NAME.fullmatch(name) for name in sorted(location.list(FOLDER)))
    return {match[0]: match[1] for match in matches if match}


def _earlier_tries(location: Location, run: str, plan: str) -> list[tuple[str, UndoNotes]]:
    found = []
    for name, other in list_undo(location).items() if plan else ():
        if other == run:
            continue
        try:
            notes = _read_notes(location, name)
        except FileNotFoundError:  # removed since the listing
            continue
        except (OSError, KeyError, msgspec.MsgspecError) as error:
            if isinstance(error, OSError) and not isinstance(error.__cause__, pa.ArrowInvalid):
                raise
            log.warning("Skipped %s, which is damaged: %s", location.path(name), type(error).__name__)
            continue
        if notes.plan == plan:
            found.append((name, notes))
    return found[-1:]  # which covers those before it


def _read_notes(location: Location, name: str) -> UndoNotes:
    return msgspec.json.decode(read_notes(location, name)[_NOTES], type=UndoNotes)


def _looked_up(rows: Iterator[Planned], keys: SortedKeys) -> Iterator[tuple[Planned, bool]]:
    for some in in_chunks(rows):
        found = keys.find(keys_of(row.key or bytes(KEY_BYTES) for row in some))
        yield from zip(some, (found >= 0).tolist(), strict=True)


def without_fields(entries: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return entries without the digests of fields."""
    bare = np.zeros(len(entries), entry_type(0))
    for name in ("key", "status", "at"):
        bare[name] = entries[name]
    return bare
