"""One API call: a request, retried until it succeeds, is refused, runs out of time or is cancelled."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
import tenacity

from airflow_provider_customerly.client.answers import read_answer
from airflow_provider_customerly.client.errors import (
    CustomerlyError,
    CustomerlyProtocolError,
    CustomerlyRateLimited,
    CustomerlyUnavailable,
    is_transient,
)
from airflow_provider_customerly.client.json_text import NOT_READABLE, readable

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_customerly.client.pacing import Pace
    from airflow_provider_customerly.client.session import Request, Session

log = logging.getLogger(__name__)

T = TypeVar("T")

_MOST_RETRIES_OF_EXPLAINED = 4
"""A server that explains the error is up, and its reason rarely goes away within the retry budget."""

_LONG_WAIT = 5.0
"""Seconds. Longer waits are logged, because the task would seem to hang."""

_backoff = tenacity.wait_random_exponential(multiplier=0.5, max=30)


class Counters:
    """Count the requests and retries of a client, across all its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.sent = 0
        self.retries = 0
        self.waited = 0.0

    def count(self, *, retry: bool) -> None:
        """Count one request."""
        with self._lock:
            self.sent += 1
            self.retries += retry

    def wait(self, seconds: float) -> None:
        """Count the wait before a retry."""
        with self._lock:
            self.waited += seconds


class Call(Generic[T]):
    """Send a request, with retries, and read the response.

    Waits grow exponentially with full jitter. They are at least ``Retry-After`` and at most what is left of
    the budget. A waiting call does not occupy one of the concurrent slots.

    :param read: converts the JSON text under ``data``, or what the decoder made of it, into the result. A
        msgspec error means that the response does not have the documented shape.
    :param budget: seconds for all retries, counted from the first failure.
    :param decoder: see ``read_answer``.
    """

    def __init__(
        self,
        session: Session,
        pace: Pace,
        counters: Counters,
        cancelled: threading.Event,
        request: Request,
        read: Callable[[Any], T],
        budget: float,
        decoder: msgspec.json.Decoder[Any],
    ) -> None:
        self._session = session
        self._pace = pace
        self._counters = counters
        self._cancelled = cancelled
        self._request = request
        self._read = read
        self._budget = budget
        self._decoder = decoder
        self._tries = 0
        self._explained = 0
        self._first_failure: float | None = None
        self.may_have_been_done = False
        """True if the outcome of an attempt is unknown."""

    def run(self) -> T:
        """Return the result, or raise the last error when there is no point in retrying."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            wait=self._wait,
            stop=self._is_over,
            sleep=tenacity.sleep_using_event(self._cancelled),
            before_sleep=self._before_wait,
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
            data = read_answer(answer, self._request, self._session.token, self._decoder)
            return self._read_data(data)
        except CustomerlyError as error:
            distress = is_transient(error)
            if distress:
                self._note(error)
            raise
        finally:
            self._pace.release(this_round, distress=distress)

    def _read_data(self, data: Any) -> T:
        try:
            return self._read(data)
        except NOT_READABLE as error:
            reason = error
        text, odd = readable(bytes(data)) if isinstance(data, msgspec.Raw) else (b"", 0)
        if odd:
            with contextlib.suppress(*NOT_READABLE):
                return self._read(msgspec.Raw(text))
        words = str(reason) if isinstance(reason, msgspec.MsgspecError) else type(reason).__name__
        raise CustomerlyProtocolError(
            f"the data has an unexpected shape: {words}", request=str(self._request)
        )

    def _note(self, error: CustomerlyError) -> None:
        if self._first_failure is None:
            self._first_failure = time.monotonic()
        if isinstance(error, CustomerlyUnavailable) and error.is_explained:
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

    def _before_wait(self, state: tenacity.RetryCallState) -> None:
        self._counters.wait(state.upcoming_sleep)
        _log_wait(state)

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
        attempts = "1 attempt" if self._tries == 1 else f"{self._tries} attempts"
        error.args = (f"{error} Gave up after {attempts} over {self._failing_for():.0f} s.",)
        raise error

    def _stopped(self) -> CustomerlyUnavailable:
        return CustomerlyUnavailable(
            "the client was cancelled before the request succeeded",
            request=str(self._request),
            advice="Look for the failure that caused this, fix it, then try again.",
        )


def _log_wait(state: tenacity.RetryCallState) -> None:
    level = logging.WARNING if state.upcoming_sleep >= _LONG_WAIT else logging.DEBUG
    error = _last_error(state)
    # The server's message is left out because it may name a contact.
    status = "" if error.status is None else f", HTTP {error.status}"
    log.log(
        level,
        "Retrying in %.1f s. %s: %s%s",
        state.upcoming_sleep,
        error.request,
        type(error).__name__,
        status,
    )


def _last_error(state: tenacity.RetryCallState) -> CustomerlyError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, CustomerlyError)  # noqa: S101  # only our own transient errors are retried
    return error
