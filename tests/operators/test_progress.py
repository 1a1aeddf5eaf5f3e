"""The progress of a task in Airflow's task state store; a browser tries it with Airflow and the run page."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_customerly.operators import progress
from airflow_provider_customerly.values.progress import ProgressClock

SECONDS = 60


class Store:
    """Takes what a task keeps, one line at a time when it is let."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.asked = threading.Semaphore(0)
        self.may_answer = threading.Semaphore(0)
        self.kept: list[tuple[str, Any]] = []
        self._failure = failure

    def set(self, key: str, value: Any) -> None:
        self.asked.release()
        assert self.may_answer.acquire(timeout=SECONDS)
        if self._failure is not None:
            raise self._failure
        self.kept.append((key, value))


def kept_by(store: Store) -> progress._Keeper:
    return progress._Keeper(store, 2)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.is_alive()}


def test_the_newest_line_is_kept_with_its_try_and_nobody_waits_for_a_slow_store() -> None:
    store = Store()
    keeper = kept_by(store)
    keeper.keep("1 of 9")
    assert store.asked.acquire(timeout=SECONDS)
    for line in ("2 of 9", "3 of 9"):
        keeper.keep(line)
    store.may_answer.release(2)
    assert store.asked.acquire(timeout=SECONDS)
    keeper.stop()
    wait_for_the_end()
    assert store.kept == [(progress.KEY, {"try": 2, "line": line}) for line in ("1 of 9", "3 of 9")]


def test_after_the_end_nothing_is_kept() -> None:
    store = Store()
    keeper = kept_by(store)
    keeper.stop()
    keeper.keep("9 of 9")
    wait_for_the_end()
    assert not store.asked.acquire(blocking=False)


@pytest.mark.parametrize("failure", [ConnectionError(), RuntimeError("API_SERVER_ERROR")])
def test_a_store_that_fails_is_not_asked_again(failure: Exception) -> None:
    store = Store(failure)
    keeper = kept_by(store)
    keeper.keep("1 of 9")
    store.may_answer.release(2)
    wait_for_the_end()
    keeper.keep("2 of 9")
    assert store.asked.acquire(blocking=False)
    assert not store.asked.acquire(blocking=False)


def test_a_process_that_answers_itself_is_not_asked(caplog: pytest.LogCaptureFixture) -> None:
    """As that of ``airflow dags test``, which serves one thread only."""
    store = Store()
    ti: Any = SimpleNamespace(try_number=1)
    context: Any = {"task_state_store": store, "ti": ti}
    with progress.shown_while_running(context):
        ProgressClock(progress.log).tell("%d of 9", 1)
        assert "customerly-progress" not in threads()
    assert not store.asked.acquire(blocking=False)


def wait_for_the_end() -> None:
    for thread in threading.enumerate():
        if thread.name == "customerly-progress":
            thread.join(SECONDS)
    assert "customerly-progress" not in threads()
