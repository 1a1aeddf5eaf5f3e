"""Comparing and undoing as the operator does it: templates, privacy, results."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_customerly.export import export_snapshot
from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

if TYPE_CHECKING:
    from databases import Database

    from airflow_provider_customerly.client import Client
    from airflow_provider_customerly.emulator import Emulator

MARKER = "qzxw7yv3"

pytestmark = [
    pytest.mark.emulator(users=0, leads=3),
    pytest.mark.usefixtures("connect"),
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
]


class Night:
    """A warehouse, a project that holds it, and an export of that."""

    def __init__(self, database: Database, client: Client, path: Path) -> None:
        self._database = database
        self.state = path / "state"
        self.export = path / "export"
        database.execute("create table customers (email varchar(80), name varchar(80), plan varchar(20))")
        database.insert("customers", [(f"{MARKER}{n}@shop.test", f"{MARKER} {n}", "free") for n in range(30)])
        self.run()
        export_snapshot(client, self.export, "users", snapshot_date="2026-11-23")
        self.change("gold", 10)

    def change(self, plan: str, rows: int) -> None:
        for n in range(rows):
            email = f"{MARKER}{n}@shop.test"
            self._database.execute(f"update customers set plan = '{plan}' where email = '{email}'")

    def operator(self, **arguments: Any) -> SqlToCustomerlyOperator:
        named = {"task_id": "sync", "sync_name": "nightly", "state_path": str(self.state), **arguments}
        if not {"plan_path", "undo_run"} & arguments.keys():
            named |= {"sql_conn_id": "warehouse", "table": "customers"}
        return SqlToCustomerlyOperator(**named)

    def run(self, **arguments: Any) -> dict[str, Any]:
        return self.operator(**arguments).execute({})


@pytest.fixture
def night(database: Database, client: Client, tmp_path: Path) -> Night:
    return Night(database, client, tmp_path)


def test_plan_apply_and_undo_name_nobody(
    night: Night, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    before = {one["email"]: one["attributes"] for one in emulator.store.truth("users").values()}
    with caplog.at_level(logging.DEBUG):
        plan = night.run(dry_run=True, compare_with=str(night.export), preview_fields=["plan"])
        applied = night.run(plan_path=plan["plan"])
        undo = night.run(undo_run=Path(applied["undo"]).stem, dry_run=True)
        undone = night.run(plan_path=undo["plan"])
    assert plan["preview"][0]["fields"] == {"attributes.plan": {"old": "free", "new": "gold"}}
    assert (applied["sent"], undone["sent"], undone["undoes"]) == (10, 10, Path(applied["undo"]).stem)
    assert {one["email"]: one["attributes"] for one in emulator.store.truth("users").values()} == before
    for result in (plan, applied, undo, undone):
        text = json.dumps(result)
        assert MARKER not in text
        assert len(text) < 20_000
    assert MARKER not in caplog.text
    assert (night.state / "nightly" / applied["undo"]).stat().st_mode & 0o077 == 0


def test_an_undo_may_be_sent_at_once(night: Night) -> None:
    applied = night.run(compare_with=str(night.export))
    assert night.run(undo_run=applied["undo"])["sent"] == 10


@pytest.mark.parametrize("nothing", ["", "None", "null"])
def test_a_template_that_renders_nothing_is_not_given(night: Night, nothing: str) -> None:
    names = ("compare_with", "max_export_age", "undo_run", "preview_fields", "on_edited", "skip_equal")
    task = night.operator(**dict.fromkeys(names, "{{ params.nothing }}"), sql_conn_id="warehouse")
    task.sql_conn_id, task.table = "warehouse", "customers"
    task.render_template_fields({"params": {"nothing": nothing}})  # type: ignore[typeddict-item]
    result = task.execute({})
    assert (result["sent"], "comparison" in result, "undo" in result) == (10, False, False)


def test_templates_are_read(night: Night) -> None:
    task = night.operator(
        dry_run="{{ true }}",
        compare_with="{{ params.path }}",
        max_export_age="{{ params.age }}",
        on_edited="{{ params.edited }}",
        skip_equal="{{ params.skip }}",
        preview_fields="{{ params.fields }}",
    )
    params = {"path": str(night.export), "age": "P1D", "edited": "keep", "skip": "true", "fields": ["plan"]}
    task.preview_fields = ["{{ params.fields[0] }}"]
    task.render_template_fields({"params": params})  # type: ignore[typeddict-item]
    result = task.execute({})
    assert result["comparison"]["on_edited"] == "keep"
    assert result["preview"][0]["fields"]["attributes.plan"] == {"old": "free", "new": "gold"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"skip_equal": True}, "skip_equal only works with compare_with"),
        ({"on_edited": "keep"}, "on_edited only works with compare_with"),
        ({"max_export_age": "P1D"}, "max_export_age only works with compare_with"),
        ({"compare_with": "/x", "on_edited": "ask"}, "on_edited must be overwrite, keep or reject"),
        ({"compare_with": "/x", "max_export_age": "soon"}, "max_export_age must be a duration"),
        ({"compare_with": "/x", "max_export_age": "PT0S"}, "max_export_age must be longer than zero"),
        ({"plan_path": "plans/x.parquet", "compare_with": "/x"}, "Set compare_with when you make the plan"),
        ({"undo_run": "x", "table": "customers", "sql_conn_id": "w"}, "Remove sql, table and plan_path"),
        ({"preview_fields": ["email"]}, "preview_fields names email, which identifies contacts"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    night: Night, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        night.operator(**arguments)


def test_what_is_found_only_later_fails_the_task_without_retries(night: Night, tmp_path: Path) -> None:
    for arguments, message in (
        ({"compare_with": str(tmp_path / "nothing")}, "compare_with is not the path of an export of users"),
        ({"compare_with": str(night.export), "max_export_age": "PT0.001S"}, "Run the export again"),
        ({"undo_run": "20261123T020000123456Z-9f86d081"}, "There is nothing to undo for run"),
        ({"dry_run": True, "preview_fields": ["nope"]}, "no column is mapped to it"),
    ):
        with pytest.raises(AirflowFailException, match=message):
            night.run(**arguments)
