"""Sends rows in batches, and finds the rows to blame when a batch fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_customerly.client import (
    CustomerlyError,
    CustomerlyProtocolError,
    CustomerlyUnavailable,
)
from airflow_provider_customerly.client.endpoints import check_contact_type
from airflow_provider_customerly.client.settings import check_range
from airflow_provider_customerly.sync import wording
from airflow_provider_customerly.sync.answer import Verdict, halves, judge
from airflow_provider_customerly.sync.blame import may_be_a_rows_fault, not_the_rows
from airflow_provider_customerly.sync.rows import Outgoing, Problem, Settled

if TYPE_CHECKING:
    from airflow_provider_customerly.client import Client, ContactType

log = logging.getLogger(__name__)

LARGEST_BATCH = 100
_MOST_HELD = 20
"""Rows in a row that are held to be at fault before their request itself comes under suspicion."""

_LOOK_AGAIN = 1.0
"""Seconds between looks at calls that should end."""

Settle = Callable[[list[Settled]], None]
Send = Callable[[list[Outgoing]], Verdict]
"""Sends some rows in one request, and tells what the answer says of each."""


def deliver(
    client: Client,
    contact_type: ContactType,
    rows: Iterable[Outgoing],
    settle: Settle,
    *,
    batch_size: int = 50,
    max_concurrency: int = 1,
) -> None:
    """Create or update contacts, and tell what became of each row.

    Every row is settled exactly once, unless this raises; a row that is not settled may have been delivered
    or not, and sending it again is harmless. Rows of which an answer leaves open what became of them, and
    those of a batch that fails as a whole, are sent again in halves, until each that is not accepted stood
    alone.

    A row that stood alone in a request that failed, or that no answer explains, is refused only once another
    row has passed after it: until then the host, the rights of the token or an outage may be to blame. So it
    is held, and settled together with the next row that is accepted, in whatever thread. Instead of being
    refused then, a row at which the server itself failed is sent alone once more: that may have been an
    outage which is over now. When 20 rows are held, or the rows are used up, the row that was accepted last
    is sent again to find out; if it fails too, the failure is raised and no held row is settled. Where none
    was accepted yet, 20 held rows raise; fewer are refused at the end, unless the failure looks like an
    outage or the API does not answer a plain question either.

    :param rows: taken lazily, a batch at a time, by the calling thread.
    :param settle: called with what one answer settled, by the thread that got the answer, before it sends
        anything else; never twice at a time.
    :param batch_size: rows in a request, 1 to 100.
    :param max_concurrency: most batches in flight; the client's own limit holds as well.
    :raises CustomerlyError: the first failure that is not the rows'. After a failure, be it of `rows` or of
        `settle` too, nothing new is sent; what is under way is awaited and settled (not after a failure of
        `settle`), and what waits for its next try is stopped by cancelling the client's calls.
    """
    check_contact_type(contact_type)

    def upsert(group: list[Outgoing]) -> Verdict:
        return judge(group, client.upsert_contacts(contact_type, [row.contact for row in group]))

    deliver_by(
        upsert,
        f"POST /{contact_type}",
        client,
        rows,
        settle,
        batch_size=batch_size,
        max_concurrency=max_concurrency,
    )


def deliver_by(
    send: Send,
    request: str,
    client: Client,
    rows: Iterable[Outgoing],
    settle: Settle,
    *,
    batch_size: int,
    max_concurrency: int,
) -> None:
    """Send rows by any request that does no harm when it is sent again; everything else is as in `deliver`.

    :param send: may be called by several threads at a time.
    :param request: names the request in errors.
    """
    check_range("batch_size", batch_size, 1, LARGEST_BATCH)
    check_range("max_concurrency", max_concurrency, 1, 256)
    _Delivery(send, request, client, settle).run(_batches(rows, batch_size), max_concurrency)


class _Held(NamedTuple):
    row: Outgoing
    problem: Problem
    failure: CustomerlyError


class _Delivery:
    """One call of `deliver_by`, shared by its threads."""

    def __init__(self, send: Send, request: str, client: Client, settle: Settle) -> None:
        self._send_rows = send
        self._request = request
        self._client = client
        self._settle_rows = settle
        self._stopping = threading.Event()
        self._has_warned = False
        self._lock = threading.Lock()
        # The rest is guarded by the lock.
        self._held: list[_Held] = []
        self._sent_twice: set[bytes] = set()
        self._witness: Outgoing | None = None
        self._failure: BaseException | None = None
        self._is_closed = False

    def run(self, batches: Iterator[list[Outgoing]], max_concurrency: int) -> None:
        under_way: set[Future[None]] = set()
        try:
            with ThreadPoolExecutor(max_concurrency, thread_name_prefix="customerly-sync") as pool:
                try:
                    while not self._stopping.is_set() and (batch := next(batches, None)):
                        under_way.add(pool.submit(self._deliver, batch))
                        if len(under_way) == max_concurrency:
                            under_way = wait(under_way, return_when=FIRST_COMPLETED).not_done
                    self._wait_for(under_way)
                    if self._failure is not None:
                        raise self._failure
                    while groups := self._settle_held():
                        self._work_off(groups)
                except BaseException:
                    self._stopping.set()
                    self._wait_for(under_way)
                    raise
        finally:
            # An interrupted wait leaves threads behind, and the caller's journal may be closed by now.
            with self._lock:
                self._is_closed = True

    def _wait_for(self, under_way: set[Future[None]]) -> None:
        """Wait for batches, and stop their waits for a next try if there was a failure."""
        while under_way:
            if self._stopping.is_set():
                self._client.cancel()  # each time: a call that just began was not there to be cancelled
            under_way = wait(under_way, timeout=_LOOK_AGAIN, return_when=FIRST_COMPLETED).not_done

    def _deliver(self, batch: list[Outgoing]) -> None:
        """Deliver a batch; failures are kept for the calling thread."""
        try:
            self._work_off([batch])
        except BaseException as failure:
            with self._lock:
                self._failure = failure if self._failure is None else self._failure
            self._stopping.set()

    def _work_off(self, groups: list[list[Outgoing]]) -> None:
        while groups and not self._stopping.is_set():
            groups.extend(reversed(self._send(groups.pop())))

    def _send(self, group: list[Outgoing]) -> list[list[Outgoing]]:
        """Send a group, settle what the answer tells, and return the groups to send again."""
        outcome = self._ask(group)
        if isinstance(outcome, Verdict):
            if len(group) == 1 and outcome.again:
                said_nothing = CustomerlyProtocolError("no verdict", request=self._request)
                return self._hold(group[0], wording.unexplained(), said_nothing)
            doubtful = self._settle([*map(Settled, outcome.accepted), *outcome.refused])
            return [*outcome.again, *doubtful]
        if len(group) == 1:
            return self._hold(group[0], wording.failed(group[0].contact, outcome), outcome)
        self._tell(group, outcome)
        return halves(group)

    def _ask(self, group: list[Outgoing]) -> Verdict | CustomerlyError:
        """Send a group; a failure that may be the fault of a row in it is returned, any other raised."""
        try:
            return self._send_rows(group)
        except CustomerlyError as failure:
            if not may_be_a_rows_fault(failure):
                raise
            return failure

    def _settle(self, settled: list[Settled], *, held_too: bool = False) -> list[list[Outgoing]]:
        """Settle rows, and the held ones if another has passed; return those of them to send again."""
        with self._lock:
            doubtful: list[list[Outgoing]] = []
            accepted = [one.row for one in settled if one.problem is None]
            if accepted:
                self._witness = accepted[-1]
            if accepted or held_too:
                at_fault = []
                for row, problem, failure in self._held:
                    if isinstance(failure, CustomerlyUnavailable) and row.key not in self._sent_twice:
                        self._sent_twice.add(row.key)
                        doubtful.append([row])
                    else:
                        at_fault.append(Settled(row, problem))
                settled = [*at_fault, *settled]
                self._held = []
            if settled and not self._is_closed:
                try:
                    self._settle_rows(settled)
                except BaseException:
                    self._is_closed = True
                    raise
            return doubtful

    def _hold(self, row: Outgoing, problem: Problem, failure: CustomerlyError) -> list[list[Outgoing]]:
        """Keep a row until another has passed; return the held ones to send again, if it is time to ask."""
        with self._lock:
            self._held.append(_Held(row, problem, failure))
            is_suspicious = len(self._held) >= _MOST_HELD
        return self._settle_held() if is_suspicious and not self._stopping.is_set() else []

    def _settle_held(self) -> list[list[Outgoing]]:
        """Find out whether the held rows are at fault, and settle them if so, or return them; else raise."""
        with self._lock:
            held, witness = list(self._held), self._witness
        if not held:
            return []
        if not self._is_request_good(held, witness):
            raise not_the_rows(held[-1].failure, held[-1].row.contact, len(held))
        return self._settle([], held_too=True)

    def _is_request_good(self, held: list[_Held], witness: Outgoing | None) -> bool:
        if witness is not None:
            outcome = self._ask([witness])
            return isinstance(outcome, Verdict) and bool(outcome.accepted)
        if len(held) >= _MOST_HELD or any(isinstance(one.failure, CustomerlyUnavailable) for one in held):
            return False
        self._client.check()
        return True

    def _tell(self, group: list[Outgoing], failure: CustomerlyError) -> None:
        level = logging.DEBUG if self._has_warned else logging.WARNING
        self._has_warned = True
        log.log(
            level,
            "A batch of %d contacts failed with HTTP %s: sending it in halves to find those at fault.",
            len(group),
            failure.status,
        )


def _batches(rows: Iterable[Outgoing], size: int) -> Iterator[list[Outgoing]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, size)):
        yield batch
