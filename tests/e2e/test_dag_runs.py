"""Real DAG runs: what an operator's own tests cannot see."""

import json
import re
import socket
from pathlib import Path

import pytest
from airflow_process import Airflow, connection

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import read_contacts

TEST_DAGS = {"AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "dags")}

pytestmark = pytest.mark.emulator(users=430, leads=60, token="tok-4f1c77d2e9")


def test_nightly_dag(airflow: Airflow, emulator: Emulator, tmp_path: Path) -> None:
    run = airflow.run("dags", "test", "customerly_contacts_export", **connection(emulator))
    assert run.returncode == 0, run.stdout
    assert airflow.states("customerly_contacts_export") == [
        ("export_leads", "success", 1),
        ("export_users", "success", 1),
    ]
    for contact_type, count in (("users", 430), ("leads", 60)):
        assert read_contacts(str(tmp_path / "contacts"), contact_type).count_rows() == count

    [(day,)] = airflow.query("select date(run_after) from dag_run")
    assert (tmp_path / "contacts" / "users" / f"snapshot_date={day}").is_dir()

    counts = {"export_users": 430, "export_leads": 60}
    results = airflow.results("customerly_contacts_export")
    assert {task: result["rows"] for task, result in results.items()} == counts
    assert {task: extra["rows"] for task, extra in airflow.asset_events()} == counts

    assert airflow.places_with(emulator.token, run.stdout, tmp_path / "contacts") == []
    [someone] = json.loads(emulator.store.page("users", 0, 1, "last_update", "asc"))
    assert airflow.places_with(someone["email"], run.stdout) == []


@pytest.mark.slow
def test_unknown_token_fails_at_once_and_is_shown_nowhere(
    airflow: Airflow, emulator: Emulator, tmp_path: Path
) -> None:
    token = "tok-revoked-8d01ab"
    run = airflow.run(
        "dags",
        "test",
        "customerly_contacts_export",
        AIRFLOW__LOGGING__LOGGING_LEVEL="DEBUG",
        **connection(emulator, password=token),
    )
    assert airflow.states("customerly_contacts_export") == [
        ("export_leads", "failed", 1),
        ("export_users", "failed", 1),
    ]
    assert emulator.stats()["by_request"] == {"GET /users/list": 1, "GET /leads/list": 1}
    assert "Create a new access token in Customerly" in run.stdout
    # 'dags test' prints, at this level, what it is asked to mask.
    output = "\n".join(line for line in run.stdout.splitlines() if "msg=MaskSecret(value=" not in line)
    assert airflow.places_with(token, output, tmp_path / "contacts") == []


@pytest.mark.slow
def test_a_connection_that_does_not_exist_fails_at_once(airflow: Airflow) -> None:
    run = airflow.run("dags", "test", "customerly_contacts_export")
    assert airflow.states("customerly_contacts_export") == [
        ("export_leads", "failed", 1),
        ("export_users", "failed", 1),
    ]
    assert (
        "There is no connection 'customerly_default'. Add an Airflow connection of type Customerly"
        in run.stdout
    )
    assert "AIRFLOW_CONN_CUSTOMERLY_DEFAULT" in run.stdout


@pytest.mark.slow
def test_outage_fails_within_its_budget_and_yesterdays_export_can_still_be_read(
    airflow: Airflow, emulator: Emulator, tmp_path: Path
) -> None:
    there = connection(emulator, extra={"retry_budget": 0})
    first = airflow.run("dags", "test", "export_twice_tried", **TEST_DAGS, **there)
    assert first.returncode == 0, first.stdout
    before = read_contacts(str(tmp_path / "contacts"), "users").to_table()

    emulator.stop()
    with socket.socket() as kept:  # else another server may get its port
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", emulator.port))
        second = airflow.run("dags", "test", "export_twice_tried", **TEST_DAGS, **there)
    assert second.returncode != 0
    last = airflow.query("select state, try_number from task_instance order by start_date desc limit 1")
    assert last == [("failed", 2)]
    # The client's own budget would have let each try of the task ask a dozen times.
    assert set(re.findall(r"Gave up after \d+ attempts?", second.stdout)) == {"Gave up after 1 attempt"}
    assert "try again" in second.stdout.lower()
    assert read_contacts(str(tmp_path / "contacts"), "users").to_table() == before
