"""Run a read: fetch several list pages at once, and decode them one by one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from airflow_provider_customerly.client import settings
from airflow_provider_customerly.client.errors import CustomerlyProtocolError
from airflow_provider_customerly.reading.ahead import run_ahead
from airflow_provider_customerly.reading.certificate import Certificate
from airflow_provider_customerly.reading.chain import Chain
from airflow_provider_customerly.reading.keyset import KeySet
from airflow_provider_customerly.reading.records import RecordDecoder
from airflow_provider_customerly.reading.windows import SMALLEST_USABLE, OrderBrokenError

if TYPE_CHECKING:
    from collections.abc import Generator

    from airflow_provider_customerly.client import Client, ContactType
    from airflow_provider_customerly.reading.choice import Ticket
    from airflow_provider_customerly.reading.records import Record

FetchPage = Callable[[int, int], msgspec.Raw]
"""Return the JSON array of a list page, given its number and size."""

_PAUSE = 0.25  # seconds between checks whether the next request is due
_PAGES_WAITING, _USUAL_PAGE = 64, 128 << 10
"""How many pages of how many bytes to read ahead of the caller, so that requests continue while it writes. Of
larger pages there are fewer."""
_EMPTY_PAGES_AT_END = 3
_VAIN_PAGES = 10


def start_reading(
    client: Client,
    contact_type: ContactType,
    fields: Iterable[str] = (),
    *,
    low: str | None = None,
    start: int = 0,
    lookback: timedelta = timedelta(0),
) -> Reading:
    """Prepare to read a list that changes meanwhile, without missing a contact. Iterating sends the requests.

    :param fields: record fields to decode to Python values; others stay JSON text.
    :param low: read only contacts with ``last_update`` (``YYYY-MM-DD HH:MM:SS``) at or after this.
    :param start: likely position of ``low`` in the list.
    :param lookback: how far the catch-up reaches back from the start of the read, beyond an hour.
    """
    settings.check_range("page_size", client.page_size, SMALLEST_USABLE, settings.LARGEST_PAGE)
    return Reading(
        partial(client.fetch_page, contact_type),
        RecordDecoder(fields),
        give_up=client.cancel,
        low=low,
        start=start,
        lookback=lookback,
        page_size=client.page_size,
        max_concurrency=client.max_concurrency,
    )


class _Part(NamedTuple):
    rows: list[Record]
    settled: str
    """What they settle together with those before them."""
    size: int
    """Bytes that are held as long as they are."""


def _size(page: msgspec.Raw) -> int:
    return memoryview(page).nbytes


def _cost(part: _Part) -> int:
    return max(1, round(part.size / _USUAL_PAGE))


class Reading:
    """Read all contacts of a list, and prove that none is missing.

    Iterate over it for batches of records in roughly ascending ``last_update``. A contact that changes during
    the read may come twice. At the end, ``superseded`` has those contacts with the ``last_update`` to keep,
    and ``certificate`` says what is proven.

    :param fetch: returns a page in ascending order of ``last_update``; called from several threads.
    :param give_up: called if the read ends early, to stop what waits in other threads.
    :param decoder: decodes a page to records.
    :param low: read only contacts with ``last_update`` (``YYYY-MM-DD HH:MM:SS``) at or after this.
    :param start: likely position of ``low`` in the list.
    :param lookback: how far the catch-up reaches back, beyond an hour; see ``start_reading``.
    :param page_size: maximum number of contacts per page, 20 to 100.
    :param max_concurrency: maximum number of requests in flight.
    """

    def __init__(
        self,
        fetch: FetchPage,
        decoder: RecordDecoder,
        *,
        give_up: Callable[[], None],
        low: str | None = None,
        start: int = 0,
        lookback: timedelta = timedelta(0),
        page_size: int = 100,
        max_concurrency: int = 4,
    ) -> None:
        self.decoder = decoder
        self.settled = ""
        """Where a later read may start, given the batches returned so far; see ``Chain.settled``."""
        self._fetch = fetch
        self._give_up = give_up
        self._page_size = page_size
        self._concurrency = max_concurrency
        self._stopped = threading.Event()
        self._is_over = False
        self._chain = Chain(low=low, start=start, largest=page_size, lookback=lookback.total_seconds())

    @property
    def certificate(self) -> Certificate:
        """What is proven so far; final, and at most then ``complete``, when the iteration has ended."""
        certificate = self._chain.certificate
        if self._is_over or certificate.verdict == "unproven":
            return certificate
        return replace(certificate, verdict="unproven", reason=Certificate.reason)  # some rows are waiting

    @property
    def superseded(self) -> dict[int, str]:
        """Contacts that came in several versions: id -> ``last_update`` of the newest."""
        return self._chain.fold.superseded

    def __iter__(self) -> Iterator[list[Record]]:
        """Read the list.

        :raises CustomerlyError: a request failed and is not retried. Requests in flight are abandoned.
        """
        for part in run_ahead(self._read(), _PAGES_WAITING, self._stop, _cost):
            self.settled = part.settled
            yield part.rows
        self._is_over = True

    def _stop(self) -> None:
        self._stopped.set()
        self._give_up()

    def _read(self) -> Generator[_Part, None, None]:
        try:
            yield from self._read_chained()
        except OrderBrokenError:
            yield from self._read_in_sequence()

    def _read_chained(self) -> Iterator[_Part]:
        under_way: dict[Future[msgspec.Raw], Ticket] = {}
        answered: SimpleQueue[Future[msgspec.Raw]] = SimpleQueue()
        pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="customerly-list")
        try:
            while not self._chain.done and not self._stopped.is_set():
                self._ask(under_way, answered, pool)
                if not under_way:
                    self._stopped.wait(_PAUSE)
                    continue
                future = answered.get()
                # Decode here, so that the fetching threads mostly wait for the network and not for the GIL.
                page = future.result()
                rows = self._chain.receive(under_way.pop(future), self.decoder.decode(page))
                if rows:
                    yield _Part(rows, self._chain.settled, _size(page))
        finally:
            # Who left has given up already: now it would hit what the client is asked for since.
            if under_way and not self._chain.done and not self._stopped.is_set():
                self._give_up()
            pool.shutdown(wait=False, cancel_futures=True)

    def _ask(
        self,
        under_way: dict[Future[msgspec.Raw], Ticket],
        answered: SimpleQueue[Future[msgspec.Raw]],
        pool: ThreadPoolExecutor,
    ) -> None:
        while len(under_way) < self._concurrency and (ticket := self._chain.ask()) is not None:
            future = pool.submit(self._fetch, ticket.window.page, ticket.window.per_page)
            under_way[future] = ticket
            future.add_done_callback(answered.put)

    def _read_in_sequence(self) -> Iterator[_Part]:
        """Read page after page, without a proof, because the list is not in order.

        :raises CustomerlyProtocolError: the pages repeat, so the list would never end.
        """
        certificate = self._chain.certificate
        certificate.doubt("the server does not keep the list in ascending order of last_update")
        met = KeySet()
        page = empty = vain = 0
        while empty < _EMPTY_PAGES_AT_END and not self._stopped.is_set():
            text = self._fetch(page, self._page_size)
            rows = self.decoder.decode(text)
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
            if fresh := self._chain.fold.take(rows):
                yield _Part(fresh, "", _size(text))
        certificate.duplicates = self._chain.fold.duplicates
