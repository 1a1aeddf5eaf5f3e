"""A whole Airflow at work: runs of every type, and a task that is killed."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from airflow_process import LONGEST, REPOSITORY, Airflow, Api, connection, daily_far_from_now
from databases import Database
from holding import held_from
from warehouse_customers import add_customers, warehouse_connection

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.sync.journal import Page

EXPORT, SCORES, SYNC = "customerly_nightly_export", "customerly_nightly_scores", "sync_twice_tried"
DAGS = Path(__file__).parent / "dags"
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
    """Every part of Airflow, with the DAGs of one file, which are not paused: the parameter."""
    file, *dag_ids = request.param
    (tmp_path / "dags").mkdir()
    text = file.read_text()
    (tmp_path / "dags" / file.name).write_text(daily_far_from_now(text) if EXPORT in dag_ids else text)
    add_customers(database, emulator)
    airflow.settings |= {
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW_VAR_CUSTOMERLY_STATE_PATH": str(tmp_path / "state"),
        **connection(emulator),
        **warehouse_connection(database),
    }
    with airflow.all_of_it() as api:
        # Not from the start: a task that runs before the API answers fails, and is tried again minutes later.
        for dag_id in dag_ids:
            wait_until(lambda dag_id=dag_id: api.ask("GET", f"dags/{dag_id}")[0] == 200, airflow)
            assert api.ask("PATCH", f"dags/{dag_id}", {"is_paused": False})[0] == 200
        yield api


def wait_until(condition: Callable[[], Any], airflow: Airflow) -> Any:
    until = time.monotonic() + LONGEST
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


NIGHTLY = (REPOSITORY / "dags" / "customerly_nightly.py", SCORES, EXPORT)


@pytest.mark.parametrize("running", [NIGHTLY], indirect=True, ids=[""])
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

    create_backfill(airflow, "--dag-id", EXPORT, "--from-date", "2026-10-05", "--to-date", "2026-10-06")
    [(logical_date, _)] = wait_until(lambda: ended(airflow, EXPORT, "backfill"), airflow)
    assert logical_date is not None
    assert logical_date.startswith("2026-10-05")
    assert (days / "snapshot_date=2026-10-05").is_dir()

    # The later exports start it again, and nothing has changed.
    written = emulator.stats()["contacts_accepted"]
    wait_until(lambda: len(ended(airflow, SCORES, "asset_triggered")) > 1, airflow)
    assert airflow.results(SCORES)["sync_users_scores"]["sent"] == 0
    assert emulator.stats()["contacts_accepted"] == written


def create_backfill(airflow: Airflow, *arguments: str) -> None:
    """Run Airflow's own command until it gets through.

    It reads and then writes in one transaction. SQLite refuses that at once, however long it may wait, if
    another process has written in between; a backfill without runs is left then, which forbids another.
    """
    until = time.monotonic() + LONGEST
    while (created := airflow.run("backfill", "create", *arguments)).returncode:
        assert "database is locked" in created.stdout, created.stdout
        assert time.monotonic() < until, created.stdout
        airflow.execute("delete from backfill where id not in (select backfill_id from backfill_dag_run)")


@pytest.mark.parametrize("running", [(DAGS / "sync_twice_tried.py", SYNC)], indirect=True, ids=[""])
def test_killed_task_is_tried_again_at_once_and_delivers_the_rest(
    running: Api, airflow: Airflow, emulator: Emulator, database: Database, tmp_path: Path
) -> None:
    [(rows,)] = database.query("select count(*) from customers where email like '%@warehouse.test'")
    state = tmp_path / "state" / f"{SYNC}.sync"
    with held_from(emulator, "POST /users", 6):
        running.trigger(SYNC)
        wait_until(lambda: emulator.stats()["by_request"].get("POST /users", 0) >= 6, airflow)
        wait_until(lambda: noted(state) == 5 * BATCH, airflow)

        # As if it ran on another machine, where nobody can see that the process has ended, and fell silent
        # there: stopped first, so that it does not renew its claim meanwhile.
        [file] = (state / "_leases").glob("*.json")
        claim = json.loads(file.read_bytes())
        os.kill(claim["process"]["pid"], signal.SIGSTOP)
        elsewhere = {**claim["process"], "host": "another-worker"}
        file.write_text(json.dumps({**claim, "process": elsewhere, "renewed_at": "2026-01-01T00:00:00Z"}))
        os.kill(claim["process"]["pid"], signal.SIGKILL)

    wait_until(lambda: ended(airflow, SYNC, "manual"), airflow)
    assert airflow.states(SYNC) == [("sync", "success", 2)]
    synced = airflow.results(SYNC)["sync"]
    assert synced["sent"] + synced["unchanged"] == synced["rows_read"] == rows
    # What was noted when the process died is not sent again; the batch under way is.
    assert synced["unchanged"] == 5 * BATCH < rows
    assert rows <= emulator.stats()["contacts_accepted"] <= rows + BATCH
    assert list((state / "_leases").iterdir()) == []


def noted(state: Path) -> int:
    """How many outcomes the journal of a sync has; a page that is being written has a name with a dot."""
    pages = (state / "journal").glob("[!.]*.json")
    return sum(len(msgspec.json.decode(page.read_bytes(), type=Page).entries) for page in pages)
