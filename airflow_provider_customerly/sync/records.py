"""The record of each run, a JSON file."""

from __future__ import annotations

import logging
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_customerly.storage import Location

log = logging.getLogger(__name__)

FOLDER = "runs"
Outcome = Literal["success", "rejects", "failed", "planned"]
_NAME = re.compile(rf"{FOLDER}/[0-9A-Za-z-]+\.json")


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a sync; nothing personal. Times are UTC.

    :param outcome: `success`; `rejects`: all good rows were delivered, and more were not than is allowed;
        `failed`: it ended early; `planned`: a dry run.
    :param error: class of the error that ended it.
    :param counts: see `Counts`.
    :param rejects: name of the file with the rows that are not delivered.
    :param plan: name of the plan's file, of a dry run and of a run that applied one.
    :param ledger_sequence: the ledger's commit after the run.
    """

    run: str
    sync_name: str
    contact_type: str
    outcome: Outcome
    error: str | None
    owner: str
    started_at: datetime
    finished_at: datetime
    counts: dict[str, Any]
    rejects: str | None
    plan: str | None
    ledger_sequence: int
    contacts: int
    """Contacts in the ledger after the run."""
    fields: list[str]
    requests: int
    versions: dict[str, str]
    comparison: dict[str, Any] | None = None
    """What came of comparing the rows with an export."""
    undo: str | None = None
    """Name of the file with what Customerly held before."""
    undoes: str | None = None
    """The run that this one undoes, if it does."""
    cannot_undo: dict[str, int] | None = None
    """What of that run stays as it is."""

    @property
    def name(self) -> str:
        """Name of the record's own file, relative to the sync's state."""
        return f"{FOLDER}/{self.run}.json"


def write_record(location: Location, record: RunRecord) -> None:
    """Write a record."""
    location.write_atomic(record.name, msgspec.json.format(msgspec.json.encode(record), indent=2))


def read_records(location: Location) -> Iterator[RunRecord]:
    """Yield the records of a sync, newest first; damaged ones are skipped."""
    for name in sorted(filter(_NAME.fullmatch, location.list(FOLDER)), reverse=True):
        try:
            yield msgspec.json.decode(location.read(name), type=RunRecord)
        except FileNotFoundError:  # removed since the listing
            continue
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("Skipped %s, which is not a record of a run: %s", location.path(name), error)


def up_to_last_complete(location: Location) -> Iterator[RunRecord]:
    """Yield the records of a sync, newest first, down to a run that processed every row."""
    for record in read_records(location):
        yield record
        if record.outcome in ("success", "rejects") and record.undoes is None:
            break
