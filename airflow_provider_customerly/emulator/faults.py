"""Faults between a client and an API, on demand."""

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
    "503-json": "503 with the vendor's error envelope",
    "down": "503 as above; use a rate of 1 for an outage",
    "reset": "reset the connection without a response; nothing is applied",
    "reset_after": "writes only: apply the request, then reset the connection without a response",
    "cut": "close the connection in the middle of the body",
    "html": "200 with a proxy's HTML",
    "error200": "200 with a top-level error",
    "empty": "lists only: 200 with an empty list",
    "drip": "send the body slowly, in small pieces",
    "drip-headers": "send the headers slowly, in small pieces, forever",
    "bomb": "send 64 KiB that decompress to 64 MiB",
}
_LIST_PATHS = ("/v1/users/list", "/v1/leads/list")


class Faults:
    """Decide which requests get which faults.

    :param rates: probability of each fault per request; at most 1 in total.
    :param seed: makes faults repeatable if requests are sequential.
    :param retry_after: seconds in the ``Retry-After`` header of a 429.
    :param drip_seconds: duration of a dripping body.
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
            raise ValueError(
                "fault rates are probabilities per request. Set each to at least 0, and to at most 1 in total"
            )
        with self._lock:
            self.rates = dict(rates)

    def plan(self, faults: Iterable[str | None]) -> None:
        """Queue faults for the next requests, one each, before rates apply; None is a normal response.

        A fault that does not apply to a request (``empty`` to a write) waits for the first one that it fits.
        """
        queued = list(faults)
        _check_names(fault for fault in queued if fault is not None)
        with self._lock:
            self._planned.extend(queued)

    def clear(self) -> None:
        """Stop all faults and reset the counts."""
        with self._lock:
            self.rates = {}
            self._planned.clear()
            self.injected.clear()

    def next(self, method: str, path: str) -> str | None:
        """Return the fault for this request, or None."""
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
        raise ValueError(f"unknown faults {unknown}. Use {', '.join(FAULTS)}")


def _applies(fault: str | None, method: str, path: str) -> bool:
    if fault == "empty":
        return method == "GET" and path in _LIST_PATHS
    if fault == "reset_after":
        return method != "GET"
    return True
