"""One call of the API: a request that is sent until it is answered, refused, out of time or cancelled."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec
import tenacity

from airflow_provider_customerly.client.answer import read_answer
from airflow_provider_customerly.client.errors import (
    CustomerlyError,
    CustomerlyProtocolError,
    CustomerlyRateLimited,
    CustomerlyUnavailable,
    is_transient,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_customerly.client.pacing import Pace
    from airflow_provider_customerly.client.session import Request, Session

log = logging.getLogger(__name__)

T = TypeVar("T")

_MOST_RETRIES_OF_EXPLAINED = 4
"""A server that answers in its own words is alive: what it says seldom changes within the whole budget."""

_LONG_WAIT = 5.0
"""Seconds from which a wait is worth a line in the log of a task that seems to stand still."""

_backoff = tenacity.wait_random_exponential(multiplier=0.5, max=30)


class Counters:
    """What a client has done so far; shared by its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.sent = 0
        self.retries = 0

    def count(self, *, retry: bool) -> None:
        """Count one request."""
        with self._lock:
            self.sent += 1
            self.retries += retry


class Call(Generic[T]):
    """Send a request, with retries, and read its answer.

    Waits grow exponentially with full jitter, never shorter than ``Retry-After`` and never beyond what is
    left of the budget. No turn of the pace is held while waiting.

    :param read: makes the result of the JSON text under ``data``; a msgspec error it raises means that the
        answer is not what the API promises.
    :param budget: seconds for all retries, counted from the first failure.
    """

    def __init__(
        self,
        session: Session,
        pace: Pace,
        counters: Counters,
        cancelled: threading.Event,
        request: Request,
        read: Callable[[msgspec.Raw], T],
        budget: float,
    ) -> None:
        self._session = session
        self._pace = pace
        self._counters = counters
        self._cancelled = cancelled
        self._request = request
        self._read = read
        self._budget = budget
        self._tries = 0
        self._explained = 0
        self._first_failure: float | None = None
        self.may_have_been_done = False
        """True once a try ended without the server saying what became of it."""

    def run(self) -> T:
        """Return the result, or raise the last error once trying again is no use."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            wait=self._wait,
            stop=self._is_over,
            sleep=tenacity.sleep_using_event(self._cancelled),
            before_sleep=_log_wait,
            retry_error_callback=self._give_up,
        )
        return retrying(self._try)

    def _try(self) -> T:
        this_round = self._pace.acquire(self._cancelled)
        if this_round is None:
            raise self._stopped()
        distress = False
        self._counters.count(retry=self._tries > 0)
        self._tries += 1
        try:
            answer = self._session.send(self._request)
            return self._read_data(read_answer(answer, self._request, self._session.token))
        except CustomerlyError as error:
            distress = is_transient(error)
            if distress:
                self._note(error)
            raise
        finally:
            self._pace.release(this_round, distress=distress)

    def _read_data(self, data: msgspec.Raw) -> T:
        try:
            return self._read(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            reason = str(error) if isinstance(error, msgspec.MsgspecError) else "not UTF-8"
        raise CustomerlyProtocolError(f"the data has an unknown shape: {reason}", request=str(self._request))

    def _note(self, error: CustomerlyError) -> None:
        if self._first_failure is None:
            self._first_failure = time.monotonic()
        if isinstance(error, CustomerlyUnavailable) and error.vendor_message is not None:
            self._explained += 1
        if not isinstance(error, CustomerlyRateLimited):
            self.may_have_been_done = True
        elif error.retry_after:
            self._pace.pause(min(error.retry_after, self._budget))

    def _failing_for(self) -> float:
        return 0.0 if self._first_failure is None else time.monotonic() - self._first_failure

    def _wait(self, state: tenacity.RetryCallState) -> float:
        asked = _last_error(state).retry_after or 0.0
        return min(max(asked, _backoff(state)), max(0.0, self._budget - self._failing_for()))

    def _is_over(self, state: tenacity.RetryCallState) -> bool:
        return (
            self._cancelled.is_set()
            or self._explained > _MOST_RETRIES_OF_EXPLAINED
            or self._failing_for() >= self._budget
        )

    def _give_up(self, state: tenacity.RetryCallState) -> T:
        if self._cancelled.is_set():
            raise self._stopped()
        error = _last_error(state)
        tries = "1 try" if self._tries == 1 else f"{self._tries} tries"
        error.args = (f"{error} Given up after {tries} over {self._failing_for():.0f} s.",)
        raise error

    def _stopped(self) -> CustomerlyUnavailable:
        return CustomerlyUnavailable(
            "stopped before a good answer came, because the client was cancelled",
            request=str(self._request),
            advice="Look for the failure that led to this, then try again.",
        )


def _log_wait(state: tenacity.RetryCallState) -> None:
    level = logging.WARNING if state.upcoming_sleep >= _LONG_WAIT else logging.DEBUG
    error = _last_error(state)
    # Not the server's own words: they may name a contact.
    status = "" if error.status is None else f", HTTP {error.status}"
    log.log(
        level,
        "Trying again in %.1f s. %s: %s%s",
        state.upcoming_sleep,
        error.request,
        type(error).__name__,
        status,
    )


def _last_error(state: tenacity.RetryCallState) -> CustomerlyError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, CustomerlyError)  # noqa: S101  # only transient errors of ours are retried
    return error
