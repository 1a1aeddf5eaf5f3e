"""Finds the place in a list from which contacts are newer than an instant, in few requests."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_customerly.client.errors import CustomerlyProtocolError
from airflow_provider_customerly.client.records import stamp_of

if TYPE_CHECKING:
    from collections.abc import Callable


class _Row(msgspec.Struct, gc=False):
    crmhero_user_id: Any = None
    last_update: Any = None


_decoder = msgspec.json.Decoder(list[_Row])


class Locator:
    """Looks for the first contact with `last_update` at or after `low`: gallops from a guess, then bisects.

    The list moves meanwhile, so the place found is a good guess and no more. A `Chain` that starts there
    proves its own beginning: it sees an older row before its first one, or looks lower down until it does.

    :param fetch: gives the JSON array of a page, by number.
    :param per_page: rows in a page that is full.
    """

    def __init__(self, fetch: Callable[[int], msgspec.Raw], low: str, per_page: int) -> None:
        self._fetch = fetch
        self._low = low
        self._width = per_page
        self._widest = 0
        self._position = 0
        self._rows: list[_Row] = []

    def find(self, guess: int = 0) -> int:
        """Give the position, counted from 0.

        :param guess: position where it may be.
        """
        old, new = self._gallop(max(0, guess) // self._width)
        while new - old > 1:
            middle = (old + new) // 2
            if self._is_older(middle):
                old = middle
            else:
                new = middle
        if old > 0 and self._widest < self._width:
            # The last page may be short of itself: only one before it shows what a full page holds.
            self._is_older(old - 1)
            self._is_older(old)
        return self._position

    def _gallop(self, page: int) -> tuple[int, int]:
        """Give two pages: the first begins before the place (or is -1), the second at or behind it."""
        step = 1
        if self._is_older(page):
            rows = self._rows
            while self._is_older(page + step):
                if self._rows == rows:
                    raise CustomerlyProtocolError(
                        f"list pages {page} and {page + step} show the same contacts: the server seems to "
                        "repeat pages or to ignore `page`",
                        advice="Compare two list pages by hand, and report it to Customerly's support.",
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
        """Tell whether a page begins with a contact older than `low`; the highest such page has the place."""
        # One empty answer may be a mistake that would send the reading to the start of the list.
        self._rows = self._read(page) or self._read(page)
        stamps = [stamp_of(row) for row in self._rows]
        if not stamps or stamps[0] >= self._low:
            return False
        self._widest = max(self._widest, len(stamps))
        # A server that gives fewer rows than asked for counts its pages by those.
        self._position = page * self._widest + bisect_left(stamps, self._low)
        return True

    def _read(self, page: int) -> list[_Row]:
        return _decoder.decode(self._fetch(page))
