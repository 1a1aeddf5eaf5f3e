"""Mapped tasks of a sync, which would do harm if they shared one memory."""

from pathlib import Path

import pytest
from airflow_process import Airflow, connection
from databases import Database
from warehouse_customers import warehouse_connection

from airflow_provider_customerly.emulator import Emulator

TEST_DAGS = {"AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "dags")}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.emulator(users=430, leads=60, token="tok-4f1c77d2e9"),
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
]


def test_each_instance_must_name_its_sync(
    airflow: Airflow, emulator: Emulator, database: Database, tmp_path: Path
) -> None:
    for table, count in (("eu", 30), ("us", 20)):
        database.execute(f"create table {table} (email varchar(200))")
        database.insert(table, [(f"{table}{n}@warehouse.test",) for n in range(count)])
    run = airflow.run(
        "dags",
        "test",
        "sync_mapped",
        AIRFLOW_VAR_CUSTOMERLY_STATE_PATH=str(tmp_path / "state"),
        **TEST_DAGS,
        **connection(emulator),
        **warehouse_connection(database),
    )
    assert airflow.states("sync_mapped") == [
        ("named", "success", 1),
        ("named", "success", 1),
        ("unnamed", "failed", 1),
        ("unnamed", "failed", 1),
    ], run.stdout
    assert "sync_name is missing" in run.stdout
    assert {path.name for path in (tmp_path / "state").iterdir()} == {"eu", "us"}
    assert emulator.stats()["contacts_accepted"] == 50
