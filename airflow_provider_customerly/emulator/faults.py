"""Things that go wrong between a client and an API, on demand."""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FAULTS: dict[str, str] = {
    "429": "429 with Retry-After in seconds",
    "429-date": "429 with Retry-After as an HTTP date",
    "429-bare": "429 without Retry-After",
    "400": "400 with the vendor's error envelope",
    "500": "500 with the vendor's error envelope",
    "502": "502 with a proxy's HTML",
    "503": "503 with a proxy's HTML",
    "down": "503 as above; meant for a rate of 1, an outage",
    "reset": "the connection is reset without an answer and nothing is applied",
    "reset_after": "writes only: applied, then the connection is reset without an answer",
    "cut": "the connection closes in the middle of the body",
    "html": "200 with a proxy's HTML",
    "error200": "200 with a top-level error",
    "empty": "lists only: 200 with an empty list",
    "drip": "the body arrives a little at a time",
}
_LIST_PATHS = ("/v1/users/list", "/v1/leads/list")


class Faults:
    """Decides which request meets which fault.

    :param rates: fault name to probability per request; together at most 1.
    :param seed: draws are repeatable when requests come one at a time.
    :param retry_after: seconds that the 429 answers ask a client to wait.
    :param drip_seconds: how long a dripping body takes.
    """

    def __init__(
        self,
        rates: Mapping[str, float] | None = None,
        seed: int = 1,
        *,
        retry_after: int = 1,
        drip_seconds: float = 2.0,
    ) -> None:
        self.retry_after = retry_after
        self.drip_seconds = drip_seconds
        self.injected: Counter[str] = Counter()
        self._draw = random.Random(seed)
        self._planned: deque[str | None] = deque()
        self._lock = threading.Lock()
        self.set(rates or {})

    def set(self, rates: Mapping[str, float]) -> None:
        """Replace all rates.

        :raises ValueError: an unknown fault, or rates that are not probabilities.
        """
        _check_names(rates)
        if any(rate < 0 for rate in rates.values()) or sum(rates.values()) > 1 + 1e-9:
            raise ValueError("fault rates are probabilities per request: each at least 0, together at most 1")
        with self._lock:
            self.rates = dict(rates)

    def plan(self, faults: Iterable[str | None]) -> None:
        """Queue faults for the next requests, one each, before any rate is looked at; None is a good answer.

        A fault that does not apply to a request (``empty`` to a write) waits for the first that it fits.
        """
        queued = list(faults)
        _check_names(fault for fault in queued if fault is not None)
        with self._lock:
            self._planned.extend(queued)

    def clear(self) -> None:
        """Stop all faults and forget the counts."""
        with self._lock:
            self.rates = {}
            self._planned.clear()
            self.injected.clear()

    def next(self, method: str, path: str) -> str | None:
        """Return the fault that this request meets, or None."""
        with self._lock:
            if self._planned:
                planned = self._planned[0]
                if not _applies(planned, method, path):
                    return None
                self._planned.popleft()
                return self._count(planned)
            if not self.rates:
                return None
            left = self._draw.random()
            for fault, rate in self.rates.items():
                left -= rate
                if left < 0:
                    return self._count(fault) if _applies(fault, method, path) else None
            return None

    def _count(self, fault: str | None) -> str | None:
        if fault is not None:
            self.injected[fault] += 1
        return fault


def _check_names(names: Iterable[str]) -> None:
    unknown = sorted(set(names) - set(FAULTS))
    if unknown:
        raise ValueError(f"unknown faults {unknown}: use {', '.join(FAULTS)}")


def _applies(fault: str | None, method: str, path: str) -> bool:
    if fault == "empty":
        return method == "GET" and path in _LIST_PATHS
    if fault == "reset_after":
        return method != "GET"
    return True
