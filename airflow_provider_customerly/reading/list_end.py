"""Decide whether a list ends, is empty, or has clamped pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_customerly.client.errors import CustomerlyProtocolError
from airflow_provider_customerly.reading.windows import SMALLEST_USABLE, Window, window_behind

if TYPE_CHECKING:
    from collections.abc import Callable


_CONFIRMATIONS = 2
_LOOKS_AT_EMPTY_LIST = 3
_PAUSE = 1.0  # seconds until an empty list is read again, and twice as long before the third time


class ListEnd:
    """A possible end of the list, confirmed only when requests for what follows it come back empty.

    Those requests may be sent before the last rows are certain, so that both take one round trip.

    :param position: where the next page starts: after all rows that could fit in the window that showed this
        end. Its last row does not count, because pages may leave rows out.
    """

    def __init__(self, position: int) -> None:
        self.position = position
        self.is_read = False
        """True if the last rows were read after everything else."""
        self.count = 0
        """Rows in the newest window that showed this end."""
        self._confirmations = 0
        self._asked: list[Window] = []
        self._sizes: set[int] = set()

    @property
    def is_confirmed(self) -> bool:
        """Whether enough requests for what follows came back empty."""
        return self._confirmations >= _CONFIRMATIONS

    def ask(self, largest: int) -> Window | None:
        """Return the next window after the end, each of a different size; None if enough are in flight."""
        if self._confirmations + len(self._asked) >= _CONFIRMATIONS:
            return None
        window = window_behind(self.position, largest, not_sizes=self._sizes)
        self._sizes.add(window.per_page)
        self._asked.append(window)
        return window

    def is_asked_by(self, window: Window) -> bool:
        """Return whether this end requested ``window``."""
        return window in self._asked

    def confirm(self, window: Window) -> None:
        """Note that ``window`` came back empty."""
        if window in self._asked:
            self._asked.remove(window)
            self._confirmations += 1


class EmptyList:
    """A list that came back empty, confirmed only when it is empty again some time later.

    :param clock: returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.looks = 0
        """Consecutive responses with an empty list."""
        self._clock = clock
        self._due_at = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time to read the list again."""
        return self.looks == 0 or self._clock() >= self._due_at

    @property
    def is_believed(self) -> bool:
        """Whether the list was empty often enough."""
        return self.looks >= _LOOKS_AT_EMPTY_LIST

    def note(self, given: int, largest: int) -> None:
        """Record a response in which the list is empty.

        :param given: number of contacts that were read from it before.
        :param largest: maximum number of rows per page. A few contacts may be deleted during the read, but
            not more than a page of them at once.
        :raises CustomerlyProtocolError: the list cannot be empty.
        """
        self.looks += 1
        self._due_at = self._clock() + self.looks * _PAUSE
        if self.is_believed and given > largest:
            raise CustomerlyProtocolError(
                f"the list came back empty {self.looks} times after {given} contacts had been read from it",
                advice="Try again later. If it persists, check whether Customerly still has the contacts.",
            )


class ServedSizes:
    """Handle a clamp: a server that returns fewer rows per page than requested, and counts pages by those.

    :param largest: maximum number of rows to request.
    """

    def __init__(self, largest: int) -> None:
        self.largest = largest
        """Maximum number of rows to request; lower once a clamp is possible."""
        self.sure = SMALLEST_USABLE
        """Up to this size, pages are served as requested, because a page of it was seen."""
        self._most = 0
        self._short: set[int] = set()

    def as_served(self, window: Window) -> Window:
        """Return the rows as the server served a request that may be older than the known clamp."""
        return window._replace(per_page=min(window.per_page, self.largest))

    def note(self, count: int) -> None:
        """Note the number of rows of a page."""
        self._most = max(self._most, count)
        self.sure = max(self.sure, count)

    def check(self, end: ListEnd) -> None:
        """Note a short page that was not the end of the list.

        :raises CustomerlyProtocolError: pages are clamped to fewer rows than a proof needs.
        """
        if end.count == self._most < SMALLEST_USABLE and end.count in self._short:
            raise CustomerlyProtocolError(
                f"the server returns only {end.count} contacts per page, but at least {SMALLEST_USABLE} are "
                "needed to prove that no contact is skipped",
                advice="Ask Customerly's support to raise the limit.",
            )
        self._short.add(end.count)
