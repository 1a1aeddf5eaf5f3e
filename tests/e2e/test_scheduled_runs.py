"""A whole Airflow at work: runs of every type, and a task that is killed."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow_process import REPOSITORY, Airflow, Api, connection
from databases import Database
from warehouse_customers import add_customers, warehouse_connection

from airflow_provider_customerly.emulator import Emulator

EXPORT, SCORES, SYNC = "customerly_nightly_export", "customerly_nightly_scores", "sync_twice_tried"
DAGS = Path(__file__).parent / "dags"
SECONDS = 180  # a machine at leisure needs a tenth
BATCH = 5

pytestmark = [
    pytest.mark.slow,
    pytest.mark.emulator(users=430, leads=60, token="tok-4f1c77d2e9"),
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
]


@pytest.fixture
def running(
    request: pytest.FixtureRequest, airflow: Airflow, emulator: Emulator, database: Database, tmp_path: Path
) -> Iterator[Api]:
    """Every part of Airflow, with the DAGs of one file, which are not paused."""
    (tmp_path / "dags").mkdir()
    shutil.copy(request.param, tmp_path / "dags")
    add_customers(database, emulator)
    airflow.settings |= {
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW_VAR_CUSTOMERLY_STATE_PATH": str(tmp_path / "state"),
        **connection(emulator),
        **warehouse_connection(database),
    }
    with airflow.all_of_it(AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="False") as api:
        yield api


def wait_until(condition: Callable[[], Any], airflow: Airflow) -> Any:
    until = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < until, (runs(airflow), (airflow.home / "standalone.log").read_text())
        time.sleep(0.2)
    return found


def runs(airflow: Airflow) -> list[tuple[str, str, str, str | None, str]]:
    return airflow.query(
        "select dag_id, run_type, state, logical_date, date(run_after) from dag_run order by id"
    )


def ended(airflow: Airflow, dag_id: str, run_type: str) -> list[tuple[str | None, str]]:
    """Logical date and day of the ended runs of a type, once there are any; each must have succeeded."""
    found = [run for run in runs(airflow) if run[:2] == (dag_id, run_type)]
    assert "failed" not in {run[2] for run in found}, airflow.states(dag_id)
    return [run[3:] for run in found if run[2] == "success"]


@pytest.mark.parametrize("running", [REPOSITORY / "dags" / "customerly_nightly.py"], indirect=True, ids=[""])
def test_runs_of_every_type(running: Api, airflow: Airflow, emulator: Emulator, tmp_path: Path) -> None:
    days = tmp_path / "contacts" / "users"

    [(logical_date, _)] = wait_until(lambda: ended(airflow, EXPORT, "scheduled"), airflow)
    assert logical_date is not None
    assert {path.name for path in days.glob("snapshot_date=*")} == {f"snapshot_date={logical_date[:10]}"}

    # Both exports have ended, and nobody but their assets starts this one; it has no date of its own.
    assert wait_until(lambda: ended(airflow, SCORES, "asset_triggered"), airflow)[0][0] is None
    results = airflow.results(SCORES)
    for contact_type in ("users", "leads"):
        sent = results[f"sync_{contact_type}_scores"]["sent"]
        assert sent == results[f"build_{contact_type}_scores"] > 10

    running.trigger(EXPORT)
    [(logical_date, today)] = wait_until(lambda: ended(airflow, EXPORT, "manual"), airflow)
    assert logical_date is None
    assert (days / f"snapshot_date={today}").is_dir()

    past = ("--from-date", "2026-10-05", "--to-date", "2026-10-06")
    backfill = airflow.run("backfill", "create", "--dag-id", EXPORT, *past)
    assert backfill.returncode == 0, backfill.stdout
    [(logical_date, _)] = wait_until(lambda: ended(airflow, EXPORT, "backfill"), airflow)
    assert logical_date is not None
    assert logical_date.startswith("2026-10-05")
    assert (days / "snapshot_date=2026-10-05").is_dir()

    # The later exports start it again, and nothing has changed.
    written = emulator.stats()["contacts_accepted"]
    wait_until(lambda: len(ended(airflow, SCORES, "asset_triggered")) > 1, airflow)
    assert airflow.results(SCORES)["sync_users_scores"]["sent"] == 0
    assert emulator.stats()["contacts_accepted"] == written


@pytest.mark.parametrize("running", [DAGS / "sync_twice_tried.py"], indirect=True, ids=[""])
def test_killed_task_is_tried_again_at_once_and_delivers_the_rest(
    running: Api, airflow: Airflow, emulator: Emulator, database: Database, tmp_path: Path
) -> None:
    [(rows,)] = database.query("select count(*) from customers where email like '%@warehouse.test'")
    state = tmp_path / "state" / f"{SYNC}.sync"
    wait_until(lambda: running.ask("GET", f"dags/{SYNC}")[0] == 200, airflow)
    emulator.service.latency = 0.5
    running.trigger(SYNC)
    wait_until(lambda: emulator.stats()["by_request"].get("POST /users", 0) >= 5, airflow)

    # As if it ran on another machine, where nobody can see that the process has ended, and fell silent there.
    [file] = (state / "_leases").glob("*.json")
    claim = json.loads(file.read_bytes())
    elsewhere = {**claim["process"], "host": "another-worker"}
    file.write_text(json.dumps({**claim, "process": elsewhere, "renewed_at": "2026-01-01T00:00:00Z"}))
    os.kill(claim["process"]["pid"], signal.SIGKILL)
    emulator.service.latency = 0.0

    wait_until(lambda: ended(airflow, SYNC, "manual"), airflow)
    assert airflow.states(SYNC) == [("sync", "success", 2)]
    synced = airflow.results(SYNC)["sync"]
    assert synced["sent"] + synced["unchanged"] == synced["rows_read"] == rows
    # What was answered but not noted when the process died is sent twice, and no more than that: the batch
    # under way, and the one whose page was being written meanwhile.
    assert 3 * BATCH <= synced["unchanged"] < rows
    assert rows <= emulator.stats()["contacts_accepted"] <= rows + 2 * BATCH
    assert list((state / "_leases").iterdir()) == []
