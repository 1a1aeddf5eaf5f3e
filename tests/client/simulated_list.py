"""A contact list in memory that moves between any two requests, and a reader that interleaves at will."""

from __future__ import annotations

import random
from bisect import insort
from typing import NamedTuple

from airflow_provider_customerly.client.chain import Chain


class Row(NamedTuple):
    crmhero_user_id: int
    last_update: str


class SimulatedList:
    """Contacts sorted by stamp; among equal stamps by id, or in an order drawn anew at each request."""

    def __init__(self, groups: list[int], seed: int, *, shuffle: bool = False, cap: int = 100) -> None:
        self.random = random.Random(seed)
        self.shuffle = shuffle
        self.cap = cap
        self.now = 1_000_000
        self.stamps: dict[int, int] = {}
        for size in groups:
            self.now += 1
            for _ in range(size):
                self.stamps[len(self.stamps) + 1] = self.now
        self.order = sorted((stamp, key) for key, stamp in self.stamps.items())
        self.next_key = len(self.stamps) + 1
        self.unchanged = set(self.stamps)
        self.existing = set(self.stamps)
        self.spared: set[int] = set()

    def page(self, page: int, per_page: int) -> list[Row]:
        per_page = min(per_page, self.cap)
        order = self.order
        if self.shuffle:
            order = sorted(order, key=lambda entry: (entry[0], self.random.random()))
        return [Row(key, f"{stamp:08d}") for stamp, key in order[page * per_page : (page + 1) * per_page]]

    def mutate(self) -> None:
        """Update, delete or create one contact."""
        self.now += self.random.choice((0, 1, 1))
        kind = self.random.choice(("update", "update", "delete", "create"))
        if kind == "create" or not self.order:
            self._put(self.next_key)
            self.next_key += 1
            return
        stamp, key = self.random.choice(self.order)
        if key in self.spared:
            return
        self.order.remove((stamp, key))
        self.unchanged.discard(key)
        if kind == "update":
            self._put(key)
        else:
            self.existing.discard(key)
            del self.stamps[key]

    def _put(self, key: int) -> None:
        self.now = max(self.now, self.order[-1][0] if self.order else 0)
        self.stamps[key] = self.now
        insort(self.order, (self.now, key))


class Outcome(NamedTuple):
    versions: dict[int, str]
    given: int
    requests: int
    chain: Chain


def read(
    table: SimulatedList, *, concurrency: int, mutations: float, seed: int, largest: int = 100
) -> Outcome:
    """Read `table` with `concurrency` requests under way that are answered in any order.

    The server looks at the table when it answers; `mutations` happen between two answers on average.
    """
    draw = random.Random(seed)
    chain = Chain(largest=largest, prefetch=2 * concurrency, clock=lambda: float(table.now))
    under_way = []
    rows: list[Row] = []
    requests = 0
    while not chain.done:
        while len(under_way) < concurrency and (ticket := chain.ask()) is not None:
            under_way.append(ticket)
        if not under_way:
            table.now += 1  # the reader waits for the server's clock to go on
            continue
        ticket = under_way.pop(draw.randrange(len(under_way)))
        requests += 1
        rows += chain.receive(ticket, table.page(ticket.window.page, ticket.window.per_page))
        for _ in range(int(mutations) + (draw.random() < mutations % 1)):
            table.mutate()
    newest = chain.fold.superseded
    kept = [row for row in rows if row.last_update >= newest.get(row.crmhero_user_id, "")]
    return Outcome({row.crmhero_user_id: row.last_update for row in kept}, len(kept), requests, chain)
