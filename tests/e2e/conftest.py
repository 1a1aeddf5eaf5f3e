"""A real Airflow in processes of its own, each test with a home and a database of its own."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_customerly.emulator import Emulator

REPOSITORY = Path(__file__).parent.parent.parent


class Airflow:
    """An Airflow home with a migrated SQLite database."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.settings = settings

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        environment = {
            **own,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "NO_COLOR": "1",
            **self.settings,
            **settings,
        }
        return subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    def query(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self.home / "airflow.db")) as database:
            return database.execute(sql).fetchall()

    def files(self) -> Iterator[Path]:
        return (path for path in self.home.rglob("*") if path.is_file())


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
    with Emulator(users=430, leads=60, token="tok-4f1c77d2e9") as running:
        yield running
