"""Work on many contacts: told now and then, and stopped when it is asked to."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_customerly.contacts.errors import StoppedError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 5.0


def until(stop: threading.Event | None, work: Iterable[T]) -> Iterator[T]:
    """Give out work until `stop` is set.

    :raises StoppedError: it is set.
    """
    for item in work:
        if stop is not None and stop.is_set():
            raise StoppedError(
                "Stopped from outside before all contacts were done. Run it again: it is safe."
            )
        yield item


class Progress:
    """Says every few seconds how far the work is.

    :param doing: what is done, for the log: `contacts tagged`.
    """

    def __init__(self, doing: str, total: int) -> None:
        self._doing = doing
        self._total = total
        self._begun = self._said = time.monotonic()

    def tell(self, done: int, failed: int) -> bool:
        """Write a line if it is time for one; return whether it was."""
        now = time.monotonic()
        if now - self._said < _SECONDS_BETWEEN_LINES:
            return False
        self._said = now
        log.info(
            "%d of %d %s, %d failed, %.1f/s",
            done,
            self._total,
            self._doing,
            failed,
            (done + failed) / max(now - self._begun, 1e-9),
        )
        return True
