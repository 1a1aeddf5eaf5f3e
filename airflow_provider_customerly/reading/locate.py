"""Find the position in a list from which contacts are newer than a given time, in few requests."""

from __future__ import annotations

from bisect import bisect_left
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_customerly.client.errors import CustomerlyProtocolError
from airflow_provider_customerly.reading.records import stamp_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_customerly.client import Client, ContactType


class _Row(msgspec.Struct, gc=False):
    crmhero_user_id: Any = None
    last_update: Any = None


_decoder = msgspec.json.Decoder(list[_Row])


def locate(client: Client, contact_type: ContactType, low: str, guess: int = 0) -> int:
    """Find the position of ``low`` in a list, as the start of a read, in about twenty requests.

    :param low: ``last_update`` as ``YYYY-MM-DD HH:MM:SS``.
    :param guess: a likely position; a good guess saves requests.
    """
    page = partial(client.fetch_page, contact_type, per_page=client.page_size)
    return Locator(page, low, client.page_size).find(guess)


class Locator:
    """Find the first contact with ``last_update`` at or after ``low``: gallop from a guess, then bisect.

    The list changes meanwhile, so the result is only a good guess. A ``Chain`` that starts there proves its
    own start: it sees an older row before its first one, or reads from an earlier position until it does.

    :param fetch: returns the JSON array of a page, by number.
    :param per_page: rows on a full page.
    """

    def __init__(self, fetch: Callable[[int], msgspec.Raw], low: str, per_page: int) -> None:
        self._fetch = fetch
        self._low = low
        self._width = per_page
        self._widest = 0
        self._position = 0
        self._rows: list[_Row] = []

    def find(self, guess: int = 0) -> int:
        """Return the position, counted from 0.

        :param guess: a likely position.
        """
        old, new = self._gallop(max(0, guess) // self._width)
        while new - old > 1:
            middle = (old + new) // 2
            if self._is_older(middle):
                old = middle
            else:
                new = middle
        if old > 0 and self._widest < self._width:
            # The last page may be short, so only a page before it shows how many rows a full page has.
            self._is_older(old - 1)
            self._is_older(old)
        return self._position

    def _gallop(self, page: int) -> tuple[int, int]:
        """Return two pages: the first starts before the position (or is -1), the second at or after it."""
        step = 1
        if self._is_older(page):
            rows = self._rows
            while self._is_older(page + step):
                if self._rows == rows:
                    raise CustomerlyProtocolError(
                        f"list pages {page} and {page + step} have the same contacts, so the server seems to "
                        "repeat pages or to ignore `page`",
                        advice="Compare two list pages yourself, and report this to Customerly's support.",
                    )
                rows = self._rows
                page, step = page + step, 2 * step
            return page, page + step
        while page > 0:
            lower = max(0, page - step)
            if self._is_older(lower):
                return lower, page
            page, step = lower, 2 * step
        return -1, 0

    def _is_older(self, page: int) -> bool:
        """Return whether a page starts with a contact older than ``low``, and update the position if so."""
        # A single empty response may be an error, which would make the read start at the top of the list.
        self._rows = self._read(page) or self._read(page)
        stamps = [stamp_of(row) for row in self._rows]
        if not stamps or stamps[0] >= self._low:
            return False
        self._widest = max(self._widest, len(stamps))
        # If the server returns fewer rows per page than requested, its page numbers depend on that size.
        self._position = page * self._widest + bisect_left(stamps, self._low)
        return True

    def _read(self, page: int) -> list[_Row]:
        return _decoder.decode(self._fetch(page))
