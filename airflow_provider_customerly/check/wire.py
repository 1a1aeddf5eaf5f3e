"""Send counted and timed requests, and keep all responses, errors included."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_customerly.client import CustomerlyError, settings
from airflow_provider_customerly.client.answers import read_answer
from airflow_provider_customerly.client.errors import CustomerlyUnavailable, is_transient
from airflow_provider_customerly.client.pacing import Pace
from airflow_provider_customerly.client.session import Session

if TYPE_CHECKING:
    import msgspec

    from airflow_provider_customerly.client.session import Answer, AuthHeader, Request

MOST_REQUESTS = 19

_PAUSE = 0.5
_LONGEST_PAUSE = 10.0


@dataclass(frozen=True)
class Exchange:
    """One request and its outcome: data or an error."""

    request: str
    answer: Answer | None
    """None if no complete response was received."""
    data: msgspec.Raw | None = field(repr=False)
    error: CustomerlyError | None
    seconds: float
    middle: float
    """Epoch seconds by this machine's clock, halfway between the request and the response."""


class Wire:
    """Send requests to one API, one at a time and at most ``MOST_REQUESTS`` in all.

    The arguments are those of ``Client``.
    """

    def __init__(
        self, base_url: str, *, timeout: float, requests_per_second: float | None, allow_insecure_http: bool
    ) -> None:
        self.base_url = settings.checked_url(base_url, allow_insecure_http=allow_insecure_http)
        self.timeout = timeout
        self.exchanges: list[Exchange] = []
        self._pace = Pace(1, requests_per_second)
        self._never = threading.Event()
        self._sessions: dict[tuple[str, str], Session] = {}

    def close(self) -> None:
        """Close the connections."""
        for session in self._sessions.values():
            session.close()

    @property
    def left(self) -> int:
        """Requests that may still be sent."""
        return MOST_REQUESTS - len(self.exchanges)

    def ask(
        self, request: Request, token: str, auth_header: AuthHeader, *, expects_refusal: bool = False
    ) -> Exchange | None:
        """Send a request, and retry it once if that may help; return None if no request is left.

        :param expects_refusal: do not retry an error that the API itself explains, because it is expected.
        """
        if self.left <= 0:
            return None
        exchange = self._exchange(request, token, auth_header)
        error = exchange.error
        if error is None or not is_transient(error) or self.left <= 0:
            return exchange
        if expects_refusal and isinstance(error, CustomerlyUnavailable) and error.is_explained:
            return exchange
        time.sleep(min(error.retry_after or _PAUSE, _LONGEST_PAUSE))
        return self._exchange(request, token, auth_header)

    def _exchange(self, request: Request, token: str, auth_header: AuthHeader) -> Exchange:
        session = self._session(token, auth_header)
        this_round = self._pace.acquire(self._never)
        started, since = time.monotonic(), time.time()
        answer = data = error = None
        try:
            answer = session.send(request)
            data = read_answer(answer, request, session.token)
        except CustomerlyError as refused:
            error = refused
        finally:
            self._pace.release(this_round or 0, distress=False)
        seconds = time.monotonic() - started
        exchange = Exchange(str(request), answer, data, error, seconds, since + seconds / 2)
        self.exchanges.append(exchange)
        return exchange

    def _session(self, token: str, auth_header: AuthHeader) -> Session:
        key = (token, auth_header)
        if key not in self._sessions:
            self._sessions[key] = Session(
                settings.checked_token(token),
                self.base_url,
                auth_header=auth_header,
                timeout=self.timeout,
                max_concurrency=1,
            )
        return self._sessions[key]
