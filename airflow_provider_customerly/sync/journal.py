"""Keep responses that are not in the ledger yet, so that a crash loses nothing."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from airflow_provider_customerly.storage.process import Process
from airflow_provider_customerly.storage.run_id import RunId
from airflow_provider_customerly.sync.fingerprint import USER_BYTES, Fingerprint
from airflow_provider_customerly.sync.keys import keys_of
from airflow_provider_customerly.sync.ledger import Ledger, Status, entry_type, packed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow_provider_customerly.storage import Location
    from airflow_provider_customerly.sync.keys import Keys, Users

FOLDER = "journal"
_NAME = re.compile(rf"{FOLDER}/({RunId.PATTERN})-(\d{{8}})\.json")

Answer = tuple[bytes, Fingerprint, Status, int]
"""Key, what was sent, the outcome, and the Unix seconds of the response."""


class _Noted(NamedTuple):
    answers: Sequence[Answer]
    then: Callable[[], None]


class _Line(msgspec.Struct, omit_defaults=True):
    key: str
    status: str
    at: int
    row: str = ""
    fields: str = ""
    user: str = ""


class Remainder(msgspec.Struct):
    """Marks a page of keys that may still be in flight, because their run may only be paused."""

    process: Process
    found_at: datetime


class Page(msgspec.Struct, omit_defaults=True):
    """One file of the journal."""

    state: str
    """Id of the salt of the digests; see ``State.id``."""
    base: int
    """The ledger commit that the run started from."""
    fields: list[str]
    """The mapped fields that the fingerprints are about."""
    lines: list[_Line]
    plan: str = ""
    """The sealed plan that the run applied, if it did."""
    remainder: Remainder | None = None

    @property
    def keys(self) -> Keys:
        """The contacts that the page is about."""
        return keys_of(bytes.fromhex(line.key) for line in self.lines)

    @property
    def users(self) -> Users:
        """The user_id of each of them."""
        users = (bytes.fromhex(line.user) or bytes(USER_BYTES) for line in self.lines)
        return np.frombuffer(b"".join(users), np.uint64)

    @property
    def entries(self) -> npt.NDArray[Any]:
        """What became of them."""
        packed_lines = [
            packed(
                bytes.fromhex(line.key),
                Fingerprint(bytes.fromhex(line.row), bytes.fromhex(line.fields), bytes.fromhex(line.user)),
                Status[line.status.upper()],
                line.at,
            )
            for line in self.lines
        ]
        return np.frombuffer(b"".join(packed_lines), entry_type(len(self.fields)))


class PageName(NamedTuple):
    """The parts of a page's name. Page 0 is a ``Remainder``, which another run wrote."""

    run: str
    number: int
    name: str


class Journal:
    """A folder of small files with responses. An outcome counts once its page is written.

    It is a folder, because object stores cannot append to a file. It is short-lived, because its pages are
    merged into the ledger at the end of the run, or by the next run if this one crashed.

    A thread writes one page at a time. Callers do not wait for the storage: whatever arrives during a write
    goes into the next page. They wait only while ``most_waiting`` responses are unwritten, which limits what
    a crash can lose. Safe to share between threads.

    :param run: unique id of the run.
    :param state: id of the salt of the digests.
    :param ledger: the ledger that the run started from, with its fields and plan.
    :param most_waiting: maximum number of unwritten responses, unless one call brings more.
    """

    def __init__(self, location: Location, run: str, state: str, ledger: Ledger, most_waiting: int) -> None:
        self._location = location
        self._run = run
        self._state = state
        self._base = ledger.sequence
        self._fields, self._plan = list(ledger.fields), ledger.plan
        self._most_waiting = most_waiting
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="customerly-journal")
        self._changed = threading.Condition()
        # The condition guards the rest, except for `pages`.
        self._waiting: list[_Noted] = []
        self._unwritten = 0
        self._is_writing = False
        self._failure: BaseException | None = None
        self.pages = 0
        """Number of the last page written."""

    def note(self, answers: Sequence[Answer], then: Callable[[], None]) -> None:
        """Take outcomes of contacts, to be written in the next page.

        :param then: called after the page is written, in the order of the calls and never two at a time.
        :raises Exception: an earlier page or ``then`` failed with it. These outcomes are not taken, and none
            noted since that failure is written.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: not self._is_writing or self._failure is not None or self._has_room(len(answers))
            )
            if self._failure is not None:
                raise self._failure
            self._waiting.append(_Noted(answers, then))
            self._unwritten += len(answers)
            if not self._is_writing:
                self._writer.submit(self._write_waiting)  # it may fail, or a signal may interrupt it
                self._is_writing = True

    def flush(self) -> None:
        """Wait until everything noted is written.

        :raises Exception: a page or ``then`` failed with it.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._is_writing)
            if self._failure is not None:
                raise self._failure

    def close(self) -> None:
        """Write what is left, unless a page has failed. Nothing can be noted afterwards."""
        self._writer.shutdown()

    def write(self, answers: Iterable[Answer]) -> None:
        """Write a page immediately, while nothing else is noted."""
        lines = [
            _Line(key.hex(), status.name.lower(), at, sent.row.hex(), sent.fields.hex(), sent.user.hex())
            for key, sent, status, at in answers
        ]
        self.pages += 1
        page = Page(self._state, self._base, self._fields, lines, self._plan)
        self._location.write_atomic(page_name(self._run, self.pages), msgspec.json.encode(page))

    def _has_room(self, count: int) -> bool:
        return not self._unwritten or self._unwritten + count <= self._most_waiting

    def _write_waiting(self) -> None:
        try:
            while some := self._take():
                self.write(answer for noted in some for answer in noted.answers)
                for noted in some:
                    noted.then()
                with self._changed:
                    self._unwritten -= sum(len(noted.answers) for noted in some)
                    self._changed.notify_all()
        except BaseException as failure:
            with self._changed:
                self._failure, self._is_writing = failure, False
                self._changed.notify_all()

    def _take(self) -> list[_Noted]:
        with self._changed:
            some, self._waiting = self._waiting, []
            if not some:
                self._is_writing = False
                self._changed.notify_all()
            return some


def page_name(run: str, number: int) -> str:
    """Return the name of a page, relative to the state of the sync."""
    return f"{FOLDER}/{run}-{number:08d}.json"


def list_pages(location: Location) -> list[PageName]:
    """List the pages of all runs, in the order in which each run wrote its own."""
    matches = (_NAME.fullmatch(name) for name in location.list(FOLDER))
    return sorted(PageName(match[1], int(match[2]), match[0]) for match in matches if match)


def write_remainder(
    location: Location, run: str, state: str, ledger: Ledger, remainder: Remainder, keys: Keys, users: Users
) -> None:
    """Note which keys another run may still send, should it wake up."""
    lines = [
        _Line(key.tobytes().hex(), "unknown", 0, user=user.tobytes().hex())
        for key, user in zip(keys, users, strict=True)
    ]
    page = Page(state, ledger.sequence, list(ledger.fields), lines, remainder=remainder)
    location.write_atomic(page_name(run, 0), msgspec.json.encode(page))
