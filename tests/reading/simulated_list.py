"""A contact list in memory that moves between any two requests, and a reader that interleaves at will."""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_customerly.reading.chain import Chain

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_customerly.reading.choice import Ticket
    from airflow_provider_customerly.reading.windows import Window

BEGINNING = 50_000_000
SPACING = 500
"""Seconds between two groups of contacts, so that the last hour of a list holds few of them."""


class Row(NamedTuple):
    crmhero_user_id: int
    last_update: str


def stamp(seconds: float) -> str:
    return f"{int(seconds):08d}"


def stamp_of_group(number: int) -> str:
    """The stamp of the group that is counted so, from 1."""
    return stamp(BEGINNING + number * SPACING)


class SimulatedList:
    """Contacts sorted by stamp; among equal stamps by id, or in an order drawn anew at each request.

    :param groups: how many contacts share each stamp.
    :param shuffle: draw the order among equal stamps anew at each request.
    :param cap: most rows that the server puts into a page.
    :param future: contacts whose stamp lies in the future.
    :param ahead: seconds by which the vendor's clock is ahead of the reader's.
    :param lag: seconds after which a replica shows a change; half of the pages come from that replica.
    :param last_hour: a group of so many contacts has a stamp of the last hour.
    """

    def __init__(
        self,
        groups: list[int],
        seed: int,
        *,
        shuffle: bool = False,
        cap: int = 100,
        future: int = 0,
        ahead: int = 0,
        lag: float = 0.0,
        last_hour: int = 0,
    ) -> None:
        self.random = random.Random(seed)
        self.shuffle = shuffle
        self.cap = cap
        self.lag = lag
        self.ahead = ahead
        self.stamps: dict[int, int] = {}
        newest = BEGINNING + len(groups) * SPACING
        stamps = [BEGINNING + number * SPACING for number, size in enumerate(groups, 1) for _ in range(size)]
        stamps += [newest + 1 - self.random.randrange(3000)] * last_hour
        stamps += [newest + 20_000_000 + number for number in range(future)]
        self.stamps = dict(enumerate(stamps, 1))
        self.time = float(newest + self.random.choice((1, 40, 5000)) - ahead)
        self.order = sorted((when, key) for key, when in self.stamps.items())
        self.next_key = len(self.stamps) + 1
        self.unchanged = set(self.stamps)
        self.existing = set(self.stamps)
        self.spared: set[int] = set()
        self.history = {key: [when] for key, when in self.stamps.items()}
        self.begun: dict[int, int] = {}
        self._snapshots = [(self.time, list(self.order))]

    @property
    def now(self) -> int:
        """What the vendor's clock shows."""
        return int(self.time + self.ahead)

    def begin(self) -> None:
        """Note which versions there are when a reading begins."""
        self.existing = set(self.stamps)
        self.begun = {key: len(self.history[key]) - 1 for key in self.stamps}

    def is_older_than_begun(self, key: int, version: str) -> bool:
        """Return whether a version had been replaced already when the reading began."""
        return int(version) not in self.history[key][self.begun[key] :]

    def page(self, page: int, per_page: int) -> list[Row]:
        per_page = min(per_page, self.cap)
        order = self.order
        if self.lag and self.random.random() < 0.5:
            order = self._snapshots[bisect_left(self._snapshots, (self.time - self.lag,)) - 1][1]
        low, high = page * per_page, (page + 1) * per_page
        if self.shuffle and low < len(order):
            # Only the groups that the page touches are drawn.
            first = bisect_left(order, (order[low][0], 0))
            last = bisect_left(order, (order[min(high, len(order)) - 1][0] + 1, 0))
            drawn = sorted(order[first:last], key=lambda entry: (entry[0], self.random.random()))
            return [Row(key, stamp(when)) for when, key in drawn[low - first : high - first]]
        return [Row(key, stamp(when)) for when, key in order[low:high]]

    def mutate(self, *, active: bool = False) -> None:
        """Update, delete or create one contact; with `active`, more often one that was changed of late."""
        self.time += self.random.choice((0, 1, 1)) if not self.lag else 0
        kind = self.random.choice(("update", "update", "delete", "create"))
        if kind == "create" or not self.order:
            self._put(self.next_key)
            self.next_key += 1
        else:
            back = int(self.random.paretovariate(1.2) * 3) if active and self.random.random() < 0.5 else 0
            entry = self.order[-min(back, len(self.order))] if back else self.random.choice(self.order)
            if entry[1] in self.spared or entry[0] > self.now:
                return
            self.order.remove(entry)
            self.unchanged.discard(entry[1])
            if kind == "update":
                self._put(entry[1])
            else:
                self.existing.discard(entry[1])
                del self.stamps[entry[1]]
        if self.lag:
            self._snapshots.append((self.time, list(self.order)))
            del self._snapshots[: max(0, bisect_left(self._snapshots, (self.time - self.lag,)) - 1)]

    def _put(self, key: int) -> None:
        self.stamps[key] = self.now
        self.history.setdefault(key, []).append(self.now)
        insort(self.order, (self.now, key))


class Alone:
    """A chain that is asked for one window at a time, with a clock of its own."""

    def __init__(self, **options: Any) -> None:
        self.now = 0.0
        self.chain = Chain(clock=lambda: self.now, **options)

    def read(self, answer: Callable[[Window], list[Row]]) -> list[Row]:
        """Read to the end; return what was given out."""
        given: list[Row] = []
        while not self.chain.done:
            if (ticket := self.chain.ask()) is None:
                self.now += 0.25
            else:
                given += self.chain.receive(ticket, answer(ticket.window))
        return given


class Outcome(NamedTuple):
    versions: dict[int, str]
    given: int
    requests: int
    chain: Chain
    most_asked: int
    """How often one sweep asked for the same window."""


def read(
    table: SimulatedList,
    *,
    concurrency: int,
    mutations: float,
    seed: int,
    largest: int = 100,
    set_back: int | None = None,
    active: bool = False,
    low: str | None = None,
    start: int = 0,
) -> Outcome:
    """Read `table` with `concurrency` requests under way that are answered in any order.

    The server looks at the table when it answers; `mutations` happen between two answers on average.

    :param set_back: the request at which the vendor's clock is set back by an hour.
    """
    draw = random.Random(seed)
    table.begin()
    chain = Chain(low=low, start=start, largest=largest, clock=lambda: table.time, wall=lambda: table.time)
    under_way: list[Ticket] = []
    asked: Counter[tuple[int, Window]] = Counter()
    rows: list[Row] = []
    requests = 0
    while not chain.done:
        while len(under_way) < concurrency and (ticket := chain.ask()) is not None:
            under_way.append(ticket)
            asked[chain.certificate.catch_ups, ticket.window] += 1
        if not under_way:
            table.time += 0.25  # the reader waits
            continue
        ticket = under_way.pop(draw.randrange(len(under_way)))
        requests += 1
        table.time += 0.08
        if requests == set_back:
            table.ahead -= 3600
        rows += chain.receive(ticket, table.page(ticket.window.page, ticket.window.per_page))
        for _ in range(int(mutations) + (draw.random() < mutations % 1)):
            table.mutate(active=active)
    newest = chain.fold.superseded
    kept = [row for row in rows if row.last_update >= newest.get(row.crmhero_user_id, "")]
    versions = {row.crmhero_user_id: row.last_update for row in kept}
    return Outcome(versions, len(kept), requests, chain, max(asked.values()))
