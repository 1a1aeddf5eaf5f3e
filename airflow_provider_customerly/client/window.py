"""Windows on a list whose offsets are `page * per_page`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

SMALLEST_USABLE = 20
"""Below this page size some pairs of neighbouring rows are never shown together by any page."""


class Window(NamedTuple):
    """One request for a list page: rows `offset` to `reach - 1`, counted from 0."""

    page: int
    per_page: int

    @property
    def offset(self) -> int:
        """Position of the first row."""
        return self.page * self.per_page

    @property
    def reach(self) -> int:
        """Position behind the last row."""
        return self.offset + self.per_page


def window_from(start: int, largest: int) -> Window:
    """Choose the window that starts at `start` or before and reaches furthest.

    :param start: position of the first row wanted; below 0 counts as 0.
    :param largest: most rows a page may have; sizes from half of it on are tried.
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


def window_behind(end: int, largest: int, *, not_sizes: Collection[int] = ()) -> Window:
    """Choose the window that starts at `end` or as closely behind it as can be.

    :param not_sizes: page sizes that were asked before; another one is chosen.
    """
    sizes = [size for size in range(largest, largest // 2 - 1, -1) if size not in not_sizes] or [largest]
    return min((Window(-(-end // size), size) for size in sizes), key=lambda window: window.offset)
