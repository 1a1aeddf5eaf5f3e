"""Choose windows on a list, whose offsets are ``page * per_page``, and keep what their rows prove."""

from __future__ import annotations

import dataclasses
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Annotated, NamedTuple

from msgspec import Meta

from airflow_provider_customerly.client.settings import LARGEST_PAGE
from airflow_provider_customerly.reading.records import Record, stamp_of

if TYPE_CHECKING:
    from collections.abc import Collection

SMALLEST_USABLE = 20
"""With smaller pages, some pairs of adjacent rows are never on the same page."""
PageSize = Annotated[int, Meta(ge=SMALLEST_USABLE, le=LARGEST_PAGE)]
"""Number of contacts per page."""

Mark = tuple[str, int]
"""A place in the list: ``(stamp, 0)`` is before the contacts with that stamp, ``(stamp, 1)`` after them."""

START: Mark = ("", -1)


class OrderBrokenError(Exception):
    """A window was not in ascending order of ``last_update``, so nothing can be proven about the list."""


class Window(NamedTuple):
    """One request for a list page: rows ``offset`` to ``reach - 1``, counted from 0."""

    page: int
    per_page: int

    @property
    def offset(self) -> int:
        """Position of the first row."""
        return self.page * self.per_page

    @property
    def reach(self) -> int:
        """Position after the last row."""
        return self.offset + self.per_page


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """The rows of one window, all from the same moment.

    The list is sorted, so at that moment the window has **every** contact with a timestamp between those of
    its first and last row. A contact that does not change keeps its timestamp. So a contact with a timestamp
    between ``low`` and ``high`` that is not in ``rows`` did not exist all the time, or it changed.
    """

    window: Window
    rows: list[Record]
    stamps: list[str]

    @classmethod
    def of(cls, window: Window, rows: list[Record]) -> Seen:
        """Hold the rows of a window.

        :raises OrderBrokenError: they are not sorted by ``last_update``.
        """
        stamps = [stamp_of(row) for row in rows]
        if stamps != sorted(stamps):
            raise OrderBrokenError
        return cls(window, rows, stamps)

    @property
    def low(self) -> Mark:
        """The start of the proven stretch: after the first timestamp, or the start of the list."""
        return START if self.window.offset == 0 else (self.stamps[0], 1)

    @property
    def high(self) -> Mark:
        """The end of the proven stretch: before the last timestamp, which may continue in the next window."""
        return (self.stamps[-1], 0)

    @property
    def is_short(self) -> bool:
        """Whether the server returned fewer rows than requested, as at the end of the list."""
        return len(self.rows) < self.window.per_page

    @property
    def end(self) -> int:
        """Position after the last row."""
        return self.window.offset + len(self.rows)

    def position(self, mark: Mark) -> int:
        """Return the position of the first row after ``mark``."""
        stamp, side = mark
        bisect = bisect_right if side > 0 else bisect_left
        return self.window.offset + bisect(self.stamps, stamp)

    def with_stamp(self, stamp: str) -> list[Record]:
        """Return the rows with this timestamp."""
        return self.rows[bisect_left(self.stamps, stamp) : bisect_right(self.stamps, stamp)]

    def shows(self, mark: Mark) -> bool:
        """Return whether ``mark`` is between two rows of this window."""
        return self.window.offset < self.position(mark) < self.end


def window_from(start: int, largest: int) -> Window:
    """Choose the window that starts at or before ``start`` and reaches furthest.

    :param start: position of the first row to read; below 0 counts as 0.
    :param largest: maximum number of rows per page. Sizes down to half of it are tried.
    """
    start = max(start, 0)
    # The reach is `start - start % size + size`. A plain loop, because this is done for every request.
    best = largest
    most = largest - start % largest
    for size in range(largest - 1, largest // 2 - 1, -1):
        if size <= most:
            break
        if size - start % size > most:
            best, most = size, size - start % size
    return Window(start // best, best)


def window_past(position: int, overlap: int, largest: int) -> Window:
    """Choose a window with ``overlap`` rows before a position, or fewer if needed to reach past it."""
    while True:
        window = window_from(position - overlap, largest)
        if window.reach > position or overlap <= 1:
            return window
        overlap //= 2


def window_around(start: int, stop: int, largest: int) -> Window | None:
    """Choose a window with the rows from ``start`` to ``stop - 1``; None if there is none."""
    start = max(start, 0)
    for size in range(largest, max(stop - start, SMALLEST_USABLE) - 1, -1):
        if start - start % size + size >= stop:
            return Window(start // size, size)
    return None


def window_behind(end: int, largest: int, *, not_sizes: Collection[int] = ()) -> Window:
    """Choose the window that starts at ``end`` or as soon after it as possible.

    :param not_sizes: page sizes that were requested before, to avoid.
    """
    sizes = [size for size in range(largest, largest // 2 - 1, -1) if size not in not_sizes] or [largest]
    return min((Window(-(-end // size), size) for size in sizes), key=lambda window: window.offset)
