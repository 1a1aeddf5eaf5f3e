"""Statistics on requests."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

_WITH_ID = ("/users/unsubscribe/", "/users/add-attributes/", "/company/add-attributes/")


class Stats:
    """Counts since the start or the last reset."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Reset all counts, except that of requests in flight."""
        with self._lock:
            self._in_flight: int = getattr(self, "_in_flight", 0)
            self._peak = self._in_flight
            self._requests: Counter[str] = Counter()
            self._statuses: Counter[str] = Counter()
            self._refused = 0
            self._accepted = 0
            self._rejected = 0

    def begin(self, method: str, path: str) -> None:
        """Count the start of a request."""
        path = path.removeprefix("/v1")
        for prefix in _WITH_ID:
            if path.startswith(prefix):
                path = prefix + "{id}"
        with self._lock:
            self._requests[f"{method} {path}"] += 1
            self._in_flight += 1
            self._peak = max(self._peak, self._in_flight)

    def end(self, status: int | None) -> None:
        """Count the end of a request; None means that the connection was reset."""
        with self._lock:
            self._in_flight -= 1
            self._statuses["reset" if status is None else str(status)] += 1
            if status is None or status >= 400:
                self._refused += 1

    def contacts(self, accepted: int, rejected: int) -> None:
        """Count the rows of an upsert."""
        with self._lock:
            self._accepted += accepted
            self._rejected += rejected

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        with self._lock:
            return {
                "requests": sum(self._requests.values()),
                "by_request": dict(self._requests),
                "by_status": dict(self._statuses),
                "refused": self._refused,
                "in_flight": self._in_flight,
                "in_flight_peak": self._peak,
                "contacts_accepted": self._accepted,
                "contacts_rejected": self._rejected,
            }
