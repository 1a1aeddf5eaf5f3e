"""Plans that are made first and applied later."""

from __future__ import annotations

import errno
import json
import shutil
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from sync_helpers import Sync, customers

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.sync import (
    Options,
    SyncGuardError,
    SyncRejectsError,
    apply_plan,
)
from airflow_provider_customerly.sync.state import State

if TYPE_CHECKING:
    from pathlib import Path


def test_a_plan_is_applied_as_it_is(sync: Sync) -> None:
    rows = customers(30)
    plan = sync.plan(rows)
    assert (plan["outcome"], plan["new"], sync.writes()) == ("planned", 30, 0)
    held = pq.read_table(sync.state / plan["plan"]).to_pylist()
    assert json.loads(held[3]["contact"]) == {
        "email": rows[3][0],
        "name": "Customer 3",
        "attributes": {"plan": "pro", "seats": 3},
    }
    result = sync.apply(plan["plan"])
    assert (result["sent"], result["plan"]) == (30, plan["plan"])
    assert sync.run(rows)["unchanged"] == 30


def test_a_plan_names_the_fields_that_change(sync: Sync) -> None:
    rows = customers(30)
    sync.run(rows)
    rows[4] = (rows[4][0], "Renamed", "gold", 4)
    [change] = pq.read_table(sync.state / sync.plan(rows)["plan"]).to_pylist()
    assert (change["action"], change["row"], change["changed_fields"]) == (
        "changed",
        5,
        ["name", "attributes.plan"],
    )


def test_a_plan_that_a_guard_is_against_can_be_looked_at(
    sync: Sync, caplog: pytest.LogCaptureFixture
) -> None:
    planned = sync.plan(customers(30), min_rows=1000)
    assert (planned["outcome"], planned["new"]) == ("planned", 30)
    assert "fewer than min_rows=1000" in planned["breach"]
    assert planned["breach"] in caplog.text
    with pytest.raises(SyncGuardError, match="min_rows=1000"):
        sync.apply(planned["plan"], min_rows=1000)
    assert sync.writes() == 0
    assert sync.apply(planned["plan"])["sent"] == 30


def test_an_altered_plan_is_refused(sync: Sync) -> None:
    plan = sync.plan(customers(30))["plan"]
    file = sync.state / plan
    pq.write_table(pq.read_table(file).slice(1), file)
    with pytest.raises(ValueError, match="was altered since it was made"):
        sync.apply(plan)
    assert sync.writes() == 0


def test_a_plan_of_an_older_version_is_refused(sync: Sync) -> None:
    plan = sync.plan(customers(30))["plan"]
    file = sync.state / plan.replace(".parquet", ".json")
    seal = json.loads(file.read_text())
    del seal["digests"]
    file.write_text(json.dumps(seal))
    with pytest.raises(ValueError, match=r"or a version before 0\.3 made it .* Plan again\."):
        sync.apply(plan)
    assert sync.writes() == 0


@pytest.mark.parametrize(
    "altered",
    [{"rows_read": 29}, {"unchanged": 1}, {"rows_read": 28, "unchanged": -2}, {"rows_read": "thirty"}],
)
def test_a_seal_whose_figures_were_altered_is_refused(sync: Sync, altered: dict[str, Any]) -> None:
    plan = sync.plan(customers(30))["plan"]
    file = sync.state / plan.replace(".parquet", ".json")
    file.write_text(json.dumps(json.loads(file.read_text()) | altered))
    with pytest.raises(ValueError, match=r"Plan again"):
        sync.apply(plan)
    assert sync.writes() == 0


def test_a_plan_overtaken_by_a_run_is_refused(sync: Sync) -> None:
    rows = customers(30)
    plan = sync.plan(rows)["plan"]
    sync.run(rows[:7])
    with pytest.raises(ValueError, match="overtaken"):
        sync.apply(plan)
    assert sync.writes() == 0


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("end", ["after the commit", "before the commit"])
def test_a_plan_that_was_applied_in_part_goes_on(
    sync: Sync, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = ("email", "user_id", "plan")
    theirs = [{"email": f"{who}@shop.test", "user_id": who} for who in ("theirs", "hers")]
    sync.emulator.store.upsert("users", theirs)
    old = [(f"u{n}@shop.test", f"id-{n}", "free") for n in range(200)]
    sync.run(old, columns)
    rows = [*((email, key, "pro") for email, key, _ in old[:120]), *old[120:195]]
    rows += [(f"u{n}@shop.test", f"id-{n}", "free") for n in range(300, 380)]
    rows[3] = (*rows[3][:1], "theirs", "pro")  # is refused in the first try,
    rows[-1] = (*rows[-1][:1], "hers", "pro")  # and this one in the second
    rows[130] = ("nobody", *rows[130][1:])
    plan = sync.plan(rows, columns)["plan"]

    with monkeypatch.context() as patch, sync.outage(after=2):
        if end == "before the commit":
            patch.setattr(State, "commit", full_disk)
        sync.apply(plan)
    with pytest.raises(SyncRejectsError, match="3 of 275 rows") as raised:
        sync.apply(plan)

    result = raised.value.result
    assert (result["plan"], result["new"] + result["changed"], result["sent"]) == (plan, 100, 99)
    assert (result["unchanged"], result["still_refused"], result["vanished_handled"]) == (173, 1, 6)
    assert sync.writes() == 3  # two batches, and the refused row once more
    assert {one["row"]: one["reason"] for one in sync.rejects(result)} == {
        4: "refused", 131: "malformed_email", 275: "refused",
    }  # fmt: skip
    rejects = 3
    assert sync.apply(plan, max_rejects=rejects)["sent"] == 0
    rows[0] = (*rows[0][:2], "free")
    assert sync.run(rows, columns, max_rejects=rejects)["sent"] == 1
    with pytest.raises(ValueError, match="overtaken"):
        sync.apply(plan)


def test_what_is_left_of_a_plan_knows_whose_email_was_refused(sync: Sync) -> None:
    columns = ("email", "user_id", "plan")
    rows = [(f"c{n}@shop.test", f"id-{n}", "free") for n in range(100)]
    sync.run(rows, columns)
    changed = [
        (f"new{n}@shop.test" if n == 7 else email, key, "pro") for n, (email, key, _) in enumerate(rows)
    ]
    options: dict[str, Any] = {"on_vanished": "delete", "max_rejects": 1}
    plan = sync.plan(changed, columns)["plan"]
    with sync.outage(after=1):
        sync.apply(plan, **options)
    result = sync.apply(plan, **options)
    assert (result["still_refused"], result["vanished"], result["vanished_handled"]) == (1, 1, 0)
    assert sync.emulator.store.find("users", email="c7@shop.test") is not None


def test_a_plan_of_another_sync_is_refused(sync: Sync) -> None:
    plan = sync.plan(customers(30))["plan"]
    for name in (plan, plan.replace(".parquet", ".json")):
        copy = sync.path / "other" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((sync.state / name).read_bytes())
    with (
        Client(sync.emulator.token, sync.emulator.url) as client,
        pytest.raises(ValueError, match="made for the sync 'nightly', not 'other'"),
    ):
        apply_plan(client, plan, sync.path, "other", Options())


def test_a_plan_copied_from_the_state_of_another_project_is_refused(sync: Sync, tmp_path: Path) -> None:
    sync.run(customers(3))
    other = Sync(sync.emulator, tmp_path / "staging")
    other.run(customers(3))
    plan = other.plan([(email, "Renamed", *rest) for email, _, *rest in customers(3)])["plan"]
    (sync.state / "plans").mkdir(exist_ok=True)
    for suffix in (".parquet", ".json"):
        shutil.copy((other.state / plan).with_suffix(suffix), sync.state / "plans")
    with pytest.raises(ValueError, match=r"made with another sync\.json"):
        sync.apply(plan)
    assert sync.writes() == 0
    assert sync.run(customers(3))["unchanged"] == 3
