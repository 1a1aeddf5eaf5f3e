"""Keep the stretches of a list that windows have shown without a gap, in list order."""

from __future__ import annotations

from bisect import insort
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_customerly.reading.tie_order import SURE, Doubt, TieOrder
from airflow_provider_customerly.reading.windows import START, Mark, Seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FEWEST_SHARED = 3
_FEWEST_SHARED_IF_MOVED = 6
_COMPARED = 200  # members at either end of a group

Run = dict[int, None]
"""Adjacent contacts with the same timestamp, in the order in which they were seen."""


class Joint(Enum):
    """How a strip relates to the one before it."""

    GAP = "contacts may be between the two"
    LOOSE = "it adds nothing, and a contact may be missing between the two"
    KNOWN = "it connects, but adds nothing"
    GROWN = "it connects and extends the other"


class Strip:
    """One such stretch: every contact between ``low`` and ``high`` that did not change was seen.

    The ``head`` has the first rows with one timestamp, the ``tail`` the last ones. Other contacts with those
    timestamps may be outside.
    """

    def __init__(self, first: str, last: str, head: Run, tail: Run, offset: int, end: int) -> None:
        self.first = first
        self.last = last
        self.head = head
        self.tail = tail
        self.offset = offset
        """Position of the first row, when it was seen."""
        self.end = end
        """Position after the last row, when it was seen."""
        self.is_from_start = False
        self.is_closed = False
        """True if all contacts with the timestamp ``last`` were seen, too."""
        self.windows = 1
        self.aim = self.tail_start
        """Likely position of the start of the tail."""
        self.top = end
        """Likely position after the last row, because rows move up during the read."""
        self.step = 0
        """How far before the aim to look; grows while nothing continues the strip."""
        self.stuck = 0
        """How often the next window did not continue the strip, because of a group of equal timestamps."""

    @classmethod
    def floor(cls, mark: Mark, position: int) -> Strip:
        """Return an empty strip that ends at ``mark``."""
        strip = cls("", mark[0], {}, {}, position, position)
        strip.is_from_start, strip.is_closed, strip.windows = True, mark[1] > 0, 0
        return strip

    @classmethod
    def of(cls, seen: Seen) -> Strip:
        """Return the stretch that a window shows."""
        first, last, offset = seen.stamps[0], seen.stamps[-1], seen.window.offset
        keys = [row.crmhero_user_id for row in seen.rows]
        head = dict.fromkeys(keys[: seen.position((first, 1)) - offset])
        tail = head if first == last else dict.fromkeys(keys[seen.position((last, 0)) - offset :])
        strip = cls(first, last, head, tail, offset, seen.end)
        strip.is_from_start = offset == 0
        return strip

    @property
    def low(self) -> Mark:
        """The mark where it starts."""
        return START if self.is_from_start else (self.first, 1)

    @property
    def high(self) -> Mark:
        """The mark where it ends."""
        return (self.last, int(self.is_closed))

    @property
    def extent(self) -> tuple[Mark, int]:
        """How far it reaches: the mark where it ends, and the length of its tail."""
        return (self.high, len(self.tail))

    @property
    def has_one_stamp(self) -> bool:
        """Whether all rows have the same timestamp, so that the strip alone proves nothing."""
        return self.head is self.tail

    @property
    def tail_start(self) -> int:
        """Position of the first row of the tail."""
        return self.end - len(self.tail)

    @property
    def head_end(self) -> int:
        """Position after the last row of the head."""
        return self.offset + len(self.head)

    def join(self, upper: Strip, order: TieOrder) -> Joint:
        """Add a strip that starts after the start of this one, unless contacts may be between them."""
        if upper.low <= self.high or upper.is_from_start:
            grown = upper.extent > self.extent
            if grown:
                self._end_as(upper)
        elif upper.first == self.last:
            overlap = self.end - upper.offset
            link = _continuation(
                self.tail,
                upper.head,
                overlap,
                is_whole=not upper.has_one_stamp,
                is_order_kept=not order.has_changed,
            )
            if link is None:
                # A strip that adds nothing is dropped, because the gap before it could never be closed.
                is_known = upper.has_one_stamp and upper.head.keys() <= self.tail.keys()
                return Joint.LOOSE if is_known else Joint.GAP
            rest, shared = link
            start = self.tail_start
            grown = bool(rest) or not upper.has_one_stamp
            self.tail.update(rest)
            if grown and shared < SURE:
                end = None if upper.has_one_stamp else upper.head_end
                order.rely(self.last, Doubt(start, upper.offset, end, _last_of(self.tail)))
            if not upper.has_one_stamp:
                self._end_as(upper)
            elif grown:
                self._end_at(self.end + len(rest))
        else:
            return Joint.GAP
        self.windows += upper.windows
        return Joint.GROWN if grown else Joint.KNOWN

    def close(self, end: int) -> None:
        """Note that all contacts with the last stamp were seen, the last of them before position ``end``."""
        self.is_closed = True
        self._end_at(end)
        self.aim = end

    def has_moved(self, seen: Seen) -> bool:
        """Return whether a window shows an end of this strip at another position than before."""
        if not self.windows or self.has_one_stamp:
            return False
        top = self.end if self.is_closed else self.tail_start
        ends = ((self.low, self.head_end), (self.high, top))
        return any(seen.shows(mark) and seen.position(mark) != position for mark, position in ends)

    def look_lower(self, position: int) -> None:
        """Aim at an earlier position, because rows have moved up."""
        self.aim, self.top = min(self.aim, position), min(self.top, position)
        self.step = 3 * self.step + 4

    def look_higher(self, position: int) -> None:
        """Aim at a later position, because what is before it does not reach the end of this strip."""
        self.aim, self.top = max(self.aim, position), max(self.top, position)
        self.step = 0

    def stick(self, seen: Seen) -> None:
        """Note a window that adds nothing, because it ends in the group at the end of this strip."""
        if seen.stamps[0] < self.last:
            self.aim = seen.position((self.last, 0))
        else:
            self.aim, self.top = min(self.aim, seen.window.offset), min(self.top, seen.window.offset)
        self.step = 0
        self.stuck += 1

    def _end_as(self, upper: Strip) -> None:
        self.last, self.tail, self.is_closed = upper.last, upper.tail, upper.is_closed
        self._end_at(upper.end)

    def _end_at(self, end: int) -> None:
        self.end = self.top = end
        self.aim = self.tail_start
        self.step = self.stuck = 0


class _Link(NamedTuple):
    rest: Run
    """What the second run adds to the first."""
    shared: int
    """Number of contacts that both have in the same order."""


def _continuation(tail: Run, head: Run, overlap: int, *, is_whole: bool, is_order_kept: bool) -> _Link | None:
    """Return what ``head`` adds to ``tail`` if both have the same contacts in the same order.

    Then no other contact of the group is missing between the two, because it would be after the shared ones
    in one window and before them in the other. None if they do not overlap, or if the order changes.

    :param overlap: number of shared rows, by position. If rows have moved, the number of shared contacts
        differs, and more of them are required, because a few may be in the same order by chance.
    :param is_whole: True if no contact with that timestamp follows ``head``.
    :param is_order_kept: False if the order was seen to change. More are required then.
    """
    keys = list(head)
    shared: list[int] = []
    for key in reversed(tail):
        shared.append(key)
        if key == keys[0]:
            break
    else:
        return None
    shared.reverse()
    count = min(len(shared), len(keys))
    fewest = _FEWEST_SHARED if len(shared) == overlap else _FEWEST_SHARED_IF_MOVED
    if (
        count < (fewest if is_order_kept else SURE)
        or shared[:count] != keys[:count]
        or (is_whole and len(shared) > count)
    ):
        return None
    rest = dict.fromkeys(keys[count:])
    return _Link(rest, count) if rest.keys().isdisjoint(tail) else None


def _last_of(run: Run) -> list[int]:
    """Return the last contacts of a run, as many as are worth comparing."""
    return list(islice(reversed(run), _COMPARED))[::-1]


class Added(NamedTuple):
    """What a strip contributed."""

    has_grown: bool
    """It extended what was shown."""
    is_linked: bool
    """No contact can be between it and what precedes it, unless there is a gap."""


class Strips:
    """All strips of a sweep. The first one starts at the floor; its end is what is proven so far."""

    def __init__(self, floor: Strip, order: TieOrder) -> None:
        self._all = [floor]
        self._order = order

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Strip]:
        return iter(self._all)

    @property
    def proven(self) -> Strip:
        """The strip that starts at the floor."""
        return self._all[0]

    @property
    def windows_ahead(self) -> int:
        """Number of windows after a gap."""
        return sum(strip.windows for strip in self._all[1:])

    def orders(self, first: str, last: str) -> Iterator[tuple[str, list[int]]]:
        """Return contacts that share a timestamp in a range, in the order in which a strip has them."""
        for strip in self._all:
            if first <= strip.first <= last:
                yield strip.first, list(islice(strip.head, _COMPARED))
            if first <= strip.last <= last:
                yield strip.last, _last_of(strip.tail)

    def with_upper(self) -> Iterable[tuple[Strip, Strip | None]]:
        """Return each strip with the one after the next gap; None after the last."""
        return zip(self._all, [*self._all[1:], None], strict=True)

    def add(self, strip: Strip) -> Added:
        """Add a strip, and join the strips that it connects."""
        before = len(self._all)
        self._all.insert(1, strip) if strip.is_from_start else insort(self._all, strip, key=_place)
        joints = self._join()
        is_loose = any(one is strip and joint is Joint.LOOSE for one, joint in joints)
        grown = len(self._all) > before or any(joint is Joint.GROWN for _, joint in joints)
        return Added(grown, not is_loose)

    def close(self, stamp: str, end: int) -> None:
        """Note that all contacts with this stamp were seen, the last of them before position ``end``."""
        for strip in self._all:
            if strip.last == stamp:
                strip.close(end)
        self._join()

    def _join(self) -> list[tuple[Strip, Joint]]:
        joints: list[tuple[Strip, Joint]] = []
        index = 0
        while index + 1 < len(self._all):
            joint = self._all[index].join(self._all[index + 1], self._order)
            if joint is Joint.GAP:
                index += 1
            else:
                joints.append((self._all.pop(index + 1), joint))
        return joints


def _place(strip: Strip) -> tuple[Mark, int]:
    return (strip.low, strip.offset)
