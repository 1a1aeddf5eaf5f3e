"""Count contacts that share one ``last_update`` and are too many for one window.

Such contacts have no fixed order between requests, so windows cannot show that none is missing. Counting can:

* A contact can leave the group, because an update gives it a newer timestamp, but it cannot join: either
  newer timestamps exist already, or the group is at the end of the list and its second is over before the
  count.
  So each contact seen in the group after some moment was a member at that moment.
* Rows only move up. If the **end** of the group is located first and its **start** second, the distance
  between the two positions is at least the number of members at the time of the second request.
* So once that many different members have been seen since then, none is missing.

A *round* is one request for the end, one for the start, then all windows between them. Several counts may be
open at a time. Two rounds must agree on the number, because a lagging replica may show the start where it was
before the end was located.
"""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Literal

from airflow_provider_customerly.reading.keyset import KeySet
from airflow_provider_customerly.reading.windows import Window, window_behind, window_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_customerly.reading.records import Record
    from airflow_provider_customerly.reading.windows import Seen

_OPEN_COUNTS = 6
_AGREEING_LOOKS = 2
_LEAST_BUDGET = 200
_SPARE_ROUNDS = 12  # the last member is missed by all of them with a probability of e ** -12
_PROBES = 64  # requests for the end, each at twice the distance: no list is longer
_CLOCK_STEP = 2.0  # seconds until no contact can get this timestamp any more


@dataclasses.dataclass(slots=True)
class _Count:
    size: int
    looks: int = 1
    """How often the positions showed this size."""
    seen: KeySet = dataclasses.field(default_factory=KeySet)


class TieGroup:
    """The state of counting one group.

    :param stamp: the shared ``last_update``.
    :param position: likely position of its first member.
    :param largest: maximum number of rows to request. It is small enough to be served in full, because the
        rows of a clamped page are not at the requested positions.
    :param clock: returns monotonic seconds.
    :param counted: True if the members were counted before, so that reading all windows once is enough.
    """

    def __init__(
        self, stamp: str, position: int, largest: int, clock: Callable[[], float], *, counted: bool = False
    ) -> None:
        self.stamp = stamp
        self.end = position
        self.is_at_list_end = False
        self.proven = False
        self.exhausted = False
        self._clock = clock
        self._counted = counted
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
        self._below = position + largest  # the end is probably after this position,
        self._above: int | None = None  # and not after this one
        self._stride = largest
        self._older: int | None = None  # contacts before the group were seen up to this position,
        self._younger: int | None = None  # and none from this one on

    @property
    def size(self) -> int:
        """Number of members by the latest positions."""
        return max(self.end - self._start, len(self._given))

    def note(self, members: list[Record]) -> None:
        """Note members that were seen in any window."""
        self._given.add([row.crmhero_user_id for row in members])

    def ask(self) -> Window | None:
        """Return the next window to read; None while waiting for responses."""
        if self._phase == "start" and self.is_at_list_end and self._end_asked_at < self._settled_at:
            if self._clock() < self._settled_at:
                return None
            self._begin_round()  # members that joined meanwhile made the group larger
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
        """Take the response to a request; None stands for an empty list."""
        if window not in self._asked:
            return
        self._asked.remove(window)
        self._spent += 1
        keys = [] if seen is None else [row.crmhero_user_id for row in seen.with_stamp(self.stamp)]
        for count in self._counts:
            count.seen.add(keys)
        if self._phase == "end":
            self._probes += 1
            self._look_for_end(window, seen)
        elif self._phase == "behind":
            self._confirm_list_end(seen)
        elif self._phase == "start":
            self._look_for_start(window, seen, keys)
        self.proven = any(
            len(count.seen) == count.size and count.looks >= _AGREEING_LOOKS for count in self._counts
        )
        if not self.proven and self._phase == "tiles" and not self._tiles and not self._asked:
            self.proven = self._counted
            self._begin_round()
        self.exhausted = self._spent >= self._budget or self._probes == _PROBES

    @property
    def _budget(self) -> float:
        # With a random order in each response, this is the coupon collector's problem: all n members are seen
        # after about ln(n) rounds.
        windows_a_round = self.size / self._largest + 3
        return max(_LEAST_BUDGET, windows_a_round * (math.log(self.size + 1) + _SPARE_ROUNDS))

    def _begin_round(self) -> None:
        self._rounds += 1
        self._probes = 0
        self._phase = "end"
        self._below = max(self._start, self.end - self._largest // 2)
        self._above = None
        self._stride = self._largest // 2
        self._older = self._younger = None
        self.is_at_list_end = False

    def _next_probe(self) -> int:
        if self._above is None:
            return self._below - 1
        if self._above - self._below <= self._largest // 2:
            return min(self._below, self._above) - 2
        return (self._below + self._above) // 2

    def _look_for_end(self, window: Window, seen: Seen | None) -> None:
        if seen is None or seen.stamps[0] > self.stamp:
            self._above = window.offset  # all newer, or past the end of the list: the end is here or earlier
            if self._above <= self._below:
                self._stride *= 2
                self._below = max(0, self._above - self._stride)
            return
        newer = bisect_right(seen.stamps, self.stamp)
        self.end = seen.window.offset + newer
        if newer < len(seen.rows):
            self._phase = "start"
        elif seen.is_short:
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

    def _look_for_start(self, window: Window, seen: Seen | None, keys: list[int]) -> None:
        if seen is None:  # past the end of the list
            self._younger = window.offset
            self._start = self._next_start()
            return
        first = bisect_left(seen.stamps, self.stamp)
        if first == len(seen.rows):
            self._older = seen.end
            self._start = self._next_start()
        elif first == 0 and seen.window.offset > 0:
            self._younger = seen.window.offset
            self._start = self._next_start()
        else:
            self._start = seen.window.offset + first
            size = self.end - self._start
            same = [count for count in self._counts if count.size == size]
            if same:
                same[0].looks += 1
            else:
                self._counts = [*self._counts[-_OPEN_COUNTS + 1 :], _Count(size)]
                self._counts[-1].seen.add(keys)
            self._phase = "tiles"
            self._tiles = self._windows_between(seen.end, self.end)

    def _next_start(self) -> int:
        """Return the position to request together with the row before it: halfway, or further out."""
        older, younger = self._older, self.end if self._younger is None else self._younger
        if older is None:
            self._stride *= 2
            return max(0, younger - self._stride)
        if older > younger:  # rows have moved
            self._older = self._younger = None
            return older
        return older if younger - older <= self._largest // 2 else (older + younger) // 2

    def _windows_between(self, start: int, end: int) -> list[Window]:
        size = self._largest - (7 * self._rounds) % (self._largest // 2)
        return [Window(page, size) for page in range(-(-end // size) - 1, start // size - 1, -1)]
