"""A real Airflow in processes of its own, each test with a home and a database of its own."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

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
