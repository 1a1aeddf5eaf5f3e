"""Runs a chained reading: several list pages are fetched at once, and decoded one by one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING

import msgspec

from airflow_provider_customerly.client.chain import Chain, Ticket
from airflow_provider_customerly.client.errors import CustomerlyProtocolError
from airflow_provider_customerly.client.keyset import KeySet
from airflow_provider_customerly.client.seen import OrderBrokenError

if TYPE_CHECKING:
    from airflow_provider_customerly.client.certificate import Certificate
    from airflow_provider_customerly.client.records import Record, RecordDecoder

FetchPage = Callable[[int, int], msgspec.Raw]
"""Gives the JSON array of a list page, for its number and size."""

_PAUSE = 0.25  # seconds after which the chain is asked again whether it is time for its next request
_EMPTY_PAGES_AT_END = 3
_VAIN_PAGES = 10


class Reading:
    """All contacts of a list, once each in their newest version, as far as it can be proven.

    Iterate over it for batches of records in about ascending `last_update`. A contact that changes while
    the list is read may come twice; afterwards `superseded` names those, with the `last_update` to keep,
    and `certificate` says what was proven.

    :param fetch: gives a page; called from several threads, in ascending order of `last_update`.
    :param give_up: called when the reading ends early, to stop what waits in other threads.
    :param decoder: turns a page into records.
    :param low: read only contacts with `last_update` (`YYYY-MM-DD HH:MM:SS`) at or after this.
    :param start: position in the list where `low` is believed to be.
    :param page_size: most contacts in a page, 20 to 100.
    :param max_concurrency: most requests under way at once.
    """

    def __init__(
        self,
        fetch: FetchPage,
        decoder: RecordDecoder,
        *,
        give_up: Callable[[], None],
        low: str | None = None,
        start: int = 0,
        page_size: int = 100,
        max_concurrency: int = 4,
    ) -> None:
        self.decoder = decoder
        self.settled = ""
        """What the batches given out so far settle, see `Chain.settled`: a later reading may start there."""
        self._fetch = fetch
        self._give_up = give_up
        self._page_size = page_size
        self._concurrency = max_concurrency
        self._chain = Chain(low=low, start=start, largest=page_size, prefetch=2 * max_concurrency)

    @property
    def certificate(self) -> Certificate:
        """What is proven so far; final when the iteration has ended."""
        return self._chain.certificate

    @property
    def superseded(self) -> dict[int, str]:
        """Contacts that came in several versions: id -> `last_update` of the newest."""
        return self._chain.fold.superseded

    def __iter__(self) -> Iterator[list[Record]]:
        """Read the list.

        :raises CustomerlyError: a request failed for good; the other requests are not waited for.
        """
        try:
            yield from self._read_chained()
        except OrderBrokenError:
            yield from self._read_in_sequence()

    def _read_chained(self) -> Iterator[list[Record]]:
        under_way: dict[Future[msgspec.Raw], Ticket] = {}
        answered: SimpleQueue[Future[msgspec.Raw]] = SimpleQueue()
        pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="customerly-list")
        try:
            while not self._chain.done:
                while len(under_way) < self._concurrency and (ticket := self._chain.ask()) is not None:
                    future = pool.submit(self._fetch, ticket.window.page, ticket.window.per_page)
                    under_way[future] = ticket
                    future.add_done_callback(answered.put)
                if not under_way:
                    threading.Event().wait(_PAUSE)
                    continue
                future = answered.get()
                # Decoded here: threads that only wait for the network seldom contend for the interpreter.
                page = self.decoder.decode(future.result())
                rows = self._chain.receive(under_way.pop(future), page)
                self.settled = self._chain.settled
                if rows:
                    yield rows
        finally:
            if under_way and not self._chain.done:
                self._give_up()
            pool.shutdown(wait=False, cancel_futures=True)

    def _read_in_sequence(self) -> Iterator[list[Record]]:
        """Page plainly: the best that can be done with a list whose order changes, and no proof.

        :raises CustomerlyProtocolError: the pages repeat, so that the list would never end.
        """
        certificate = self._chain.certificate
        self.settled = ""
        certificate.doubt("the server does not keep the list in ascending order of last_update")
        met = KeySet()
        page = empty = vain = 0
        while empty < _EMPTY_PAGES_AT_END:
            rows = self.decoder.decode(self._fetch(page, self._page_size))
            empty = 0 if rows else empty + 1
            vain = vain + 1 if all(met.add([row.crmhero_user_id for row in rows])) else 0
            if vain == _VAIN_PAGES:
                raise CustomerlyProtocolError(
                    f"{vain} list pages in a row brought no other contacts than the {len(met)} before them: "
                    "the server seems to repeat pages or to ignore `page`",
                    advice="Compare two list pages by hand, and report it to Customerly's support.",
                )
            page += bool(rows)
            certificate.windows += bool(rows)
            if fresh := self._chain.fold.unknown(rows):
                yield fresh
        certificate.duplicates = self._chain.fold.duplicates
