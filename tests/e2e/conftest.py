"""A real Airflow for each test, and a local Customerly."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow_process import Airflow

from airflow_provider_customerly.emulator import Emulator

TOKEN = "tok-4f1c77d2e9"


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    airflow = Airflow(tmp_path_factory.mktemp("migrated"))
    migration = airflow.run("db", "migrate")
    assert migration.returncode == 0, migration.stdout
    return airflow.home / "airflow.db"


@pytest.fixture
def airflow(migrated_database: Path, tmp_path: Path) -> Airflow:
    home = tmp_path / "airflow"
    home.mkdir()
    shutil.copy(migrated_database, home)
    return Airflow(home, AIRFLOW_VAR_CUSTOMERLY_EXPORT_PATH=str(tmp_path / "contacts"))


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(users=430, leads=60, token=TOKEN) as running:
        yield running
