"""Progress lines for long runs, and a way to stop them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_customerly.contacts.errors import StoppedError
from airflow_provider_customerly.values.progress import ProgressClock

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

log = logging.getLogger(__name__)


def until(stop: threading.Event | None, work: Iterable[T]) -> Iterator[T]:
    """Yield work until ``stop`` is set.

    :raises StoppedError: ``stop`` is set.
    """
    for item in work:
        if stop is not None and stop.is_set():
            raise StoppedError(
                "The run was stopped before all contacts were processed. It is safe to run it again."
            )
        yield item


class Progress:
    """Log the progress every few seconds.

    :param doing: what is done, such as ``contacts tagged``.
    """

    def __init__(self, doing: str, total: int) -> None:
        self._doing = doing
        self._total = total
        self._clock = ProgressClock(log)

    def tell(self, done: int, failed: int) -> bool:
        """Log a line if one is due; return whether it was."""
        if not self._clock.is_due():
            return False
        self._clock.tell(
            "%d of %d %s, %d failed, %.1f/s",
            done,
            self._total,
            self._doing,
            failed,
            self._clock.per_second(done + failed),
        )
        return True
