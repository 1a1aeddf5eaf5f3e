"""The progress of a running task in Airflow's task state store, where the run page finds it."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.values.progress import heard_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context

KEY = "customerly_progress"
"""The key in the store. Its value is ``{"try": 1, "line": "1200 of about 5000 contacts read, ..."}``."""

log = logging.getLogger(__name__)


@contextlib.contextmanager
def shown_while_running(context: Context) -> Iterator[None]:
    """Keep the last line of progress in the task state store, which Airflow has since version 3.3."""
    store: Any = context.get("task_state_store")
    ti = context.get("ti")
    if store is None or ti is None or not _has_supervisor():
        yield
        return
    keeper = _Keeper(store, ti.try_number)
    try:
        with heard_by(keeper.keep):
            yield
    finally:
        keeper.stop()


def _has_supervisor() -> bool:
    """Return whether another process answers; with ``airflow dags test`` it is this one, one thread only."""
    from airflow.sdk.execution_time import comms, task_runner

    return isinstance(getattr(task_runner, "SUPERVISOR_COMMS", None), comms.CommsDecoder)


class _Keeper:
    """Keeps the newest line, in a thread of its own: the work never waits for a slow API server.

    Nor does a task's timeout, which is raised in the main thread, cut off a request to the supervisor, whose
    answer would then be taken for that of the next one. It ends when a line could not be kept.
    """

    def __init__(self, store: Any, try_number: int) -> None:
        self._store = store
        self._try_number = try_number
        self._changed = threading.Condition()
        self._line: str | None = None
        self._is_over = False
        threading.Thread(target=self._run, name="customerly-progress", daemon=True).start()

    def keep(self, line: str) -> None:
        """Replace the line that waits to be kept, if any."""
        with self._changed:
            self._line = line
            self._changed.notify()

    def stop(self) -> None:
        """Keep nothing more; do not wait for what is under way."""
        with self._changed:
            self._is_over = True
            self._changed.notify()

    def _run(self) -> None:
        try:
            while (line := self._next()) is not None:
                self._store.set(KEY, {"try": self._try_number, "line": line})
        except Exception as error:
            log.debug("No more progress in the task state store: %s", type(error).__name__)

    def _next(self) -> str | None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._line is not None)
            line, self._line = self._line, None
            return None if self._is_over else line
