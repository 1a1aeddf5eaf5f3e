"""What a real Airflow tells OpenLineage."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from airflow_process import Airflow, connection
from databases import Database
from warehouse_customers import add_customers, warehouse_connection

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import read_contacts

DAGS = {"AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "dags")}

pytestmark = [pytest.mark.slow, pytest.mark.emulator(users=430, leads=60, token="tok-4f1c77d2e9")]


@pytest.fixture
def events(airflow: Airflow) -> Path:
    """File that Airflow writes its OpenLineage events to."""
    file = airflow.home / "events.json"
    transport = {"type": "file", "log_file_path": str(file), "append": True}
    airflow.settings["AIRFLOW__OPENLINEAGE__TRANSPORT"] = json.dumps(transport)
    return file


def completed(events: Path, task: str) -> dict[str, Any]:
    """The event of a task's good end."""
    told = [json.loads(line) for line in events.read_text().splitlines()]
    [event] = [one for one in told if one["job"]["name"] == task and one["eventType"] == "COMPLETE"]
    return event


def names(datasets: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(dataset["namespace"], dataset["name"]) for dataset in datasets]


def customerly(emulator: Emulator) -> str:
    return f"customerly://{urlsplit(emulator.url).netloc}"


def test_export(airflow: Airflow, emulator: Emulator, events: Path, tmp_path: Path) -> None:
    run = airflow.run("dags", "test", "export_twice_tried", **DAGS, **connection(emulator))
    assert run.returncode == 0, run.stdout
    event = completed(events, "export_twice_tried.export")
    assert names(event["inputs"]) == [(customerly(emulator), "users")]
    assert names(event["outputs"]) == [("file", str(tmp_path / "contacts" / "users"))]
    [output] = event["outputs"]
    written = output["outputFacets"]["outputStatistics"]
    files = (tmp_path / "contacts").rglob("*.parquet")
    assert (written["rowCount"], written["size"]) == (430, sum(file.stat().st_size for file in files))
    columns = read_contacts(str(tmp_path / "contacts"), "users").schema
    assert {field["name"]: field["type"] for field in output["facets"]["schema"]["fields"]} == {
        column.name: str(column.type) for column in columns
    }
    [someone] = json.loads(emulator.store.page("users", 0, 1, "last_update", "asc"))
    assert airflow.places_with(someone["email"], run.stdout) == []
    assert airflow.places_with(emulator.token, run.stdout) == []


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_sync(airflow: Airflow, emulator: Emulator, database: Database, events: Path, tmp_path: Path) -> None:
    add_customers(database, emulator)
    run = airflow.run(
        "dags",
        "test",
        "sync_twice_tried",
        AIRFLOW_VAR_CUSTOMERLY_STATE_PATH=str(tmp_path / "state"),
        **DAGS,
        **connection(emulator),
        **warehouse_connection(database),
    )
    assert run.returncode == 0, run.stdout
    event = completed(events, "sync_twice_tried.sync")
    [table] = event["inputs"]
    assert table["namespace"].startswith("postgres://")
    assert table["name"].endswith(".customers")
    assert names(event["outputs"]) == [(customerly(emulator), "users")]
    sent = airflow.results("sync_twice_tried")["sync"]["sent"]
    assert event["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == sent > 0
    assert "@warehouse.test" not in events.read_text()  # neither the query's text nor a contact
