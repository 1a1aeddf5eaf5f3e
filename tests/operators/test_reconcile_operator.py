from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_customerly.export import export_snapshot
from airflow_provider_customerly.operators.reconcile import CustomerlyReconcileOperator

if TYPE_CHECKING:
    from pathlib import Path

    from databases import Database

    from airflow_provider_customerly.client import Client
    from airflow_provider_customerly.emulator import Emulator

pytestmark = [
    pytest.mark.emulator(users=30, leads=0),
    pytest.mark.usefixtures("connect"),
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
]


class TaskInstance:
    dag_id, task_id, run_id, map_index = "d", "reconcile", "r", -1

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


@pytest.fixture
def exported(
    client: Client, emulator: Emulator, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(database.connection))
    export_snapshot(client, tmp_path / "contacts", "users", snapshot_date="2026-11-23")
    users = json.loads(emulator.store.page("users", 0, 100, "last_update", "asc"))
    database.execute("create table customers (email varchar(254), name varchar(100))")
    database.insert("customers", [(user["email"], user["name"]) for user in users if user["email"]][:20])
    return tmp_path


def operator(path: Path, **arguments: Any) -> CustomerlyReconcileOperator:
    given: dict[str, Any] = {
        "export_path": str(path / "contacts"),
        "sql_conn_id": "warehouse",
        "table": "customers",
        "state_path": str(path / "state"),
        **arguments,
    }
    return CustomerlyReconcileOperator(task_id="reconcile", **given)


def test_a_table_that_agrees(exported: Path) -> None:
    result = operator(exported).execute({})
    assert (result["rows"], result["equal"], result["breached"]) == (20, 20, [])
    assert result["limits"]["max_differing"] == 0
    assert json.dumps(result)


def test_a_limit_turns_the_task_red_after_its_result_is_pushed(exported: Path, database: Database) -> None:
    database.execute("update customers set name = 'Somebody Else'")
    ti = TaskInstance()
    with pytest.raises(AirflowFailException, match="more than max_differing=0 allows"):
        operator(exported).execute({"ti": ti})
    pushed = ti.pushed["return_value"]
    assert (pushed["differing"], pushed["fields"]) == (20, {"name": 20})
    assert pushed["differences"].startswith(f"{exported}/state/")
    assert operator(exported, max_differing="1.0").execute({})["differing"] == 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"table": None}, "Set sql or table"),
        ({"sql": "select 1"}, "either sql or table"),
        ({"max_differing": 1.5}, "max_differing must be a number of rows"),
        ({"max_export_age": "soon"}, "max_export_age must be a duration"),
        ({"sql_conn_id": " "}, "sql_conn_id must not be blank"),
        ({"table": None, "sql": "delete from customers"}, "sql must be a query"),
    ],
)
def test_what_is_wrong_is_said_when_the_dag_is_parsed(
    arguments: dict[str, Any], said: str, tmp_path: Path, database: Database
) -> None:
    with pytest.raises(ValueError, match=said):
        operator(tmp_path, **arguments)
