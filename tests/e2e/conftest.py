"""A real Airflow for each test, and a local Customerly."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest
from airflow_process import Airflow


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that Airflow has migrated, once for all workers of the run: copy it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    migrated = folder / "migrated" / "airflow.db"
    with (folder / "migrated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not migrated.exists():
            airflow = Airflow(folder / "migrating")
            migration = airflow.run("db", "migrate")
            assert migration.returncode == 0, migration.stdout
            airflow.home.rename(migrated.parent)
    return migrated


@pytest.fixture
def airflow(migrated_database: Path, tmp_path: Path) -> Airflow:
    home = tmp_path / "airflow"
    home.mkdir()
    shutil.copy(migrated_database, home)
    return Airflow(home, AIRFLOW_VAR_CUSTOMERLY_EXPORT_PATH=str(tmp_path / "contacts"))
