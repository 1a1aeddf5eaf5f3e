"""The progress of a running task in Airflow's task state store, where the run page finds it."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.values.progress import heard_by

if TYPE_CHECKING:
    from airflow.sdk import Context

KEY = "customerly_progress"
"""The key in the store. Its value is ``{"try": 1, "line": "1200 of about 5000 contacts read, ..."}``."""

log = logging.getLogger(__name__)


def shown_while_running(context: Context) -> contextlib.AbstractContextManager[None]:
    """Keep the last line of progress in the task state store, which Airflow has since version 3.3."""
    store: Any = context.get("task_state_store")
    ti = context.get("ti")
    if store is None or ti is None:
        return contextlib.nullcontext()
    return heard_by(_Keeper(store, ti.try_number))


class _Keeper:
    """Keeps a line, until that fails once: progress is not worth waiting for a server that is down."""

    def __init__(self, store: Any, try_number: int) -> None:
        self._store = store
        self._try_number = try_number

    def __call__(self, line: str) -> None:
        if self._store is None:
            return
        try:
            self._store.set(KEY, {"try": self._try_number, "line": line})
        except Exception as error:
            log.debug("No more progress in the task state store: %s", type(error).__name__)
            self._store = None
