"""What the operators tell OpenLineage when it asks, after a real execution; and that they do without it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_customerly.emulator import Choices, Emulator
from airflow_provider_customerly.export import contact_schema
from airflow_provider_customerly.operators.reconcile import CustomerlyReconcileOperator
from airflow_provider_customerly.transfers.customerly_to_parquet import CustomerlyToParquetOperator
from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

if TYPE_CHECKING:
    from pathlib import Path

    from databases import Database
    from places import S3Server

    from airflow_provider_customerly.operators.base import CustomerlyOperator

REFUSED = "c3@shop.test"
WITHOUT_OPENLINEAGE = """
import sys
provider = "airflow.providers.openlineage"
sys.modules |= dict.fromkeys(["openlineage", f"{provider}.extractors", f"{provider}.sqlparser"])
from airflow_provider_customerly.transfers.customerly_to_parquet import CustomerlyToParquetOperator
from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator
folder = sys.argv[1]
exported = CustomerlyToParquetOperator(
    task_id="export", path=folder, snapshot_date="2026-11-23"
).execute({})
synced = SqlToCustomerlyOperator(
    task_id="sync", sql_conn_id="warehouse", table="customers", state_path=folder, max_rejects=1
).execute({})
print(exported["rows"], synced["sent"])
"""


pytestmark = [
    pytest.mark.emulator(users=200, leads=5, choices=Choices(refuse_emails=frozenset({REFUSED}))),
    pytest.mark.usefixtures("connect"),
]


@pytest.fixture
def customers(database: Database) -> Database:
    database.execute("create table customers (email varchar(200), plan varchar(20))")
    database.insert("customers", [(f"c{n}@shop.test", "pro") for n in range(5)])
    return database


def sync(state: Path, **arguments: Any) -> SqlToCustomerlyOperator:
    named = {"task_id": "sync", "sql_conn_id": "warehouse", "state_path": str(state), **arguments}
    return SqlToCustomerlyOperator(**named)


def told(operator: CustomerlyOperator) -> tuple[list[str], list[str]]:
    """Names of what was read and of what was written."""
    lineage = operator.get_openlineage_facets_on_complete(None)
    inputs, outputs = (
        [f"{one.namespace} {one.name}" for one in side] for side in (lineage.inputs, lineage.outputs)
    )
    return inputs, outputs


def rows_told(operator: CustomerlyToParquetOperator | SqlToCustomerlyOperator) -> int:
    [output] = operator.get_openlineage_facets_on_complete(None).outputs
    rows: int = output.outputFacets["outputStatistics"].rowCount
    return rows


def users_of(emulator: Emulator) -> str:
    return f"customerly://{urlsplit(emulator.url).netloc} users"


def test_export_to_a_bucket(emulator: Emulator, s3_server: S3Server, s3_connection: str) -> None:
    path = f"s3://{s3_connection}@{s3_server.bucket}/crm/lineage"
    operator = CustomerlyToParquetOperator(task_id="export", path=path, snapshot_date="2026-11-23")
    assert told(operator) == ([], [])  # it has not run
    operator.execute({})
    assert told(operator) == ([users_of(emulator)], [f"s3://{s3_server.bucket} crm/lineage/users"])


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_reconciliation_reads_the_warehouse_and_the_export(customers: Database, tmp_path: Path) -> None:
    CustomerlyToParquetOperator(task_id="export", path=str(tmp_path), snapshot_date="2026-11-23").execute({})
    operator = CustomerlyReconcileOperator(
        task_id="reconcile",
        export_path=str(tmp_path),
        sql_conn_id="warehouse",
        table="customers",
        max_only_warehouse=1.0,
    )
    assert told(operator) == ([], [])  # it has not run
    operator.execute({})
    (table, export), outputs = told(operator)
    assert (table.endswith(".customers"), export, outputs) == (True, f"file {tmp_path}/users", [])


def test_an_incremental_export_shows_the_whole_table(emulator: Emulator, tmp_path: Path) -> None:
    operator = CustomerlyToParquetOperator(
        task_id="export", path=str(tmp_path), mode="incremental", snapshot_date="2026-11-23"
    )
    operator.execute({})
    for contact_id in sorted(emulator.store.versions("users"))[:80]:
        emulator.store.update("users", contact_id, {"name": "Changed"})
    result = operator.execute({})
    assert (result["mode"], result["changes"]) == ("incremental", {"new": 0, "changed": 80})
    assert rows_told(operator) == result["rows"]
    [output] = operator.get_openlineage_facets_on_complete(None).outputs
    assert [field.name for field in output.facets["schema"].fields] == contact_schema("users").names


@pytest.mark.parametrize(
    "arguments",
    [
        {"table": "customers"},
        {"sql": "select c.email from customers c where plan = %s", "parameters": ["pro"]},
        {"sql": "select email from customers where plan = %(plan)s", "parameters": {"plan": "pro"}},
    ],
    ids=["table", "list", "dictionary"],
)
@pytest.mark.parametrize("database", ["postgres", "mariadb"], indirect=True)
def test_tables_of_a_query(
    customers: Database, emulator: Emulator, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    operator = sync(tmp_path, max_rejects=1, **arguments)
    operator.execute({})
    where = customers.connection
    schema, server = where["schema"], f"{where['host']}:{where['port']}"
    if customers.engine == "postgres":
        [(path,)] = customers.query("select current_schema()")
        table = f"postgres://{server} {schema}.{path}.customers"
    else:
        table = f"mysql://{server} {schema}.customers"
    assert told(operator) == ([table], [users_of(emulator)])
    lineage = operator.get_openlineage_facets_on_complete(None)
    assert "pro" not in str([lineage.run_facets, lineage.job_facets])


@pytest.mark.parametrize("database", ["sqlite", "duckdb"], indirect=True)
def test_database_without_a_name(customers: Database, emulator: Emulator, tmp_path: Path) -> None:
    operator = sync(tmp_path, table="customers", max_rejects=1)
    operator.execute({})
    assert told(operator) == ([], [users_of(emulator)])


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_sync_that_sends_nothing_all_or_a_part(
    customers: Database, emulator: Emulator, tmp_path: Path
) -> None:
    planned = sync(tmp_path, table="customers", dry_run=True)
    plan = planned.execute({})["plan"]
    tables, outputs = told(planned)
    assert (len(tables), outputs) == (1, [])

    failed = sync(tmp_path, plan_path=plan)
    with pytest.raises(AirflowFailException, match="1 of 5 rows were not delivered"):
        failed.execute({})
    assert (told(failed), rows_told(failed)) == (([], [users_of(emulator)]), 4)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_nothing_of_openlineage_is_needed(customers: Database, emulator: Emulator, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_OPENLINEAGE, str(tmp_path)], capture_output=True, text=True
    )
    assert run.stdout.splitlines()[-1:] == ["200 4"], run.stderr
