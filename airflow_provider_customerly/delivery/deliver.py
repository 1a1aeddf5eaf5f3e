"""Send rows in batches, and find the rows at fault when a batch fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TYPE_CHECKING, Annotated, NamedTuple

from msgspec import Meta

from airflow_provider_customerly.client import (
    CustomerlyError,
    CustomerlyProtocolError,
    CustomerlyUnavailable,
)
from airflow_provider_customerly.client.endpoints import check_contact_type
from airflow_provider_customerly.client.settings import MOST_AT_ONCE, check_range
from airflow_provider_customerly.delivery import problems
from airflow_provider_customerly.delivery.blame import may_be_a_rows_fault, not_the_rows
from airflow_provider_customerly.delivery.outcomes import Verdict, halves, judge
from airflow_provider_customerly.values.rows import Outgoing, Problem, Settled

if TYPE_CHECKING:
    from airflow_provider_customerly.client import Client, ContactType

log = logging.getLogger(__name__)

LARGEST_BATCH = 100
BatchSize = Annotated[int, Meta(ge=1, le=LARGEST_BATCH)]
"""Contacts per request."""
MOST_HELD = 20
"""Number of consecutive rows that may fail before the request itself becomes suspect."""

_LOOK_AGAIN = 1.0
"""Seconds between attempts to cancel calls that should end."""

Settle = Callable[[list[Settled]], None]
Send = Callable[[list[Outgoing]], Verdict]
"""Sends several rows in one request, and returns what the response says about each."""


def deliver(
    client: Client,
    contact_type: ContactType,
    rows: Iterable[Outgoing],
    settle: Settle,
    *,
    batch_size: int = 50,
    max_concurrency: int = 1,
) -> None:
    """Create or update contacts, and report the outcome of each row.

    Every row is settled exactly once, unless this raises an error. A row that is not settled may or may not
    have been delivered, and it is safe to send it again. If a response leaves the outcome of rows open, or a
    batch fails as a whole, these rows are sent again in halves, until each row that is not accepted is alone.

    If a row fails alone, or no response explains it, the host, the permissions of the token or an outage may
    be at fault. So the row is held, and only refused after another row has been accepted. If the server
    itself failed, the row is first sent alone once more, because the outage may be over.

    When 20 rows are held, or there are no more rows, the last accepted row is sent again as a test. If it
    also fails, the error is raised and no held row is settled. If no row was accepted so far, 20 held rows
    raise the error. Fewer are refused at the end, unless the error looks like an outage or a simple request
    also fails.

    :param rows: read lazily, one batch at a time, by the calling thread.
    :param settle: called with the rows that one response settles, by the thread that received it, before that
        thread sends anything else; never concurrently.
    :param batch_size: rows per request, 1 to 100.
    :param max_concurrency: maximum number of concurrent batches, in addition to the client's own limit.
    :raises CustomerlyError: the first error that is not a row's fault. After any error, also from ``rows`` or
        ``settle``, nothing new is sent. Requests in flight complete and are settled (except after an error
        from ``settle``), and calls that wait for a retry are cancelled.
    """
    check_contact_type(contact_type)

    def upsert(group: list[Outgoing]) -> Verdict:
        return judge(group, client.upsert_contacts(contact_type, [row.text for row in group]))

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
    ahead: int = 0,
) -> None:
    """Send rows with any request that is safe to repeat. Everything else is as in ``deliver``.

    :param send: may be called by several threads at once.
    :param request: the request as named in errors.
    :param ahead: how many batches may wait for a free thread, so that it need not wait for them.
    """
    check_range("batch_size", batch_size, 1, LARGEST_BATCH)
    check_range("max_concurrency", max_concurrency, 1, MOST_AT_ONCE)
    _Delivery(send, request, client, settle).run(_batches(rows, batch_size), max_concurrency, ahead)


class _Held(NamedTuple):
    row: Outgoing
    problem: Problem
    failure: CustomerlyError


class _Delivery:
    """One call of ``deliver_by``, shared by its threads."""

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

    def run(self, batches: Iterator[list[Outgoing]], max_concurrency: int, ahead: int) -> None:
        under_way: set[Future[None]] = set()
        try:
            with ThreadPoolExecutor(max_concurrency, thread_name_prefix="customerly-sync") as pool:
                try:
                    while not self._stopping.is_set() and (batch := next(batches, None)):
                        under_way.add(pool.submit(self._deliver, batch))
                        if len(under_way) == max_concurrency + ahead:
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
            # An interrupted wait may leave threads running after the caller has closed its journal.
            with self._lock:
                self._is_closed = True

    def _wait_for(self, under_way: set[Future[None]]) -> None:
        """Wait for batches, and cancel their retries if there was an error."""
        while under_way:
            if self._stopping.is_set():
                self._client.cancel()  # repeatedly, because a call may have started after the last cancel
            under_way = wait(under_way, timeout=_LOOK_AGAIN, return_when=FIRST_COMPLETED).not_done

    def _deliver(self, batch: list[Outgoing]) -> None:
        """Deliver a batch; keep an error for the calling thread."""
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
        """Send a group, settle what the response explains, and return the groups to send again."""
        outcome = self._ask(group)
        if isinstance(outcome, Verdict):
            if len(group) == 1 and outcome.again:
                said_nothing = CustomerlyProtocolError("no outcome", request=self._request)
                return self._hold(group[0], problems.unexplained(), said_nothing)
            doubtful = self._settle([*map(Settled, outcome.accepted), *outcome.refused])
            return [*outcome.again, *doubtful]
        if len(group) == 1:
            return self._hold(group[0], problems.failed(group[0].contact, outcome), outcome)
        self._tell(group, outcome)
        return halves(group)

    def _ask(self, group: list[Outgoing]) -> Verdict | CustomerlyError:
        """Send a group. Return an error that may be a row's fault, and raise any other."""
        try:
            return self._send_rows(group)
        except CustomerlyError as failure:
            if not may_be_a_rows_fault(failure):
                raise
            return failure

    def _settle(self, settled: list[Settled], *, held_too: bool = False) -> list[list[Outgoing]]:
        """Settle rows, and held rows if another was accepted; return held rows to send again."""
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
                    self._stopping.set()  # before another thread can end its batch and begin the next one
                    raise
            return doubtful

    def _hold(self, row: Outgoing, problem: Problem, failure: CustomerlyError) -> list[list[Outgoing]]:
        """Hold a row until another is accepted; return held rows to send again, if it is time to test."""
        with self._lock:
            self._held.append(_Held(row, problem, failure))
            is_suspicious = len(self._held) >= MOST_HELD
        return self._settle_held() if is_suspicious and not self._stopping.is_set() else []

    def _settle_held(self) -> list[list[Outgoing]]:
        """Test whether the held rows are at fault. If so, settle or return them, else raise the error."""
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
        if len(held) >= MOST_HELD or any(isinstance(one.failure, CustomerlyUnavailable) for one in held):
            return False
        self._client.check()
        return True

    def _tell(self, group: list[Outgoing], failure: CustomerlyError) -> None:
        level = logging.DEBUG if self._has_warned else logging.WARNING
        self._has_warned = True
        log.log(
            level,
            "A batch of %d contacts failed with HTTP %s. Sending it in halves to find the contacts at fault.",
            len(group),
            failure.status,
        )


def _batches(rows: Iterable[Outgoing], size: int) -> Iterator[list[Outgoing]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, size)):
        yield batch
