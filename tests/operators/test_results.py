"""What a task leaves for its run page: when it fails, too, small, and naming nobody."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException
from airflow.sdk.log import mask_secret

from airflow_provider_customerly.client import CustomerlyRequestError, CustomerlyUnavailable
from airflow_provider_customerly.contacts.errors import RefusedError
from airflow_provider_customerly.export import ExportGuardError
from airflow_provider_customerly.hooks.failures import fail_at_once
from airflow_provider_customerly.operators.result import leave_failure
from airflow_provider_customerly.storage.location import refuse_relative
from airflow_provider_customerly.transfers.customerly_to_parquet import CustomerlyToParquetOperator
from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator
from airflow_provider_customerly.values.top_counts import OTHERS, most_frequent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from databases import Database

    from airflow_provider_customerly.emulator import Emulator

MARKER = "zzmarker"
MOST_BYTES = 20_000
TOKEN = "tok-5500aa"
sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

pytestmark = [pytest.mark.emulator(users=30, leads=3, token=TOKEN), pytest.mark.usefixtures("connect")]


class Pushed(NamedTuple):
    """A task instance that keeps what is pushed."""

    values: dict[str, Any]
    dag_id: str = "crm"
    run_id: str = "manual__2026-11-26T02:00:00+00:00"
    task_id: str = "nightly"
    map_index: int = -1

    def xcom_push(self, key: str, value: Any) -> None:
        self.values[key] = value


def export(folder: Path, **arguments: Any) -> CustomerlyToParquetOperator:
    return CustomerlyToParquetOperator(
        **{"task_id": "nightly", "path": str(folder), "snapshot_date": "2026-11-23", **arguments}
    )


def sync(database: Database, folder: Path, **arguments: Any) -> SqlToCustomerlyOperator:
    given = {"sql_conn_id": database.conn_id, "table": "customers", **arguments}
    return SqlToCustomerlyOperator(task_id="nightly", sync_name="crm", state_path=str(folder), **given)


def run(task: Any) -> dict[str, Any]:
    """What a task that succeeds returns."""
    result: dict[str, Any] = task.execute({"ti": Pushed({})})
    return result


def failed(task: Any, kind: type[Exception] = AirflowFailException) -> dict[str, Any]:
    """What a task that fails leaves."""
    ti = Pushed({})
    with pytest.raises(kind):
        task.execute({"ti": ti})
    result: dict[str, Any] = ti.values["return_value"]
    return result


def check(result: dict[str, Any]) -> None:
    text = json.dumps(result)
    assert len(text) < MOST_BYTES
    assert MARKER not in text
    assert TOKEN not in text
    assert "@" not in text


def test_an_export_tells_how_it_differs_from_the_last(emulator: Emulator, tmp_path: Path) -> None:
    first = run(export(tmp_path, max_shrink=0.5, max_vanished=0.2))
    assert (first["rows"], first["rows_before"], first["changes"]) == (30, None, {})
    ids = sorted(emulator.store.versions("users"))
    emulator.store.delete("users", ids[0])
    for number, contact_id in enumerate(ids[1:4]):
        emulator.store.update("users", contact_id, {"name": f"{MARKER} {number}"})
    emulator.store.upsert("users", [{"email": f"{MARKER}{n}@x.test"} for n in range(5)])
    second = run(export(tmp_path, max_shrink=0.5, max_vanished=0.2, snapshot_date="2026-11-24"))
    assert (second["rows"], second["rows_before"]) == (34, 30)
    assert second["changes"] == {"new": 5, "changed": 3, "gone": 1}
    told = {guard["name"]: (guard["limit"], guard["value"], guard["of"]) for guard in second["guards"]}
    assert told == {"min_rows": (0, 34, None), "max_shrink": (0.5, 0, 30), "max_vanished": (0.2, 1, 30)}
    assert not any(guard["breached"] for guard in second["guards"])
    assert second["certificate"]["verdict"] == second["verdict"] == "complete"
    assert second["waits"] == {"retries": 0, "seconds": 0}
    check(second)


def test_waits_are_counted(emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults.plan(["429"])  # it asks for a second
    waits = run(export(tmp_path))["waits"]
    assert waits["retries"] == 1
    assert waits["seconds"] >= 1


def test_an_export_that_a_guard_stops_leaves_its_figures(emulator: Emulator, tmp_path: Path) -> None:
    left = failed(export(tmp_path, min_rows=31), ExportGuardError)
    assert left["error"]["kind"] == "ExportGuardError"
    assert "fewer than min_rows=31" in left["error"]["message"]
    assert [guard["name"] for guard in left["guards"] if guard["breached"]] == ["min_rows"]
    assert (left["rows"], left["rows_read"], left["verdict"]) == (None, 30, "complete")
    check(left)


def test_an_export_whose_requests_fail_leaves_how_far_it_came(
    emulator: Emulator, connect: Callable[..., None], tmp_path: Path
) -> None:
    connect(extra={"retry_budget": 0})
    emulator.faults.plan(["500"])
    left = failed(export(tmp_path), CustomerlyUnavailable)
    assert left["error"]["kind"] == "CustomerlyUnavailable"
    assert (left["rows"], left["requests"]) == (None, 1)


def test_misfits_of_many_columns_stay_small(emulator: Emulator, tmp_path: Path) -> None:
    names = [f"attribute_{n:03}_{'x' * 150}" for n in range(300)]
    attributes = dict.fromkeys(names, MARKER)
    emulator.store.upsert("users", [{"email": f"{MARKER}@x.test", "attributes": attributes}])
    result = run(
        export(tmp_path, attributes=dict.fromkeys(names, "int64"), max_null_share=dict.fromkeys(names, 1))
    )
    assert sum(result["misfits"].values()) == 300
    assert result["misfits"][OTHERS] == 270
    assert len(result["guards"]) == 20
    check(result)


@sqlite
def test_reasons_and_fields_of_many_columns_stay_small(database: Database, tmp_path: Path) -> None:
    columns = [f"column_{n:03}_{'x' * 110}" for n in range(120)]
    declared = ", ".join(f"{one} text" for one in columns)
    database.execute(f"create table customers (email varchar(200), {declared})")
    good = [(f"{MARKER}{n}@x.test", *["a"] * 120) for n in range(3)]
    database.insert("customers", good)
    assert run(sync(database, tmp_path))["sent"] == 3
    database.execute(f"update customers set {', '.join(f'{one} = {MARKER!r}' for one in columns)}")
    bad = [(f"bad{MARKER}{n}@x.test", *["a"] * n, "x" * 500, *["a"] * (119 - n)) for n in range(120)]
    database.insert("customers", bad)
    result = run(sync(database, tmp_path, max_rejects=1.0, preview_fields=[], dry_run=True))
    assert sum(result["reasons"].values()) == result["invalid"] == 120
    assert sum(result["changed_fields"].values()) == 3 * 120
    check(result)


@sqlite
def test_a_sync_that_a_guard_stops_leaves_its_figures(database: Database, tmp_path: Path) -> None:
    database.execute("create table customers (email varchar(200), plan varchar(20))")
    database.insert("customers", [(f"{MARKER}{n}@x.test", "team") for n in range(10)])
    first = run(sync(database, tmp_path))
    assert {guard["name"]: guard["breached"] for guard in first["guards"]} == {
        "min_rows": False,
        "max_vanished": False,
        "max_rejects": False,
    }
    database.execute("update customers set plan = 'gold' where email like '%1@%'")
    database.execute("delete from customers where email like '%2@%' or email like '%3@%'")
    left = failed(sync(database, tmp_path))
    assert left["error"]["kind"] == "SyncGuardError"
    assert left["error"]["message"] == left["breach"]
    [breached] = [guard for guard in left["guards"] if guard["breached"]]
    expected = {"name": "max_vanished", "limit": 0.1, "allowed": 1, "value": 2, "of": 10, "breached": True}
    assert breached == expected
    assert (left["outcome"], left["rows_read"], left["sent"]) == ("stopped", 8, 0)
    assert left["changed_fields"] == {"attributes.plan": 1}
    check(left)
    sent = run(sync(database, tmp_path, max_vanished=0.2))
    assert (sent["sent"], sent["changed_fields"]) == (1, {"attributes.plan": 1})


@sqlite
def test_a_sync_that_ends_early_leaves_its_figures(
    database: Database, emulator: Emulator, connect: Callable[..., None], tmp_path: Path
) -> None:
    connect(extra={"retry_budget": 0})
    database.execute("create table customers (email varchar(200))")
    database.insert("customers", [(f"{MARKER}{n}@x.test",) for n in range(4)])
    emulator.faults.plan([None, "503"])
    left = failed(sync(database, tmp_path, batch_size=2), CustomerlyUnavailable)
    assert (left["outcome"], left["rows_read"], left["sent"]) == ("failed", 4, 2)
    assert left["error"]["kind"] == "CustomerlyUnavailable"
    check(left)


@sqlite
def test_a_plan_that_is_applied_tells_its_fields(database: Database, tmp_path: Path) -> None:
    database.execute("create table customers (email varchar(200), plan varchar(20))")
    database.insert("customers", [(f"{MARKER}{n}@x.test", "team") for n in range(4)])
    run(sync(database, tmp_path))
    database.execute("update customers set plan = 'gold' where email like '%1@%' or email like '%2@%'")
    planned = run(sync(database, tmp_path, dry_run=True))
    assert planned["changed_fields"] == {"attributes.plan": 2}
    applied = run(
        SqlToCustomerlyOperator(
            task_id="nightly", sync_name="crm", state_path=str(tmp_path), plan_path=planned["plan"]
        )
    )
    assert (applied["sent"], applied["changed_fields"]) == (2, {"attributes.plan": 2})


@pytest.mark.parametrize("do_xcom_push", [True, False])
def test_nothing_is_pushed_where_xcom_is_off(tmp_path: Path, *, do_xcom_push: bool) -> None:
    ti = Pushed({})
    with pytest.raises(ExportGuardError):
        export(tmp_path, min_rows=31, do_xcom_push=do_xcom_push).execute({"ti": ti})
    assert set(ti.values) == ({"return_value", "_link_CustomerlyRunLink"} if do_xcom_push else set())


def test_the_link_names_the_run(tmp_path: Path) -> None:
    ti = Pushed({})
    export(tmp_path).execute({"ti": ti})
    assert ti.values["_link_CustomerlyRunLink"] == (
        "customerly/run.html?dag_id=crm&run_id=manual__2026-11-26T02%3A00%3A00%2B00%3A00"
        "&task_id=nightly&map_index=-1"
    )


class DriverError(ValueError):
    """Of a library: its text may quote a row."""


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError(f"Invalid isoformat string: {MARKER}"), "ValueError", None),
        (AirflowFailException(MARKER), "AirflowFailException", None),
        (DriverError(f"bad row {MARKER}"), "DriverError", None),
        (KeyError(MARKER), "KeyError", None),
        (ExportGuardError("x" * 5_000), "ExportGuardError", f"{'x' * 2_000} ..."),
    ],
)
def test_only_our_own_texts_are_told(error: Exception, kind: str, message: str | None) -> None:
    ti = Pushed({})
    leave_failure(CustomerlyToParquetOperator(task_id="a", path="/data"), {"ti": ti}, {"rows": 3}, error)  # type: ignore[typeddict-item]
    assert ti.values["return_value"] == {"rows": 3, "error": {"kind": kind, "message": message}}


def told(error: Exception) -> dict[str, Any]:
    """What a task that fails with an error leaves of it."""
    ti = Pushed({})
    leave_failure(CustomerlyToParquetOperator(task_id="a", path="/data"), {"ti": ti}, None, error)  # type: ignore[typeddict-item]
    error_left: dict[str, Any] = ti.values["return_value"]["error"]
    return error_left


def test_what_this_package_raises_is_told() -> None:
    with pytest.raises(ValueError, match="is relative") as caught:
        refuse_relative("data")
    assert told(caught.value) == {"kind": "ValueError", "message": str(caught.value)}


def test_reasons_in_the_servers_words_are_not_told() -> None:
    with pytest.raises(AirflowFailException) as caught, fail_at_once(RefusedError):
        raise RefusedError(f"1 of 3 contacts failed: at 1: User {MARKER} is in another project", {})
    assert told(caught.value)["message"] == "1 of 3 contacts failed. The reasons are in the task's log."


def test_secrets_are_masked_as_in_logs() -> None:
    mask_secret("hunter2-of-the-vault")
    assert "hunter2" not in str(told(ExportGuardError("hunter2-of-the-vault is not a share"))["message"])


def test_the_servers_own_words_are_not_told() -> None:
    with pytest.raises(AirflowFailException) as caught, fail_at_once():
        raise CustomerlyRequestError("refused", status=400, vendor_message=f"no such user {MARKER}")
    assert MARKER in str(caught.value)
    left = told(caught.value)
    assert left["kind"] == "CustomerlyRequestError"
    assert MARKER not in left["message"]


def test_a_task_that_skips_itself_leaves_nothing() -> None:
    ti = Pushed({})
    leave_failure(
        CustomerlyToParquetOperator(task_id="a", path="/data"),
        {"ti": ti},
        None,
        AirflowSkipException("x"),  # type: ignore[typeddict-item]
    )
    assert ti.values == {}


def test_counts_are_cut_without_losing_any() -> None:
    counts = {f"name{n}": n for n in range(100)}
    shown = most_frequent(counts)
    assert sum(shown.values()) == sum(counts.values())
    assert len(shown) == 31
    assert most_frequent({"a": 1, "b" * 200: 2}) == {f"{'b' * 99}…": 2, "a": 1}
