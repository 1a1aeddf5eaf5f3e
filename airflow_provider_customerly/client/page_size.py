"""What page sizes the server really gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_customerly.client.errors import CustomerlyProtocolError
from airflow_provider_customerly.client.window import SMALLEST_USABLE

if TYPE_CHECKING:
    from airflow_provider_customerly.client.list_end import ListEnd
    from airflow_provider_customerly.client.window import Window


class PageSize:
    """Copes with a clamp: a server that gives fewer rows than asked for, and counts its pages by those.

    :param largest: most rows to ask for.
    """

    def __init__(self, largest: int) -> None:
        self.largest = largest
        """Most rows to ask for; less once there may be a clamp."""
        self.sure = SMALLEST_USABLE
        """Up to this size pages are served as asked for: no page has more rows than a clamp lets through."""
        self._most = 0
        self._short: set[int] = set()

    def as_served(self, window: Window) -> Window:
        """Give the rows that the server took a request for, which may be older than the clamp is known."""
        return window._replace(per_page=min(window.per_page, self.largest))

    def note(self, count: int) -> None:
        """Take the number of rows of a page."""
        self._most = max(self._most, count)
        self.sure = max(self.sure, count)

    def check(self, end: ListEnd) -> None:
        """Take a short page that was not the list's end.

        :raises CustomerlyProtocolError: it was clamped, to fewer rows than are of use.
        """
        if end.count == self._most < SMALLEST_USABLE and end.count in self._short:
            raise CustomerlyProtocolError(
                f"the server gives only {end.count} contacts a page, and at least {SMALLEST_USABLE} are "
                "needed to prove that no contact is lost",
                advice="Ask Customerly's support to lift the limit.",
            )
        self._short.add(end.count)
