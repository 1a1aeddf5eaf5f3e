"""How far a long piece of work has come: a line in the log every few seconds, also for whoever listens."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator

SECONDS_BETWEEN_LINES = 5.0

_listeners: list[Callable[[str], None]] = []


@contextlib.contextmanager
def heard_by(listener: Callable[[str], None]) -> Iterator[None]:
    """Pass each line of progress to a listener, too."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class ProgressClock:
    """Knows when the next line of progress is due, and how fast the work goes.

    :param log: the logger of the module that does the work.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
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

    def tell(self, line: str, *values: object) -> None:
        """Log a line, which names nobody: the listeners may show it to more people than a log."""
        self._log.info(line, *values)
        for listener in _listeners:
            listener(line % values)
