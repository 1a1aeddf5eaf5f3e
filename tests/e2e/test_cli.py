"""The commands as Airflow runs them, found through the provider's metadata."""

import json
import subprocess
import sys
from pathlib import Path

import airflow
import pytest
from airflow_process import LONGEST, Airflow
from packaging.version import Version

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import export_snapshot

pytestmark = [pytest.mark.slow, pytest.mark.emulator(users=430, leads=60, token="tok-4f1c77d2e9")]

TAKES_COMMANDS_FROM_PROVIDERS = Version(airflow.__version__) >= Version("3.2.0")


def run(airflow: Airflow, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours: by `airflow customerly`, or by the module where Airflow takes none from us."""
    if TAKES_COMMANDS_FROM_PROVIDERS:
        return airflow.run("customerly", *arguments)
    return subprocess.run(
        [sys.executable, "-m", "airflow_provider_customerly.cli", *arguments],
        env=airflow.environment(),
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )


def test_check_of_a_connection_in_airflows_database(airflow: Airflow, emulator: Emulator) -> None:
    added = airflow.run("connections", "add", "crm", "--conn-json", emulator.airflow_connection)
    assert added.returncode == 0, added.stdout
    checked = run(airflow, "check", "crm", "--json")
    assert checked.returncode == 0, checked.stdout
    report = json.loads(checked.stdout[checked.stdout.index("{\n") :])
    assert (report["base_url"], report["requests"]) == (emulator.url, emulator.stats()["requests"])
    assert report["requests"] < 20
    verdicts = {finding["name"]: finding["verdict"] for finding in report["findings"]}
    assert (
        verdicts["bearer_header"] == verdicts["sort_ascending"] == verdicts["short_page_is_last"] == "holds"
    )
    assert emulator.token not in checked.stdout
    assert "@" not in checked.stdout
    missed = run(airflow, "check", "nowhere")
    assert missed.returncode == 1
    assert (
        "There is no connection 'nowhere'. Add an Airflow connection of type Customerly"
        in f"{missed.stdout}{missed.stderr}"
    )


def test_state_of_an_export(airflow: Airflow, emulator: Emulator, tmp_path: Path) -> None:
    path = tmp_path / "contacts"
    with Client(emulator.token, emulator.url) as client:
        export_snapshot(client, path, "users", snapshot_date="2026-11-23")
    shown = run(airflow, "state", "show", str(path))
    assert shown.returncode == 0, shown.stdout
    assert "snapshot_date=2026-11-23  430 rows" in shown.stdout
    assert run(airflow, "state", "verify", str(path)).returncode == 0
    [part] = path.rglob("*.parquet")
    part.write_bytes(part.read_bytes()[:-1])
    verified = run(airflow, "state", "verify", str(path))
    assert verified.returncode == 1
    assert f"{part}: it has" in verified.stdout
