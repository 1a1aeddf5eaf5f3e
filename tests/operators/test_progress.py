"""The progress of a task in Airflow's task state store; the run page's part is tried with a browser."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_customerly.operators.progress import KEY
from airflow_provider_customerly.transfers.customerly_to_parquet import CustomerlyToParquetOperator
from airflow_provider_customerly.values import progress

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.emulator(users=250, leads=5), pytest.mark.usefixtures("connect")]


class Store:
    """Takes what a task keeps, until the server is down."""

    def __init__(self, lasts: int) -> None:
        self.asked = 0
        self.kept: list[tuple[str, Any]] = []
        self._lasts = lasts

    def set(self, key: str, value: Any) -> None:
        self.asked += 1
        if self.asked > self._lasts:
            raise ConnectionError
        self.kept.append((key, value))


def export(path: Path, store: Store) -> dict[str, Any]:
    ti = SimpleNamespace(
        dag_id="dag", run_id="run", task_id="export", map_index=-1, try_number=2,
        xcom_push=lambda *_, **__: None,
    )  # fmt: skip
    context: Any = {"ti": ti, "task_state_store": store}
    operator = CustomerlyToParquetOperator(task_id="export", path=str(path), snapshot_date="2026-11-24")
    return operator.execute(context)


@pytest.fixture(autouse=True)
def _a_line_for_each_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)


def test_the_last_line_is_kept_with_its_try(tmp_path: Path) -> None:
    store = Store(lasts=100)
    export(tmp_path, store)
    assert len(store.kept) > 1
    key, value = store.kept[-1]
    assert (key, value["try"]) == (KEY, 2)
    assert re.fullmatch(r"250 contacts read, \d+/s, \d+ requests", value["line"])


def test_after_its_end_nothing_is_kept(tmp_path: Path) -> None:
    first = Store(lasts=100)
    export(tmp_path, first)
    before = first.asked
    export(tmp_path, Store(lasts=100))
    assert first.asked == before


def test_a_server_that_is_down_costs_the_line_and_is_not_asked_again(tmp_path: Path) -> None:
    store = Store(lasts=1)
    assert export(tmp_path, store)["rows"] == 250
    assert (store.asked, len(store.kept)) == (2, 1)
