"""Keep responses that are not in the ledger yet, so that a crash loses nothing."""

from __future__ import annotations

import re
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from airflow_provider_customerly.storage.process import Process
from airflow_provider_customerly.storage.run_id import RunId
from airflow_provider_customerly.sync.ledger import Ledger, entry_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_customerly.storage import Location

FOLDER = "journal"
_NAME = re.compile(rf"{FOLDER}/({RunId.PATTERN})-(\d{{8}})\.json")

_LONGEST_WAIT = 0.05
"""Longest time, in seconds, that an answer waits for others to share its page."""


class _Noted(NamedTuple):
    entries: npt.NDArray[Any]
    then: Callable[[], None]


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
    content: bytes
    """Entries of a ledger."""
    checksum: int
    """CRC-32 of the other fields."""
    plan: str = ""
    """The sealed plan that the run applied, if it did."""
    remainder: Remainder | None = None

    @classmethod
    def of(cls, entries: npt.NDArray[Any], **more: Any) -> Page:
        """Return the page that holds entries.

        :param more: its other fields.
        """
        page = cls(content=entries.tobytes(), checksum=0, **more)
        page.checksum = page._sum()
        return page

    @property
    def entries(self) -> npt.NDArray[Any]:
        """What became of contacts.

        :raises ValueError: the page is damaged.
        """
        if self._sum() != self.checksum:
            raise ValueError("its content does not match its checksum")
        return np.frombuffer(self.content, entry_type(len(self.fields)))

    def _sum(self) -> int:
        others = [self.state, self.base, self.fields, self.plan, self.remainder]
        return zlib.crc32(self.content, zlib.crc32(msgspec.json.encode(others)))


class PageName(NamedTuple):
    """The parts of a page's name. Page 0 is a ``Remainder``, which another run wrote."""

    run: str
    number: int
    name: str


class Journal:
    """A folder of small files with responses. An outcome counts once its page is written.

    It is a folder, because object stores cannot append to a file. It is short-lived, because its pages are
    merged into the ledger at the end of the run, or by the next run if this one crashed.

    A thread writes one page at a time. Callers do not wait for the storage: whatever arrives during a write,
    or a moment before the next one, shares a page. They wait only while ``most_waiting`` responses are
    unwritten, which limits what a crash can lose. Safe to share between threads.

    :param run: unique id of the run.
    :param state: id of the salt of the digests.
    :param ledger: the ledger that the run started from, with its fields and plan.
    :param most_waiting: maximum number of unwritten responses, unless one call brings more.
    """

    def __init__(self, location: Location, run: str, state: str, ledger: Ledger, most_waiting: int) -> None:
        self._location = location
        self._run = run
        self._origin = {
            "state": state,
            "base": ledger.sequence,
            "fields": list(ledger.fields),
            "plan": ledger.plan,
        }
        self._most_waiting = most_waiting
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="customerly-journal")
        self._changed = threading.Condition()
        # The condition guards the rest, except for `pages`.
        self._waiting: list[_Noted] = []
        self._unwritten = 0
        self._is_writing = False
        self._is_hurried = False
        self._failure: BaseException | None = None
        self.pages = 0
        """Number of the last page that was begun."""

    def note(self, entries: npt.NDArray[Any], then: Callable[[], None]) -> None:
        """Take outcomes of contacts, as entries of the ledger, to be written in the next page.

        :param then: called after the page is written, in the order of the calls and never two at a time.
        :raises Exception: an earlier page or ``then`` failed with it. These outcomes are not taken, and none
            noted since that failure is written.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: not self._is_writing or self._failure is not None or self._has_room(len(entries))
            )
            if self._failure is not None:
                raise self._failure
            self._waiting.append(_Noted(entries, then))
            self._unwritten += len(entries)
            if not self._is_writing:
                self._writer.submit(self._write_waiting)  # it may fail, or a signal may interrupt it
                self._is_writing = True
            elif self._is_due():
                self._changed.notify_all()

    def flush(self) -> None:
        """Wait until everything noted is written.

        :raises Exception: a page or ``then`` failed with it.
        """
        with self._changed:
            self._hurry()
            self._changed.wait_for(lambda: not self._is_writing)
            self._is_hurried = False
            if self._failure is not None:
                raise self._failure

    def close(self) -> None:
        """Write what is left, unless a page has failed. Nothing can be noted afterwards."""
        with self._changed:
            self._hurry()
        self._writer.shutdown()

    def write(self, entries: npt.NDArray[Any]) -> None:
        """Write a page immediately, while nothing else is noted."""
        self.pages += 1
        page = Page.of(entries, **self._origin)
        self._location.write_atomic(page_name(self._run, self.pages), msgspec.json.encode(page))

    def _hurry(self) -> None:
        self._is_hurried = True
        self._changed.notify_all()

    def _is_due(self) -> bool:
        """Return whether what waits is to be written at once: callers may have to wait for it soon."""
        return self._is_hurried or 2 * self._unwritten >= self._most_waiting

    def _has_room(self, count: int) -> bool:
        return not self._unwritten or self._unwritten + count <= self._most_waiting

    def _write_waiting(self) -> None:
        try:
            while some := self._take():
                self.write(np.concatenate([noted.entries for noted in some]))
                for noted in some:
                    noted.then()
                with self._changed:
                    self._unwritten -= sum(len(noted.entries) for noted in some)
                    self._changed.notify_all()
        except BaseException as failure:
            with self._changed:
                self._failure, self._is_writing = failure, False
                self._changed.notify_all()

    def _take(self) -> list[_Noted]:
        with self._changed:
            if self._waiting:
                self._changed.wait_for(self._is_due, _LONGEST_WAIT)
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
    location: Location, run: str, state: str, ledger: Ledger, remainder: Remainder, entries: npt.NDArray[Any]
) -> None:
    """Note which contacts another run may still send or remove, should it wake up.

    :param entries: unknown and leaving ones.
    """
    fields = list(ledger.fields)
    page = Page.of(entries, state=state, base=ledger.sequence, fields=fields, remainder=remainder)
    location.write_atomic(page_name(run, 0), msgspec.json.encode(page))
