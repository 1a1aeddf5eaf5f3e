"""A window with the rows that a server gave for it, and what it proves."""

from __future__ import annotations

import dataclasses
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from airflow_provider_customerly.client.records import Record, stamp_of

if TYPE_CHECKING:
    from airflow_provider_customerly.client.window import Window

Mark = tuple[str, int]
"""A place in the list: `(stamp, 0)` lies before the contacts with that stamp, `(stamp, 1)` behind them."""

START: Mark = ("", -1)
END: Mark = ("\U0010ffff", 2)


class OrderBrokenError(Exception):
    """A window was not in ascending order of `last_update`: nothing can be proven about such a list."""


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """Rows of one window, all from the same moment.

    The list is sorted, so the window holds **every** contact whose stamp lies between those of its first
    and its last row, at that moment. A contact that does not change keeps its stamp. So, whenever other
    windows are read: a contact with a stamp between `low` and `high` that is not in `rows` was not there
    all along, or changed.
    """

    window: Window
    rows: list[Record]
    stamps: list[str]
    moves: int
    """How often the chain's frontier had moved when this was asked for: tells what was read before it."""

    @classmethod
    def of(cls, window: Window, rows: list[Record], moves: int) -> Seen:
        """Hold the rows of a window.

        :raises OrderBrokenError: they are not sorted by `last_update`.
        """
        stamps = [stamp_of(row) for row in rows]
        if stamps != sorted(stamps):
            raise OrderBrokenError
        return cls(window, rows, stamps, moves)

    @property
    def low(self) -> Mark:
        """Where the stretch begins that this window proves: behind its first stamp, or at the start."""
        return START if self.window.offset == 0 else (self.stamps[0], 1)

    @property
    def high(self) -> Mark:
        """Where it ends: before its last stamp, which may go on in the next window."""
        return (self.stamps[-1], 0)

    @property
    def short(self) -> bool:
        """Whether the server gave fewer rows than asked for, as it does at the list's end."""
        return len(self.rows) < self.window.per_page

    @property
    def end(self) -> int:
        """Position behind the last row."""
        return self.window.offset + len(self.rows)

    def index(self, mark: Mark) -> int:
        """Give the index of the first row behind `mark`."""
        stamp, side = mark
        return bisect_right(self.stamps, stamp) if side > 0 else bisect_left(self.stamps, stamp)
