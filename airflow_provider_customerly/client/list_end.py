"""The end of a list is believed only when what comes behind it is asked for and empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_customerly.client.window import Window, window_behind

if TYPE_CHECKING:
    from airflow_provider_customerly.client.records import Record
    from airflow_provider_customerly.client.seen import Seen


class ListEnd:
    """A window that looks like the last one, and the requests that confirm it.

    :param seen: a window with fewer rows than asked for.
    :param tail: its last rows, certain only when the end is.
    :param filled: largest page size that the server is known to fill. Beyond it a short page may be a page
        that was clamped, so more confirmations are asked for.
    """

    def __init__(self, seen: Seen, tail: list[Record], filled: int) -> None:
        self.seen = seen
        self.tail = tail
        self._missing = 2 if seen.window.per_page <= filled else 3
        self._asked: list[Window] = []
        self._sizes: set[int] = set()

    def ask(self, largest: int) -> Window | None:
        """Give the next window behind the end, each of another size; None when enough are under way."""
        if len(self._asked) >= self._missing:
            return None
        window = window_behind(self.seen.end, largest, not_sizes=self._sizes)
        self._sizes.add(window.per_page)
        self._asked.append(window)
        return window

    def is_asked_by(self, window: Window) -> bool:
        """Tell whether this end asked for `window`."""
        return window in self._asked

    def is_confirmed_by(self, window: Window) -> bool:
        """Note that `window` came back empty; tell whether that was the last confirmation needed."""
        if window in self._asked:
            self._asked.remove(window)
            self._missing -= 1
        return self._missing == 0
