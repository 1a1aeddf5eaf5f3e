"""The pytest plugin, as those who test their own DAGs use it."""

from __future__ import annotations

import sqlite3
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_customerly.client import CustomerlyUnavailable
from airflow_provider_customerly.testing import SCENARIOS
from airflow_provider_customerly.transfers.customerly_to_parquet import CustomerlyToParquetOperator
from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_customerly.emulator import Emulator

pytest_plugins = ["pytester"]

Run = dict[str, Any]


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., Run]:
    def run(**arguments: Any) -> Run:
        task = CustomerlyToParquetOperator(
            task_id="export", path=str(tmp_path), snapshot_date="2026-11-23", **arguments
        )
        return task.execute({})

    return run


@pytest.fixture
def sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Run]:
    file = tmp_path / "warehouse.db"
    with sqlite3.connect(file) as warehouse:
        warehouse.execute("create table customers (email text)")
        emails = ["ada@northwind.test", "refused@customerly.test"]
        warehouse.executemany("insert into customers values (?)", [[email] for email in emails])
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", f'{{"conn_type": "sqlite", "host": "{file}"}}')

    def run() -> Run:
        task = SqlToCustomerlyOperator(
            task_id="sync",
            sync_name="customers",
            sql_conn_id="warehouse",
            table="customers",
            state_path=str(tmp_path / "state"),
            max_rejects=1,
        )
        return task.execute({})

    return run


def test_the_plugin_is_announced() -> None:
    [plugin] = [one for one in entry_points(group="pytest11") if one.name == "customerly"]
    assert plugin.load().__name__ == "airflow_provider_customerly.testing"


def test_the_connection_leads_to_a_quiet_customerly(
    customerly_emulator: Emulator, export: Callable[..., Run]
) -> None:
    assert export()["rows"] == 50
    assert customerly_emulator.store.journal == []


@pytest.mark.customerly(users=7, conn_id="customerly_eu", extra={"page_size": 20})
def test_a_mark_takes_what_the_emulator_takes(
    customerly_emulator: Emulator, export: Callable[..., Run]
) -> None:
    assert export(customerly_conn_id="customerly_eu")["rows"] == 7


@pytest.mark.customerly(scenario="moving_list")
def test_a_list_moves_and_nothing_is_lost(customerly_emulator: Emulator, export: Callable[..., Run]) -> None:
    assert export()["verdict"] == "complete"
    assert len(customerly_emulator.store.journal) > 0


@pytest.mark.customerly(scenario="bulk_import")
def test_a_crowd_with_one_stamp_is_read(customerly_emulator: Emulator, export: Callable[..., Run]) -> None:
    result = export()
    assert (result["verdict"], result["rows"]) == ("complete", 600)


@pytest.mark.customerly("outage")
def test_an_outage_fails_at_once_and_ends(customerly_emulator: Emulator, export: Callable[..., Run]) -> None:
    with pytest.raises(CustomerlyUnavailable):
        export()
    customerly_emulator.faults.clear()
    assert export()["rows"] == 50


@pytest.mark.customerly(scenario="refused_rows")
def test_a_row_is_refused_and_the_others_arrive(
    customerly_emulator: Emulator, sync: Callable[[], Run]
) -> None:
    counts = sync()
    assert (counts["sent"], counts["refused"]) == (1, 1)
    assert customerly_emulator.store.find("users", email="ada@northwind.test") is not None


@pytest.mark.customerly(scenario="refused_rows", refuse=["ada@northwind.test"])
def test_the_mark_says_which_rows_are_refused(customerly_emulator: Emulator, sync: Callable[[], Run]) -> None:
    sync()
    assert customerly_emulator.store.find("users", email="ada@northwind.test") is None


def test_each_scenario_says_what_it_is() -> None:
    assert set(SCENARIOS) == {"quiet", "moving_list", "outage", "refused_rows", "bulk_import"}
    assert all(scenario.meaning.endswith(".") for scenario in SCENARIOS.values())


def test_a_mistake_in_a_mark_is_named(pytester: pytest.Pytester) -> None:
    mistakes = ["'storm'", "'outage', scenario='quiet'", "user=3"]
    tests = "\n".join(
        f"@pytest.mark.customerly({mark})\ndef test_{number}(customerly_emulator):\n    pass\n"
        for number, mark in enumerate(mistakes)
    )
    pytester.makepyfile(f"import pytest\n\n{tests}")
    result = pytester.runpytest_subprocess("--strict-markers", "-p", "no:cacheprovider", "-p", "no:xdist")
    result.assert_outcomes(errors=3)
    for told in (
        "there is no scenario 'storm'. Choose one of: quiet, moving_list",
        "takes one scenario",
        "unexpected keyword argument 'user'",
    ):
        result.stdout.fnmatch_lines([f"*@pytest.mark.customerly*{told}*"])


def test_without_the_extra_only_those_who_ask_are_told(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("import sys\nsys.modules['uvicorn'] = None")
    pytester.makepyfile(
        "def test_of_theirs():\n    pass\n\ndef test_export(customerly_emulator):\n    pass\n"
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*pip install 'airflow-provider-customerly[[]emulator[]]'*"])
