"""Answers that are not in the ledger yet: what makes a crash harmless."""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from airflow_provider_customerly.sync.fingerprint import Fingerprint
from airflow_provider_customerly.sync.ledger import Ledger, Status, entry_type, packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_customerly.storage import Location

FOLDER = "journal"
_NAME = re.compile(rf"{FOLDER}/[0-9A-Za-z-]+-\d{{8}}\.json")


class _Line(msgspec.Struct):
    key: str
    status: str
    at: int
    row: str = ""
    fields: str = ""


class _Page(msgspec.Struct):
    fields: list[str]
    """The mapped fields that the fingerprints are about."""
    lines: list[_Line]
    plan: str = ""
    """The sealed plan that the run applied, if it did."""


class Journal:
    """One small file for each answer, written before the next request is sent.

    Object stores cannot append to a file, so the journal is a folder of them; it is short-lived, because the
    ledger takes it in at the end of a run, or at the start of the next one if the run died. Reading it twice
    changes nothing. To be used by one thread at a time.

    :param run: unique name of the run.
    :param ledger: what the answers are about: its fields, and its plan.
    """

    def __init__(self, location: Location, run: str, ledger: Ledger) -> None:
        self._location = location
        self._start = f"{FOLDER}/{run}"
        self._fields, self._plan = list(ledger.fields), ledger.plan
        self._pages = 0

    def write(self, entries: Sequence[tuple[bytes, Fingerprint, Status, int]]) -> None:
        """Note what became of some contacts: key, what was sent, status, unix seconds."""
        lines = [
            _Line(key.hex(), status.name.lower(), at, fingerprint.row.hex(), fingerprint.fields.hex())
            for key, fingerprint, status, at in entries
        ]
        self._pages += 1
        name = f"{self._start}-{self._pages:08d}.json"
        self._location.write_atomic(name, msgspec.json.encode(_Page(self._fields, lines, self._plan)))


def read_into(ledger: Ledger, location: Location) -> tuple[Ledger, list[str]]:
    """Enter into a ledger what the journals of dead runs say.

    :return: the ledger, now about the fields of the newest journal, and the names of the files read.
    """
    names = sorted(name for name in location.list(FOLDER) if _NAME.fullmatch(name))
    pages = (msgspec.json.decode(location.read(name), type=_Page) for name in names)
    plans = set()
    for (fields, plan), some in groupby(pages, key=lambda page: (page.fields, page.plan)):
        ledger = ledger.with_fields(fields)
        ledger.update(np.concatenate([_entries(page) for page in some]))
        plans.add(plan)
    if plans:
        ledger.plan = plans.pop() if len(plans) == 1 else ""
    return ledger, names


def remove(location: Location) -> None:
    """Delete all journals, and what a dead run left half written."""
    for name in location.list(FOLDER):
        location.delete(name)


def _entries(page: _Page) -> npt.NDArray[Any]:
    packed_lines = [
        packed(
            bytes.fromhex(line.key),
            Fingerprint(bytes.fromhex(line.row), bytes.fromhex(line.fields)),
            Status[line.status.upper()],
            line.at,
        )
        for line in page.lines
    ]
    return np.frombuffer(b"".join(packed_lines), entry_type(len(page.fields)))
