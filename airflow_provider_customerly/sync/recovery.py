"""What a run may believe of what earlier runs left: the ledger, their journals, and their unfinished plans.

Nothing is assumed of a request whose answer was lost. Three rules say what is known:

1. A key of an unfinished plan that no page of the journal answers is **unknown**: it is sent whatever its
   digest says, and a vanished contact is looked up again. Only what may have been in flight counts: the
   unanswered keys up to the last answered one, and as many after it as that run had in flight at once.
   If a page of the run is lost, all its unanswered keys count; those of vanished contacts always do. As these
   were only to be removed, it stays known what they were: they are **leaving**.
2. A page of a run that the ledger is past already was written late, by a run that stood still: keys that it
   sent are unknown, keys that it removed are leaving. A key in the plans of two unfinished runs is unknown if
   either sends it: nobody can tell which came last.
3. Any other page is true.

Once the ledger has taken them in, pages and plans are removed. What a run may still have in flight stays
behind as its remainder, and stays unknown or leaving, until that run has surely ended: its process is gone,
or a day has passed.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from airflow_provider_customerly.storage import OldFormatError
from airflow_provider_customerly.sync.damage import DamagedStateError
from airflow_provider_customerly.sync.intent import (
    Intended,
    UnreadablePlanError,
    list_intents,
    read_intended,
)
from airflow_provider_customerly.sync.journal import (
    Page,
    PageName,
    Remainder,
    list_pages,
    write_remainder,
)
from airflow_provider_customerly.sync.keys import SortedKeys
from airflow_provider_customerly.sync.ledger import Status, entries_of
from airflow_provider_customerly.sync.undo_file import without_fields, write_undo

if TYPE_CHECKING:
    import numpy.typing as npt

    from airflow_provider_customerly.storage import Location
    from airflow_provider_customerly.storage.process import Process
    from airflow_provider_customerly.sync.keys import Keys, Users
    from airflow_provider_customerly.sync.ledger import Ledger

log = logging.getLogger(__name__)

_SURELY_ENDED_AFTER = timedelta(days=1)
_OLDER = b'"lines":[{"key":'
"""In pages of versions before 0.3.0."""


class Recovery:
    """Reads what earlier runs left, and knows what of it is to be removed once that is committed.

    :param location: the sync's state.
    :param state: names the salt of its digests.
    :param ledger: the newest commit; `ledger` becomes what may be believed.
    :raises DamagedStateError: a file cannot be read, and passing over it would not be safe.
    :raises OldFormatError: a run of an older version did not end.
    """

    def __init__(self, location: Location, state: str, ledger: Ledger) -> None:
        self.ledger = ledger
        self.is_news = False
        """Whether the ledger differs from the newest commit, or something has to be written beside it."""
        self._location = location
        self._state = state
        self._now = datetime.now(timezone.utc)
        self.done: list[str] = []
        """Files to delete once the ledger is committed, which has taken them in."""
        self._remainders: dict[str, tuple[Process, Keys, Users, Keys]] = {}
        self._unknown: list[tuple[Keys, Users]] = []
        self._leaving: list[Keys] = []
        self._taken: dict[str, int] = {}
        self._ended: set[str] = set()
        self._plan_names: dict[str, str] = {}
        """Plans of runs that leave behind what Customerly held before them."""
        # The plans come first: a run that ends meanwhile leaves its last page to be read as a late one.
        plans = self._read_plans()
        self._planned = set(plans)
        self._entries: dict[str, list[Any]] = defaultdict(list)
        answered, has_gaps = self._read_pages()
        self._read_unanswered(plans, answered, has_gaps)
        now = int(self._now.timestamp())
        for keys in self._leaving:
            self.ledger.mark_leaving(keys, now)
        for keys, users in self._unknown:
            self.ledger.mark_unknown(keys, now, users)

    def finish_before_commit(self) -> None:
        """Write down what must be there before the ledger is committed."""
        for run, entries in self._entries.items():
            write_undo(self._location, run, self._plan_names[run], np.concatenate(entries))
        for run, (process, keys, users, leaving) in self._remainders.items():
            unknown = entries_of(keys, len(self.ledger.fields), Status.UNKNOWN)
            unknown["user"] = users
            entries = [unknown, entries_of(leaving, len(self.ledger.fields), Status.LEAVING)]
            remainder = Remainder(process, self._now)
            write_remainder(self._location, run, self._state, self.ledger, remainder, np.concatenate(entries))
        self.ledger.taken, self.ledger.ended = self._taken, self._ended

    def _read_plans(self) -> dict[str, Intended]:
        plans = {}
        for name, run in list_intents(self._location).items():
            if run in self.ledger.ended:
                self._forget(name, run)
                continue
            try:
                plan = read_intended(self._location, name)
            except FileNotFoundError:  # its run removed it since the listing
                continue
            except UnreadablePlanError as error:
                if any(page.run == run for page in list_pages(self._location)):
                    raise DamagedStateError(self._location, name, str(error)) from None
                log.warning("Skipped %s, which is not a complete plan", self._location.path(name))
                self.done.append(name)
                continue
            intent = plan.intent
            if intent.state != self._state:
                self._pass_over(name, "it was made with another sync.json")
                continue
            if intent.base == self.ledger.sequence:
                self.ledger.plan = intent.applies
            plans[run] = plan
            if intent.compared_with is not None or intent.undoes:
                self._plan_names[run] = name
            self._forget(name, run)
        return plans

    def _read_pages(self) -> tuple[dict[str, Keys], set[str]]:
        """Take in the pages; return which keys each run has answered, and runs with pages that are lost."""
        answered: dict[str, list[Keys]] = defaultdict(list)
        has_gaps = set()
        for page_of in list_pages(self._location):
            if page_of.number and page_of.number <= self.ledger.taken.get(page_of.run, 0):
                self._take(page_of)
                continue
            page = self._read_page(page_of)
            if page is None:
                has_gaps.add(page_of.run)
                self._take(page_of)
                continue
            if page.state != self._state:
                self._pass_over(page_of.name, "it was written with another sync.json")
                continue
            if page.remainder is not None:
                self._read_remainder(page_of, page, page.remainder)
                continue
            self.is_news = True
            self._take(page_of)
            answered[page_of.run].append(page.entries["key"])
            if page_of.run in self._plan_names:
                self._entries[page_of.run].append(without_fields(page.entries))
            if page.base != self.ledger.sequence:
                self._doubt(page.entries)
                continue
            self.ledger = self.ledger.with_fields(page.fields)
            self.ledger.update(page.entries)
            self.ledger.plan = page.plan
        return {run: np.concatenate(keys) for run, keys in answered.items()}, has_gaps

    def _read_page(self, page_of: PageName) -> Page | None:
        content = b""
        try:
            content = self._location.read(page_of.name)
            page = msgspec.json.decode(content, type=Page)
            _ = page.entries
        except FileNotFoundError:
            return None
        except (msgspec.MsgspecError, ValueError) as error:
            if _OLDER in content:
                raise OldFormatError(
                    f"{self._location}/{page_of.name} is from a run of an older version of this package that "
                    "did not end. Nothing was sent. Run the sync once more with that version, which "
                    "takes the file in, and then update."
                ) from None
            # Its run's plan tells which contacts it may have been about.
            if not page_of.number:
                raise DamagedStateError(self._location, page_of.name, str(error)) from None
            if page_of.run in self._planned:
                log.warning("Skipped %s, which is damaged: %s", self._location.path(page_of.name), error)
                return None
            if self.ledger.sequence:
                raise DamagedStateError(self._location, page_of.name, str(error)) from None
            self._pass_over(page_of.name, str(error))
            return None
        return page

    def _read_remainder(self, page_of: PageName, page: Page, remainder: Remainder) -> None:
        self._doubt(page.entries)
        if remainder.process.is_gone() or self._now - remainder.found_at > _SURELY_ENDED_AFTER:
            self.is_news = True
            self.done.append(page_of.name)

    def _doubt(self, entries: npt.NDArray[Any]) -> None:
        """Note contacts that a paused run has sent or removed late, or may still send or remove."""
        is_leaving = np.isin(entries["status"], (Status.VANISHED, Status.LEAVING))
        self._leaving.append(entries["key"][is_leaving])
        self._unknown.append((entries["key"][~is_leaving], entries["user"][~is_leaving]))

    def _read_unanswered(
        self, plans: dict[str, Intended], answered: dict[str, Keys], has_gaps: set[str]
    ) -> None:
        known = {name.run for name in list_pages(self._location) if not name.number}
        for run, (intent, keys, users, sending) in plans.items():
            self.is_news = True
            if run in known:  # an earlier run has found it, and died before it could remove the plan
                continue
            open_ = _open(answered.get(run), keys)
            if run not in has_gaps:
                last = np.flatnonzero(~open_[:sending])
                reach = (int(last[-1]) + 1 if len(last) else 0) + intent.in_flight
                open_[reach:sending] = False
            is_removing = intent.on_vanished != "keep"
            leaving = keys[sending:][open_[sending:] & is_removing]
            keys, users = keys[:sending][open_[:sending]], users[:sending][open_[:sending]]
            self._unknown.append((keys, users))
            self._leaving.append(leaving)
            if not intent.process.is_gone():
                self._remainders[run] = intent.process, keys, users, leaving
        if len(plans) > 1:
            keys = np.concatenate([plan.keys for plan in plans.values()])
            users = np.concatenate([plan.users for plan in plans.values()])
            is_sent = np.concatenate([np.arange(len(plan.keys)) < plan.sending for plan in plans.values()])
            _, at, times = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
            at = at.reshape(-1)
            is_shared = (times[at] > 1) & (np.bincount(at, is_sent) > 0)[at]
            self._unknown.append((keys[is_shared], users[is_shared]))

    def _take(self, page_of: PageName) -> None:
        self.done.append(page_of.name)
        self._taken[page_of.run] = max(page_of.number, self._taken.get(page_of.run, 0))

    def _forget(self, name: str, run: str) -> None:
        self.done.append(name)
        self._ended.add(run)

    def _pass_over(self, name: str, problem: str) -> None:
        """Do without a file if nothing else is known either, so that every row is sent anyway."""
        if self.ledger.sequence:
            raise DamagedStateError(self._location, name, problem)
        log.warning("Skipped %s: %s. Every row is sent again.", self._location.path(name), problem)
        self.done.append(name)


def _open(answered: Keys | None, keys: Keys) -> np.ndarray:
    """Return which keys are not answered."""
    if answered is None or not len(keys):
        return np.ones(len(keys), dtype=bool)
    return np.asarray(SortedKeys.of(answered).find(keys) < 0)
