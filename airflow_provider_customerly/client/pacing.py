"""Rate and concurrency limits, shared by all threads of a client."""

from __future__ import annotations

import threading
import time

_SUCCESSES_TO_RAISE = 10
"""Successes after which the concurrency grows by one: slowly, so as not to overload the server again."""


class Pace:
    """Admit requests at an even rate, and never more at once than the server can handle.

    The concurrency limit starts at its maximum, is halved when the server struggles and grows by one after a
    run of successes. Requests that were in flight when the limit was halved say nothing about the new limit,
    so they cannot halve it again: there is at most one halving per round.

    :param max_concurrency: maximum number of concurrent requests.
    :param requests_per_second: None for no limit; otherwise requests start at least 1/n seconds apart.
    """

    def __init__(self, max_concurrency: int, requests_per_second: float | None = None) -> None:
        self.limit = max_concurrency
        """Number of concurrent requests allowed right now."""
        self._max = max_concurrency
        self._interval = 1.0 / requests_per_second if requests_per_second else 0.0
        self._changed = threading.Condition()
        self._active = 0
        self._round = 0
        self._successes = 0
        self._next_start = 0.0
        self._paused_until = 0.0

    def acquire(self, cancelled: threading.Event) -> int | None:
        """Wait for a slot; return the round it belongs to, or None if ``cancelled`` was set meanwhile."""
        with self._changed:
            while self._active >= self.limit and not cancelled.is_set():
                self._changed.wait()
            if cancelled.is_set():
                return None
            self._active += 1
            this_round = self._round
            delay = self._reserve_start()
        if delay > 0 and cancelled.wait(delay):
            with self._changed:
                self._leave()
            return None
        return this_round

    def release(self, this_round: int, *, distress: bool) -> None:
        """Release the slot; ``distress`` means that the server was overloaded, unreachable or broken."""
        with self._changed:
            if not distress:
                self._raise_slowly()
            elif this_round == self._round:
                self.limit = max(1, self.limit // 2)
                self._round += 1
                self._successes = 0
            self._leave()

    def pause(self, seconds: float) -> None:
        """Start no request for a while: a server that refused one thread would also refuse the others."""
        with self._changed:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def wake(self) -> None:
        """Make waiting threads check their cancellation event again."""
        with self._changed:
            self._changed.notify_all()

    def _reserve_start(self) -> float:
        now = time.monotonic()
        start = max(now, self._next_start, self._paused_until)
        self._next_start = start + self._interval
        return start - now

    def _raise_slowly(self) -> None:
        if self.limit == self._max:
            return
        self._successes += 1
        if self._successes >= _SUCCESSES_TO_RAISE:
            self._successes = 0
            self.limit += 1

    def _leave(self) -> None:
        self._active -= 1
        if self._active < self.limit:
            self._changed.notify(self.limit - self._active)
