"""What page sizes the server really gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_customerly.client.errors import CustomerlyProtocolError
from airflow_provider_customerly.client.window import SMALLEST_USABLE

if TYPE_CHECKING:
    from airflow_provider_customerly.client.list_end import ListEnd
    from airflow_provider_customerly.client.window import Window


class PageSize:
    """Learns of a clamp: a server that gives fewer rows than asked for, and counts its pages by those.

    :param largest: most rows to ask for.
    """

    def __init__(self, largest: int) -> None:
        self.largest = largest
        """Most rows to ask for; less once a clamp is known."""
        self.filled = 0
        """Largest page that the server filled: up to this size a short page is no clamp."""
        self._most = 0
        self._short: set[int] = set()

    def as_served(self, window: Window) -> Window:
        """Give the rows that the server took a request for, which may be older than the clamp is known."""
        return window._replace(per_page=min(window.per_page, self.largest))

    def note(self, window: Window, count: int) -> None:
        """Take the number of rows that a request brought."""
        self._most = max(self._most, count)
        size = self.as_served(window).per_page
        if count >= size:
            self.filled = max(self.filled, size)

    def learn(self, end: ListEnd) -> bool:
        """Take a short page that is not the list's end; the second of the same length tells a clamp.

        No page can have more rows than a clamp lets through: a page that some rows were left out of is short
        as well, but seldom the longest of all.

        :raises CustomerlyProtocolError: so few rows a page are of no use.
        """
        count = end.count
        if not (self._most == count and self.filled < end.per_page and count in self._short):
            self._short.add(count)
            return False
        if count < SMALLEST_USABLE:
            raise CustomerlyProtocolError(
                f"the server gives only {count} contacts a page, and at least {SMALLEST_USABLE} are needed "
                "to prove that no contact is lost",
                advice="Ask Customerly's support to lift the limit.",
            )
        self.largest = count
        return True
