"""Contacts that share one `last_update` and are more than fit in a window.

Such contacts have no order between two requests, so no window shows that none of them is missing. Counting
does:

* A contact can only leave the group (an update gives it a newer stamp), never join it: a newer stamp has
  been given since, or the group is at the list's end and its second is over before the first look that
  counts. So whoever is seen in it after some moment was a member at that moment.
* Rows only move up. If the group's **end** is looked at first and its **start** after that, the distance
  between both positions is at least the number of members at the moment of the second look.
* So when as many different members have been seen since that moment as the distance says, they are all.

One look at the end, one at the start, then all windows between: a *round*. Several counts may be open at a
time.
"""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Literal

from airflow_provider_customerly.client.keyset import KeySet
from airflow_provider_customerly.client.window import Window, window_behind, window_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_customerly.client.records import Record
    from airflow_provider_customerly.client.seen import Seen

_OPEN_COUNTS = 6
_LEAST_BUDGET = 200
_SPARE_ROUNDS = 12  # that the last of the members hides from all of them has a chance of e ** -12
_PROBES = 64  # looks for the end, each doubling the distance: no list is longer
_CLOCK_STEP = 2.0  # seconds until a stamp of one second resolution cannot be given any more


@dataclasses.dataclass(slots=True)
class _Count:
    size: int
    seen: KeySet = dataclasses.field(default_factory=KeySet)


class TieGroup:
    """The state of proving one group.

    :param stamp: the shared `last_update`.
    :param position: where its first member is believed to be.
    :param largest: most rows to ask for, so few that the server surely serves them: the rows of a clamped
        page are not at the positions asked for.
    :param clock: monotonic seconds.
    """

    def __init__(self, stamp: str, position: int, largest: int, clock: Callable[[], float]) -> None:
        self.stamp = stamp
        self.end = position
        self.is_at_list_end = False
        self.proven = False
        self.exhausted = False
        self._clock = clock
        self._settled_at = clock() + _CLOCK_STEP
        self._end_asked_at = clock()
        self._largest = largest
        self._start = position
        self._given = KeySet()
        self._counts: list[_Count] = []
        self._spent = 0
        self._rounds = 0
        self._probes = 0
        self._asked: list[Window] = []
        self._phase: Literal["end", "behind", "start", "tiles"] = "end"
        self._tiles: list[Window] = []
        self._below = position + largest  # the end is believed to lie behind this position,
        self._above: int | None = None  # and not behind this one
        self._stride = largest

    @property
    def size(self) -> int:
        """Members as last counted from the positions."""
        return max(self.end - self._start, len(self._given))

    def members(self, seen: Seen) -> list[Record]:
        """Give the members among the rows of a window."""
        return seen.rows[bisect_left(seen.stamps, self.stamp) : bisect_right(seen.stamps, self.stamp)]

    def new(self, members: list[Record]) -> list[Record]:
        """Give those of `members` that were not given before."""
        known = self._given.add([row.crmhero_user_id for row in members])
        return [row for row, old in zip(members, known, strict=True) if not old]

    def ask(self) -> Window | None:
        """Give the next window to read; None while answers are awaited."""
        if self._phase == "start" and self.is_at_list_end and self._end_asked_at < self._settled_at:
            if self._clock() < self._settled_at:
                return None
            self._begin_round()  # who joined meanwhile made the group longer than it was seen
        if self._phase == "tiles":
            window = self._tiles.pop() if self._tiles else None
        elif self._asked:
            window = None
        elif self._phase == "start":
            window = window_from(self._start - 1, self._largest)
        elif self._phase == "behind":
            window = window_behind(self.end, self._largest)
        else:
            self._end_asked_at = self._clock()
            window = window_from(self._next_probe(), self._largest)
        if window is not None:
            self._asked.append(window)
        return window

    def receive(self, window: Window, seen: Seen | None) -> None:
        """Take the answer to one of the windows asked for; None stands for an empty list."""
        if window not in self._asked:
            return
        self._asked.remove(window)
        self._spent += 1
        keys = [] if seen is None else [row.crmhero_user_id for row in self.members(seen)]
        for count in self._counts:
            count.seen.add(keys)
        if self._phase == "end":
            self._probes += 1
            self._look_for_end(window, seen)
        elif self._phase == "behind":
            self._confirm_list_end(seen)
        elif self._phase == "start" and seen is not None:
            self._look_for_start(seen, keys)
        self.proven = any(len(count.seen) == count.size for count in self._counts)
        if not self.proven and self._phase == "tiles" and not self._tiles and not self._asked:
            self._begin_round()
        self.exhausted = self._spent >= self._budget or self._probes == _PROBES

    @property
    def _budget(self) -> float:
        # In an order drawn anew at each request, members are seen like coupons are collected: all of n are
        # expected to have been seen after ln(n) rounds.
        windows_a_round = self.size / self._largest + 3
        return max(_LEAST_BUDGET, windows_a_round * (math.log(self.size + 1) + _SPARE_ROUNDS))

    def _begin_round(self) -> None:
        self._rounds += 1
        self._probes = 0
        self._phase = "end"
        self._below = max(self._start, self.end - self._largest // 2)
        self._above = None
        self._stride = self._largest // 2
        self.is_at_list_end = False

    def _next_probe(self) -> int:
        if self._above is None:
            return self._below - 1
        if self._above - self._below <= self._largest // 2:
            return min(self._below, self._above) - 2
        return (self._below + self._above) // 2

    def _look_for_end(self, window: Window, seen: Seen | None) -> None:
        if seen is None or seen.stamps[0] > self.stamp:
            self._above = window.offset  # all newer, or behind the list: the end is here or before
            if self._above <= self._below:
                self._stride *= 2
                self._below = max(0, self._above - self._stride)
            return
        newer = bisect_right(seen.stamps, self.stamp)
        self.end = seen.window.offset + newer
        if newer < len(seen.rows):
            self._phase = "start"
        elif seen.short:
            self._phase = "behind"
        else:
            self._stride *= 2
            self._below = self.end + (self._stride if self._above is None else 0)

    def _confirm_list_end(self, seen: Seen | None) -> None:
        if seen is None:
            self.is_at_list_end = True
            self._phase = "start"
        else:
            self._below, self._above, self._phase = self.end, None, "end"

    def _look_for_start(self, seen: Seen, keys: list[int]) -> None:
        first = bisect_left(seen.stamps, self.stamp)
        if first == len(seen.rows):
            self._start = seen.end + 1
        elif first == 0 and seen.window.offset > 0:
            self._stride = 2 * self._stride
            self._start = max(0, seen.window.offset - self._stride)
        else:
            self._start = seen.window.offset + first
            size = self.end - self._start
            if not self._counts or size != self._counts[-1].size:
                self._counts = [*self._counts[-_OPEN_COUNTS + 1 :], _Count(size)]
                self._counts[-1].seen.add(keys)
            self._phase = "tiles"
            self._tiles = self._windows_between(seen.end, self.end)

    def _windows_between(self, start: int, end: int) -> list[Window]:
        size = self._largest - (7 * self._rounds) % (self._largest // 2)
        return [Window(page, size) for page in range(-(-end // size) - 1, start // size - 1, -1)]
