"""What it takes to believe that a list ends, or that it is empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_customerly.client.errors import CustomerlyProtocolError
from airflow_provider_customerly.client.window import Window, window_behind

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_customerly.client.records import Record

_CONFIRMATIONS = 2
_LOOKS_AT_EMPTY_LIST = 3
_PAUSE = 1.0  # seconds until an empty list is looked at again, and twice that until the look after it


class ListEnd:
    """A place that looks like the end: believed only when what comes behind it is asked for and empty.

    What lies behind it may be asked for before the last rows are certain: both looks take one round trip.

    :param position: where the next page begins: behind all rows that the window which showed this end could
        hold. Its last row is no measure, because rows may be left out of a page.
    """

    def __init__(self, position: int) -> None:
        self.position = position
        self.tail: list[Record] | None = None
        """The last rows, once they were read after everything else; certain only when the end is."""
        self.count = 0
        """Rows in the newest window that showed this end."""
        self._confirmations = 0
        self._asked: list[Window] = []
        self._sizes: set[int] = set()

    @property
    def is_confirmed(self) -> bool:
        """Whether enough requests behind this place came back empty."""
        return self._confirmations >= _CONFIRMATIONS

    def ask(self, largest: int) -> Window | None:
        """Give the next window behind the end, each of another size; None when enough are under way."""
        if self._confirmations + len(self._asked) >= _CONFIRMATIONS:
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


class EmptyList:
    """A list that is empty from its start on: believed only when it is so again, some time later.

    :param clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.looks = 0
        """Looks in a row that showed it empty."""
        self._clock = clock
        self._due_at = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time to look again."""
        return self.looks == 0 or self._clock() >= self._due_at

    @property
    def is_believed(self) -> bool:
        """Whether it was looked at often enough."""
        return self.looks >= _LOOKS_AT_EMPTY_LIST

    def note(self, given: int, largest: int) -> None:
        """Take an answer that shows the list empty.

        :param given: contacts that were read from it before.
        :param largest: most rows a page may have. Few contacts can be deleted while the list is read; more
            than a page of them are not all gone at once.
        :raises CustomerlyProtocolError: it cannot be empty.
        """
        self.looks += 1
        self._due_at = self._clock() + self.looks * _PAUSE
        if self.is_believed and given > largest:
            raise CustomerlyProtocolError(
                f"the list came back empty {self.looks} times after {given} contacts had been read from it",
                advice="Try again later; if it lasts, see whether Customerly itself still shows them.",
            )
