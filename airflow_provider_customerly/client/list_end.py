"""The end of a list is believed only when what comes behind it is asked for and empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_customerly.client.window import Window, window_behind

if TYPE_CHECKING:
    from airflow_provider_customerly.client.records import Record
    from airflow_provider_customerly.client.seen import Seen


class ListEnd:
    """A place that looks like the end, and the requests that confirm it.

    What lies behind it may be asked for before the last rows are certain: both looks take one round trip.

    :param position: position behind the last row.
    """

    def __init__(self, position: int) -> None:
        self.position = position
        self.tail: list[Record] | None = None
        """The last rows, once they were read after everything else; certain only when the end is."""
        self.count = 0
        """Rows in the newest window that showed this end,"""
        self.per_page = 0
        """and how many it asked for."""
        self._wanted = 2
        self._confirmations = 0
        self._asked: list[Window] = []
        self._sizes: set[int] = set()

    @property
    def is_confirmed(self) -> bool:
        """Whether enough requests behind this place came back empty."""
        return self._confirmations >= self._wanted

    def note(self, seen: Seen, filled: int) -> None:
        """Take a window that ends here, with fewer rows than asked for.

        :param filled: largest page size that the server is known to fill. Beyond it a short page may be a
            page that was clamped, so more confirmations are asked for.
        """
        self.count, self.per_page = len(seen.rows), seen.window.per_page
        self._wanted = 2 if self.per_page <= filled else 3

    def ask(self, largest: int) -> Window | None:
        """Give the next window behind the end, each of another size; None when enough are under way."""
        if self._confirmations + len(self._asked) >= self._wanted:
            return None
        window = window_behind(self.position, largest, not_sizes=self._sizes)
        self._sizes.add(window.per_page)
        self._asked.append(window)
        return window

    def is_asked_by(self, window: Window) -> bool:
        """Tell whether this end asked for `window`."""
        return window in self._asked

    def confirm(self, window: Window) -> None:
        """Note that `window` came back empty."""
        if window in self._asked:
            self._asked.remove(window)
            self._confirmations += 1
