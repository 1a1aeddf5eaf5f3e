"""When to say how far a long piece of work has come."""

from __future__ import annotations

import time

SECONDS_BETWEEN_LINES = 5.0


class ProgressClock:
    """Knows when the next line of progress is due, and how fast the work goes."""

    def __init__(self) -> None:
        self._begun = self._last = time.monotonic()

    def is_due(self) -> bool:
        """Return whether a line is due. If it is, the next one is due some seconds later."""
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES:
            return False
        self._last = now
        return True

    def per_second(self, count: int) -> float:
        """Return how many of something were done in a second, since the start."""
        return count / max(time.monotonic() - self._begun, 1e-9)
