from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import Asset
from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields

from airflow_provider_customerly.client import CustomerlyUnavailable
from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

if TYPE_CHECKING:
    from pathlib import Path

    from databases import Database

    from airflow_provider_customerly.emulator import Emulator

TOKEN = "tok-77aa01"


pytestmark = [pytest.mark.emulator(users=20, leads=5, token=TOKEN), pytest.mark.usefixtures("connect")]


def operator(state: Path, **arguments: Any) -> SqlToCustomerlyOperator:
    named = {"task_id": "sync", "sql_conn_id": "warehouse", "state_path": str(state), **arguments}
    return SqlToCustomerlyOperator(**named)


def run(state: Path, **arguments: Any) -> dict[str, Any]:
    return operator(state, **arguments).execute({})


def writes(emulator: Emulator) -> int:
    counted = emulator.stats()["by_request"].get("POST /users", 0)
    emulator.service.stats.reset()
    return counted


def contact(emulator: Emulator, email: str) -> dict[str, Any]:
    key = emulator.store.find("users", email=email)
    assert key is not None
    record = emulator.store.get("users", key)
    assert record is not None
    return record


def test_rows_arrive_as_mapped_from_any_engine(
    database: Database, emulator: Emulator, tmp_path: Path
) -> None:
    without_zone = "datetime" if database.engine == "mariadb" else "timestamp"
    database.execute(
        "create table customers (id integer, mail varchar(200), name varchar(200), plan varchar(50), "
        f"seats integer, spent decimal(12,2), signed_up {without_zone}, born date, note varchar(50))"
    )
    signed_up, born = datetime(2026, 3, 1, 12, 30), datetime(1990, 5, 17).date()
    database.insert(
        "customers",
        [
            (
                n,
                f"c{n}@shop.test",
                f"Ada '{n}' 🚀",
                None if n == 2 else "pro",
                n,
                n + 0.25,
                signed_up,
                born,
                "x",
            )
            for n in range(120)
        ],
    )
    mapping = {"id": "user_id", "mail": "email", "plan": "attributes.plan_name", "note": None}
    result = run(
        tmp_path,
        table="customers",
        field_mapping=mapping,
        timezone="Europe/Rome",
        tags=["shop"],
        chunk_size=50,
    )
    assert (result["rows_read"], result["sent"], result["outcome"]) == (120, 120, "success")
    record = contact(emulator, "c7@shop.test")
    attributes = record["attributes"]
    if database.engine == "sqlite":  # which stores times as text
        assert (attributes.pop("signed_up"), attributes.pop("born")) == (str(signed_up), str(born))
    else:
        assert attributes.pop("signed_up") == datetime(2026, 3, 1, 11, 30, tzinfo=timezone.utc).timestamp()
        assert attributes.pop("born") == datetime(1990, 5, 17, tzinfo=timezone.utc).timestamp()
    assert attributes == {"plan_name": "pro", "seats": 7, "spent": 7.25}
    assert (record["user_id"], record["name"]) == ("7", "Ada '7' 🚀")
    assert "plan_name" not in contact(emulator, "c2@shop.test")["attributes"]

    writes(emulator)
    again = run(
        tmp_path,
        table="customers",
        field_mapping=mapping,
        timezone="Europe/Rome",
        tags=["shop"],
        chunk_size=7,
    )
    assert (again["unchanged"], writes(emulator)) == (120, 0)


@pytest.mark.slow
@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_hundred_thousand_rows_then_none_then_137(
    database: Database, emulator: Emulator, tmp_path: Path
) -> None:
    database.execute(
        "create table customers as select 'c' || n || '@shop.test' as email, 'Name ' || n as name, "
        "n % 7 as seats from generate_series(1, 100000) as n"
    )
    assert run(tmp_path, table="customers", batch_size=100)["sent"] == 100_000
    assert writes(emulator) == 1000
    stored = {
        record["email"]: (record["name"], record["attributes"])
        for page in range(1001)
        for record in json.loads(emulator.store.page("users", page, 100, "last_update", "asc"))
    }
    for n in range(1, 100_001):
        assert stored[f"c{n}@shop.test"] == (f"Name {n}", {"seats": n % 7})

    assert run(tmp_path, table="customers")["unchanged"] == 100_000
    assert writes(emulator) == 0

    database.execute(
        "update customers set seats = 99 where email in "
        "(select email from customers order by email limit 137)"
    )
    result = run(tmp_path, table="customers")
    assert (result["changed"], result["sent"], writes(emulator)) == (137, 137, 3)
    assert emulator.store.count("users") == 100_020

    database.execute("alter table customers add column note text default 'x'")
    assert run(tmp_path, table="customers", field_mapping={"note": None})["sent"] == 0
    assert run(tmp_path, table="customers", dry_run=True)["changed"] == 100_000


@pytest.fixture
def customers(database: Database) -> Database:
    database.execute("create table customers (email varchar(200), plan varchar(200))")
    database.insert("customers", [(f"c{n}@shop.test", "pro") for n in range(100)])
    return database


SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@SQLITE
def test_query_with_parameters_plan_then_apply(
    customers: Database, emulator: Emulator, tmp_path: Path
) -> None:
    plan = run(
        tmp_path,
        sql="select * from customers where plan = ?;",
        parameters=["pro"],
        dry_run=True,
        sync_name="crm",
    )
    assert (plan["outcome"], plan["new"], writes(emulator)) == ("planned", 100, 0)
    applied = run(tmp_path, plan_path=plan["plan"], sync_name="crm")
    assert (applied["sent"], writes(emulator)) == (100, 2)
    assert (tmp_path / "crm" / "ledger").is_dir()


@SQLITE
def test_rendered_parameters_are_not_shown_and_still_used(
    customers: Database, emulator: Emulator, tmp_path: Path
) -> None:
    sql = "select * from customers where email = :who"
    task = operator(tmp_path, sql=sql, parameters={"who": "{{ params.who }}"})
    context: Any = {"params": {"who": "c7@shop.test"}}
    task.render_template_fields(context)
    fields = _serialize_rendered_fields(task)
    assert (fields["parameters"], fields["sql"]) == ("(not shown)", sql)
    assert "c7@shop.test" not in json.dumps(fields)
    assert task.execute({})["sent"] == 1


@SQLITE
def test_values_of_parameters_are_not_quoted(customers: Database, emulator: Emulator, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="parameters") as error:
        run(tmp_path, sql="select * from customers where email = ?", parameters="c7@shop.test")
    assert str(error.value) == (
        "SqlToCustomerlyOperator 'sync': parameters must be a list or a dictionary of values, or None. "
        "It is of type str."
    )


@SQLITE
def test_rejects_fail_the_task_for_good_and_leave_the_result(
    customers: Database, emulator: Emulator, tmp_path: Path
) -> None:
    class TaskInstance:
        dag_id, task_id, run_id, map_index = "d", "sync", "r", -1

        def __init__(self) -> None:
            self.pushed: dict[str, Any] = {}

        def xcom_push(self, key: str, value: Any) -> None:
            self.pushed[key] = value

    customers.insert("customers", [("broken", "pro"), ("c5@SHOP.test", "pro")])
    ti = TaskInstance()
    with pytest.raises(AirflowFailException, match=r"3 of 102 rows ") as failed:
        operator(tmp_path, table="customers").execute({"ti": ti})
    assert {"  duplicate_email: 2", "  malformed_email: 1"} <= set(str(failed.value).splitlines())
    assert ti.pushed["return_value"]["sent"] == 99
    assert json.dumps(ti.pushed)
    assert run(tmp_path, table="customers", max_rejects="0.03")["outcome"] == "success"
    assert run(tmp_path, table="customers", max_rejects="3")["outcome"] == "success"


@SQLITE
def test_an_empty_source_fails_at_once(customers: Database, emulator: Emulator, tmp_path: Path) -> None:
    with pytest.raises(AirflowFailException, match="0 rows"):
        run(tmp_path, sql="select * from customers where 1 = 0")
    assert writes(emulator) == 0


@SQLITE
def test_runs_and_rejects_also_go_to_the_warehouse(
    customers: Database, emulator: Emulator, tmp_path: Path
) -> None:
    customers.insert("customers", [("broken", "pro")])
    with pytest.raises(AirflowFailException):
        run(tmp_path, table="customers", log_table="sync_log")
    run(tmp_path, table="customers", log_table="sync_log", max_rejects=1)
    assert customers.query("select outcome, sent, unchanged, invalid from sync_log order by started_at") == [
        ("rejects", 100, 0, 1),
        ("success", 0, 100, 1),
    ]
    assert customers.query("select reason, source_row, email from sync_log_rejects") == [
        ("malformed_email", 101, "broken"),
        ("malformed_email", 101, "broken"),
    ]


@SQLITE
def test_the_result_reaches_the_assets_of_the_task(
    customers: Database, emulator: Emulator, tmp_path: Path
) -> None:
    class Events:
        """Assets are no keys of a dictionary in Airflow 3.1."""

        extra: dict[str, Any] = {}

        def __getitem__(self, wanted: Asset) -> Events:
            assert wanted is asset
            return self

    asset = Asset(name="scores_in_customerly")
    events = Events()
    task = operator(tmp_path, table="customers", outlets=[asset])
    result = task.execute({"outlet_events": events})
    assert events.extra == result


@SQLITE
def test_a_dry_run_produces_no_asset_event(customers: Database, tmp_path: Path) -> None:
    task = operator(tmp_path, table="customers", outlets=[Asset(name="scores_in_customerly")], dry_run=True)
    task.execute({})
    # What Airflow sends events of when a task has ended well.
    assert task.outlets == []


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"table": None}, "Set sql or table"),
    ({"sql": "select 1"}, "Set either sql or table"),
    ({"table": "customers; drop table customers"}, "table"),
    ({"table": None, "sql": "delete from customers"}, "sql must be a query"),
    ({"plan_path": "plans/20260101T000000000000Z-00000000.parquet"}, "Remove sql, table"),
    (
        {"table": None, "plan_path": "plans/20260101T000000000000Z-00000000.parquet"},
        "There is no sealed plan",
    ),
    ({"sql_conn_id": None}, "sql_conn_id is missing"),
    ({"state_path": "  "}, "state_path must not be blank"),
    ({"state_path": "/proc/nowhere"}, "Cannot write to"),
    ({"sync_name": "../elsewhere"}, "sync_name must be"),
    ({"batch_size": 101}, "batch_size must be a whole number from 1 to 100. It is 101"),
    ({"chunk_size": 0}, "chunk_size must be a whole number from 1 to 1000000. It is 0."),
    ({"contact_type": "people"}, "contact_type must be users or leads. It is 'people'."),
    ({"on_vanished": "forget"}, "on_vanished must be keep, untag, unsubscribe or delete. It is"),
    ({"on_vanished": "untag"}, "Set tags"),
    ({"on_vanished": "unsubscribe", "contact_type": "leads"}, "only works for users"),
    ({"max_rejects": "many"}, "max_rejects must be a number of rows"),
    ({"max_vanished": 1.5}, "max_vanished must be a number of rows"),
    ({"keep_days": -1}, "keep_days must be a number of days"),
    ({"keep_days": 1e6}, "keep_days must be a number of days"),
    ({"booleans": ["plans"]}, "booleans names the column 'plans'"),
    ({"field_mapping": {"plan": "status"}}, "not a field of a contact"),
    ({"field_mapping": {"plan": "attributes.country"}}, "because Customerly sets it"),
    ({"field_mapping": {"missing": "attributes.x"}}, "missing"),
    ({"field_mapping": {"email": None}}, "No column is mapped to email"),
    ({"timezone": "Mars/Olympus"}, "Mars/Olympus"),
    ({"sql_conn_id": "customerly_default"}, "does not speak SQL"),
    (
        {"sql_conn_id": "nowhere"},
        "no connection 'nowhere'. Add an Airflow connection for the database",
    ),
    (
        {"sql_conn_id": "nowhere", "log_table": "log"},
        "no connection 'nowhere'. Add an Airflow connection for the database",
    ),
    (
        {"customerly_conn_id": "nowhere"},
        "no connection 'nowhere'. Add an Airflow connection of type Customerly",
    ),
    ({"state_path": "s3://bucket/x", "state_conn_id": "nowhere"}, "no connection 'nowhere'"),
    ({"state_path": "gs://bucket/x"}, "Install apache-airflow-providers-google"),
    ({"dry_run": "perhaps"}, r"\(dry_run\) must be true or false"),
]


@SQLITE
@pytest.mark.parametrize(("arguments", "told"), WRONG)
def test_bad_input_fails_at_once_before_anything_is_sent(
    customers: Database, emulator: Emulator, tmp_path: Path, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises((AirflowFailException, ValueError), match=told):
        run(tmp_path, **{"table": "customers", **arguments})
    assert emulator.stats()["requests"] == 0


@SQLITE
def test_a_wrong_token_fails_at_once_and_is_shown_nowhere(
    customers: Database,
    emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    connection = {**json.loads(emulator.airflow_connection), "password": "tok-revoked-5512"}
    monkeypatch.setenv("AIRFLOW_CONN_CUSTOMERLY_DEFAULT", json.dumps(connection))
    with pytest.raises(AirflowFailException, match="Create a new access token") as error:
        run(tmp_path, table="customers")
    assert emulator.stats()["requests"] == 1
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert "tok-revoked-5512" not in caplog.text + str(error.value) + written.decode(errors="replace")


@SQLITE
def test_a_killed_task_sends_nothing_more_and_remembers_what_was_answered(
    customers: Database, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = operator(tmp_path, table="customers", batch_size=10, sync_name="crm")

    class KillsAfterTheThirdAnswer(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "POST /users: 200" in record.getMessage() and emulator.stats()["requests"] == 3:
                task.on_kill()

    client_log = logging.getLogger("airflow_provider_customerly.client.session")
    monkeypatch.setattr(client_log, "level", logging.DEBUG)
    monkeypatch.setattr(client_log, "handlers", [KillsAfterTheThirdAnswer()])
    with pytest.raises(CustomerlyUnavailable, match="cancelled"):
        task.execute({})
    assert emulator.stats()["requests"] == 3
    client_log.handlers.clear()
    assert run(tmp_path, table="customers", sync_name="crm")["unchanged"] == 30


@SQLITE
def test_state_is_where_the_documentation_says(
    customers: Database, emulator: Emulator, tmp_path: Path
) -> None:
    customers.insert("customers", [("broken", "pro")])
    result = run(tmp_path, table="customers", max_rejects=1, sync_name="crm.customers")
    state = tmp_path / "crm.customers"
    assert result["path"] == str(state)
    assert json.loads((state / result["record"]).read_bytes())["outcome"] == "success"
    assert pq.read_table(state / result["rejects"])["email"].to_pylist() == ["broken"]
    files = {path.relative_to(state).parts[0] for path in state.rglob("*") if path.is_file()}
    assert files == {"sync.json", "ledger", "rejects", "runs"}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_instance_of_a_mapped_task_must_name_its_sync(
    database: Database, emulator: Emulator, tmp_path: Path
) -> None:
    database.execute("create table eu (email varchar(200))")
    database.insert("eu", [("one@warehouse.test",)])
    instance = SimpleNamespace(
        dag_id="dag", run_id="run", task_id="sync", map_index=0, xcom_push=lambda *_, **__: None
    )
    mapped: Any = {"ti": instance}
    with pytest.raises(AirflowFailException, match="Set a different sync_name for each instance"):
        operator(tmp_path, table="eu").execute(mapped)
    assert writes(emulator) == 0
    assert operator(tmp_path, table="eu", sync_name="eu").execute(mapped)["sent"] == 1
