"""Whole runs of a sync against the emulator: what is sent, what is remembered, and what every row became."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from sync_helpers import COLUMNS, MARKER, Rows, customers

from airflow_provider_customerly.client import Client, CustomerlyAuthError
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.storage import Location, LockedError
from airflow_provider_customerly.sync import (
    Options,
    SyncGuardError,
    SyncRejectsError,
    sync_contacts,
)
from airflow_provider_customerly.sync.options import allowed
from airflow_provider_customerly.sync.state import State

if TYPE_CHECKING:
    from pathlib import Path

    from sync_helpers import Sync


def test_only_what_changed_is_sent(sync: Sync) -> None:
    rows = customers(430)
    first = sync.run(rows)
    assert (first["new"], first["sent"], sync.writes()) == (430, 430, 9)
    contact = sync.contact(rows[7][0])
    assert (contact["name"], contact["attributes"]) == ("Customer 7", {"plan": "pro", "seats": 7})

    second = sync.run(rows)
    assert (second["unchanged"], second["sent"], sync.writes()) == (430, 0, 0)

    for n in (3, 77, 429):
        rows[n] = (*rows[n][:3], -n)
    third = sync.run(list(reversed(rows)))
    assert (third["changed"], third["sent"], sync.writes()) == (3, 3, 1)
    assert sync.contact(rows[77][0])["attributes"]["seats"] == -77

    unmapped = [(*row, "x") for row in rows]
    assert sync.run(unmapped, (*COLUMNS, "note"), field_mapping={"note": None})["sent"] == 0
    mapped = sync.run(unmapped, (*COLUMNS, "note"))
    assert (mapped["changed"], mapped["sent"]) == (430, 430)


def test_reordered_columns_and_other_chunks_change_nothing(sync: Sync) -> None:
    rows = customers(150)
    sync.run(rows)
    result = sync.run([row[::-1] for row in rows], COLUMNS[::-1])
    assert (result["unchanged"], sync.writes()) == (150, 0)


def test_refused_rows_turn_the_run_red_and_wait_until_they_change(sync: Sync) -> None:
    taken = [{"email": f"taken{n}@shop.test", "user_id": f"owned-{n}"} for n in (11, 500, 998)]
    sync.emulator.store.upsert("users", taken)
    columns = ("email", "user_id")
    rows = [(f"u{n}@shop.test", f"id-{n}") for n in range(1000)]
    for n in (11, 500, 998):
        rows[n] = (rows[n][0], f"owned-{n}")

    with pytest.raises(SyncRejectsError) as red:
        sync.run(rows, columns)
    result = red.value.result
    assert (result["sent"], result["refused"], result["rows_read"]) == (997, 3, 1000)
    assert str(red.value).splitlines() == [
        "3 of 1000 rows were not delivered, more than max_rejects=0 allows:",
        "  refused in user_id: 3",
        "997 rows sent, 0 unchanged.",
        "Fix the rows in the warehouse. Refused rows are sent again when they change, or with "
        "retry_rejects=True.",
        "The rows, with reasons:",
        f"{sync.state}/{result['rejects']}",
    ]
    rejects = sync.rejects(result)
    assert [(one["row"], one["email"], one["reason"], one["field"]) for one in rejects] == [
        (n + 1, f"u{n}@shop.test", "refused", "user_id") for n in (11, 500, 998)
    ]
    assert {one["message"] for one in rejects} == {"user_id already belongs to another email"}

    second = sync.run(rows, columns, max_rejects=0.01)
    assert (second["outcome"], second["refused"], second["still_refused"], sync.writes()) == (
        "success",
        3,
        3,
        0,
    )
    assert sync.rejects(second) == rejects

    rows[11] = (rows[11][0], "id-11")
    third = sync.run(rows, columns, max_rejects=3)
    assert (third["sent"], third["still_refused"], sync.writes()) == (1, 2, 1)

    with pytest.raises(SyncRejectsError) as again:
        sync.run(rows, columns, retry_rejects=True)
    assert (again.value.result["again"], again.value.result["refused"], sync.writes()) == (2, 2, 1)

    with pytest.raises(SyncRejectsError) as everything:
        sync.run(rows, columns, full_resync=True)
    assert (everything.value.result["again"], everything.value.result["refused"]) == (1000, 2)


def test_rows_that_break_a_rule_are_named_and_the_others_sent(sync: Sync) -> None:
    rows = customers(12)
    rows[2] = (None, "No email", "pro", 1)
    rows[5] = ("not an email", "Bad email", "pro", 1)
    rows[8] = (rows[8][0], "Long", "x" * 129, 1)
    rows[11] = (f"  {rows[3][0].upper()} ", "Twin", "pro", 1)
    with pytest.raises(SyncRejectsError) as red:
        sync.run(rows)
    result = red.value.result
    assert (result["sent"], result["invalid"]) == (7, 5)
    found = {one["row"]: (one["reason"], one["field"]) for one in sync.rejects(result)}
    assert found == {
        3: ("missing_email", "email"),
        6: ("malformed_email", "email"),
        9: ("text_too_long", "attributes.plan"),
        4: ("duplicate_email", "email"),
        12: ("duplicate_email", "email"),
    }
    assert "Refused rows" not in str(red.value)
    assert "Rows 4, 12" in next(one["message"] for one in sync.rejects(result) if one["row"] == 4)
    named = {one["row"]: one["email"] for one in sync.rejects(result)}
    assert (named[4], named[12]) == (rows[3][0], rows[3][0].upper())


def test_duplicates_of_delivered_rows_send_nothing_and_do_not_vanish(sync: Sync) -> None:
    rows = customers(50)
    sync.run(rows)
    twin = (rows[3][0].upper(), "Other", "pro", 9)
    with pytest.raises(SyncRejectsError) as red:
        sync.run([*rows, twin], on_vanished="delete", max_vanished=50)
    result = red.value.result
    assert (result["unchanged"], result["invalid"], result["vanished"], sync.writes()) == (49, 2, 0, 0)
    assert {one["row"] for one in sync.rejects(result)} == {4, 51}
    assert all(one["email"].lower() == rows[3][0] for one in sync.rejects(result))


@pytest.mark.parametrize(
    ("rows", "guard", "told"),
    [
        (0, {}, "0 rows, fewer than min_rows=1"),
        (69, {}, "31 of 100 contacts are no longer in the source, more than max_vanished=0.1"),
        (90, {"min_rows": 91}, "90 rows, fewer than min_rows=91"),
        (120, {"max_changes": 19}, "20 rows are to be sent"),
        (120, {"max_changes": 0.1}, "20 rows are to be sent"),
    ],
)
def test_a_guard_stops_before_the_first_write(
    sync: Sync, rows: int, guard: dict[str, Any], told: str
) -> None:
    sync.run(customers(100))
    before = {path: path.read_bytes() for path in sync.state.rglob("*") if path.is_file()}
    with pytest.raises(SyncGuardError, match=told):
        sync.run(customers(rows), **guard, on_vanished="delete")
    assert sync.writes() == 0
    assert {path: path.read_bytes() for path in sync.state.rglob("*") if path.is_file()} == before


def test_a_first_run_of_no_rows_says_so(sync: Sync) -> None:
    with pytest.raises(SyncGuardError, match="min_rows=1"):
        sync.run([])


@pytest.mark.parametrize(
    ("value", "whole", "most"),
    [
        ("0.29", 100, 29),
        (0.57, 100, 57),
        (0.07, 100, 7),
        (0.1, 19, 1),
        (1e-05, 100_000, 1),
        (1.0, 7, 7),
        (3, 2, 3),
    ],
)
def test_a_share_is_reckoned_exactly(value: float | str, whole: int, most: int) -> None:
    assert allowed(value, whole) == most


@pytest.mark.parametrize("on_vanished", ["untag", "unsubscribe", "delete", "keep"])
def test_vanished_contacts_are_dealt_with_once(sync: Sync, on_vanished: str) -> None:
    options: dict[str, Any] = {"on_vanished": on_vanished, "tags": ["warehouse"]}
    rows = customers(60)
    sync.run(rows, **options)
    gone = [row[0] for row in rows[:5]]
    result = sync.run(rows[5:], **options)
    assert (result["vanished"], result["vanished_handled"], result["sent"]) == (5, 5, 0)
    store = sync.emulator.store
    ids = [store.find("users", email=email) for email in gone]
    if on_vanished == "delete":
        assert ids == [None] * 5
    else:
        tags = [] if on_vanished == "untag" else ["warehouse"]
        assert all(store.tags_of(key) == tags for key in ids)
        assert {store.get("users", key)["unsubscribe"] for key in ids} == {int(on_vanished == "unsubscribe")}
    assert store.tags_of(store.find("users", email=rows[6][0])) == ["warehouse"]

    assert (sync.run(rows[5:], **options)["vanished"], sync.writes()) == (0, 0)

    back = sync.run(rows, **options)
    assert (back["again"], back["sent"]) == (5, 5)
    assert store.tags_of(store.find("users", email=gone[0])) == ["warehouse"]


def test_vanished_contacts_that_are_gone_already_need_nothing(sync: Sync) -> None:
    rows = customers(60)
    sync.run(rows)
    store = sync.emulator.store
    store.delete("users", store.find("users", email=rows[0][0]))
    result = sync.run(rows[2:], on_vanished="delete")
    assert (result["vanished"], result["vanished_handled"], result["not_found"]) == (2, 1, 1)
    assert store.find("users", email=rows[1][0]) is None


def test_a_contact_that_was_refused_is_nobody_to_delete(sync: Sync) -> None:
    sync.emulator.store.upsert("users", [{"email": "taken@shop.test", "user_id": "theirs"}])
    columns = ("email", "user_id")
    rows = [(f"u{n}@shop.test", f"id-{n}") for n in range(40)]
    mine = ("taken@shop.test", "mine")
    sync.run([*rows, mine], columns, max_rejects=1)
    result = sync.run(rows[1:], columns, on_vanished="delete")
    assert (result["vanished"], result["vanished_handled"]) == (2, 2)
    store = sync.emulator.store
    assert store.find("users", email=rows[0][0]) is None
    assert store.find("users", email="taken@shop.test") is not None


def test_nobody_vanishes_in_a_run_of_too_many_rejects(sync: Sync, caplog: pytest.LogCaptureFixture) -> None:
    rows = customers(100)
    sync.run(rows)
    held = sync.emulator.store.count("users")
    broken = [(None, *row[1:]) for row in rows[:6]] + rows[6:98]
    with pytest.raises(SyncRejectsError, match="Vanished contacts that were left alone: 8") as red:
        sync.run(broken, on_vanished="delete", max_rejects=5)
    result = red.value.result
    assert (result["invalid"], result["vanished"], result["vanished_handled"]) == (6, 8, 0)
    assert sync.emulator.store.count("users") == held
    assert "8 vanished contacts are left alone" in caplog.text

    mended = sync.run(rows[:98], on_vanished="delete")
    assert (mended["unchanged"], mended["vanished"], mended["vanished_handled"]) == (98, 2, 2)
    assert sync.emulator.store.count("users") == held - 2


def test_too_many_rejects_are_nothing_to_those_who_keep_vanished_contacts(sync: Sync) -> None:
    rows = customers(100)
    sync.run(rows)
    with pytest.raises(SyncRejectsError) as red:
        sync.run([(None, *rows[0][1:]), *rows[1:98]])
    assert (red.value.result["vanished"], red.value.result["vanished_handled"]) == (3, 3)


WITH_ID = ("email", "user_id")


@pytest.mark.parametrize("on_vanished", ["untag", "unsubscribe", "delete"])
def test_a_customer_whose_new_email_is_refused_keeps_the_old_contact(
    sync: Sync, on_vanished: str, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {
        "on_vanished": on_vanished, "tags": ["warehouse"], "max_rejects": 1
    }  # fmt: skip
    store = sync.emulator.store
    rows = [(f"c{n}@shop.test", f"id-{n}") for n in range(60)]
    sync.run(rows, WITH_ID, **options)
    old = store.find("users", email="c7@shop.test")
    before = (store.get("users", old), store.tags_of(old))
    rows[7] = ("new7@shop.test", "id-7")
    del rows[59]
    for refused, vanished in ({"new": 1}, 2), ({"still_refused": 1}, 1):  # in this run, and in one before
        result = sync.run(rows, WITH_ID, **options)
        assert {kind: result[kind] for kind in refused} == refused
        assert (result["refused"], result["vanished"], result["vanished_handled"]) == (
            1,
            vanished,
            vanished - 1,
        )
        assert (store.get("users", old), store.tags_of(old)) == before
        assert "1 vanished contacts" in caplog.text
        caplog.clear()

    store.delete("users", old)  # somebody makes room for the new email
    result = sync.run(rows, WITH_ID, **options, retry_rejects=True)
    assert (result["sent"], result["refused"], result["vanished_handled"]) == (1, 0, 1)
    assert sync.run(rows, WITH_ID, **options)["vanished"] == 0


@pytest.mark.parametrize(
    "instead",
    [
        [(None, "id-7")],
        [("no email", "id-7")],
        [("new7@shop.test", "id-7"), ("NEW7@shop.test", "id-800")],
        [("c8@shop.test", "id-7")],
    ],
)
def test_a_customer_whose_row_is_broken_keeps_the_contact(sync: Sync, instead: list[Any]) -> None:
    rows = [(f"c{n}@shop.test", f"id-{n}") for n in range(60)]
    sync.run(rows, WITH_ID)
    now = [*rows[:7], *instead, *rows[8:59]]
    result = sync.run(now, WITH_ID, on_vanished="delete", max_rejects=2)
    assert (result["outcome"], result["vanished"], result["vanished_handled"]) == ("success", 2, 1)
    store = sync.emulator.store
    assert store.find("users", email="c7@shop.test") is not None
    assert store.find("users", email="c59@shop.test") is None


def test_full_resync_sends_everything_and_nulls_are_left_alone(sync: Sync) -> None:
    rows = customers(20)
    sync.run(rows)
    cleared = [(row[0], None, None, row[3]) for row in rows]
    assert sync.run(cleared)["changed"] == 20
    assert sync.contact(rows[1][0])["attributes"] == {"plan": "pro", "seats": 1}
    assert sync.run(cleared, null_as_empty=True)["sent"] == 20
    assert sync.contact(rows[1][0])["attributes"] == {"plan": "", "seats": 1}
    result = sync.run(cleared, null_as_empty=True, full_resync=True)
    assert (result["again"], result["sent"]) == (20, 20)


def test_leads_stay_leads(sync: Sync) -> None:
    assert sync.run(customers(10), contact_type="leads")["sent"] == 10
    assert sync.emulator.store.count("leads") == 20


def test_the_second_of_two_runs_stops_and_says_who_holds_the_state(sync: Sync) -> None:
    with (
        State(sync.path, "nightly", "users", sync.emulator.url, "dag/run/task/-1"),
        pytest.raises(LockedError, match="in use by dag/run/task/-1"),
    ):
        sync.run(customers(3))
    assert sync.writes() == 0
    assert sync.run(customers(3))["sent"] == 3


def test_the_state_of_another_project_or_kind_of_contact_is_not_used(sync: Sync) -> None:
    sync.run(customers(3))
    with pytest.raises(ValueError, match="contact_type users, not leads"):
        sync.run(customers(3), contact_type="leads")
    with (
        Emulator(users=1, leads=1) as other,
        Client(other.token, other.url) as client,
        pytest.raises(ValueError, match="base URL"),
    ):
        sync_contacts(client, Rows(customers(3)), sync.path, "nightly", Options())


def test_a_wrong_token_sends_once_and_remembers_nothing(sync: Sync) -> None:
    with Client("wrong-token", sync.emulator.url) as client, pytest.raises(CustomerlyAuthError):
        sync_contacts(client, Rows(customers(200)), sync.path, "nightly", Options())
    assert sync.emulator.stats()["requests"] == 1
    [record] = (sync.state / "runs").iterdir()
    assert json.loads(record.read_bytes())["outcome"] == "failed"
    assert sync.run(customers(200))["sent"] == 200


def test_an_outage_in_the_middle_keeps_what_was_accepted(sync: Sync) -> None:
    rows = customers(500)
    with sync.outage(after=3):
        sync.run(rows)
    [record] = [json.loads(path.read_bytes()) for path in (sync.state / "runs").iterdir()]
    assert (record["outcome"], record["error"], record["counts"]["sent"]) == (
        "failed",
        "CustomerlyUnavailable",
        150,
    )
    result = sync.run(rows)
    assert (result["unchanged"], result["sent"]) == (150, 350)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_faults_change_nothing_in_the_end(sync: Sync, concurrency: int) -> None:
    sync.emulator.faults.retry_after = 0
    sync.emulator.faults.set(
        {"429": 0.02, "429-bare": 0.02, "500": 0.02, "503": 0.02, "reset": 0.02, "reset_after": 0.06,
         "error200": 0.02, "cut": 0.02}
    )  # fmt: skip
    rows = customers(300)
    with Client(sync.emulator.token, sync.emulator.url, retry_budget=30) as client:
        options = Options(max_concurrency=concurrency, batch_size=20)
        result = sync_contacts(client, Rows(rows), sync.path, "nightly", options)
    assert (result["sent"], result["refused"]) == (300, 0)
    sync.emulator.faults.clear()
    for email, name, plan, seats in rows:
        record = sync.emulator.store.get("users", sync.emulator.store.find("users", email=email))
        assert (record["name"], record["attributes"]) == (name, {"plan": plan, "seats": seats})
    assert sync.run(rows)["sent"] == 0


def test_nobody_is_named_but_in_rejects_and_plans(sync: Sync, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    rows = customers(40)
    rows[3] = (rows[2][0], MARKER, MARKER, 1)
    rows[9] = (f"{MARKER} no email", MARKER, MARKER * 40, 1)
    errors = []
    for change in (rows, rows[5:], [(*row[:2], f"{MARKER}x", 5) for row in rows]):
        try:
            sync.run(change, on_vanished="delete", max_vanished=1.0)
        except SyncRejectsError as error:
            errors.append(f"{error} {error.result}")
    sync.plan(rows)
    assert len(errors) == 3
    assert MARKER not in caplog.text + "".join(errors)
    named = {
        path.relative_to(sync.state).parts[0]
        for path in sync.state.rglob("*")
        if path.is_file() and MARKER.encode() in decompressed(path)
    }
    assert named == {"rejects", "plans"}


def decompressed(path: Path) -> bytes:
    if path.suffix != ".parquet":
        return path.read_bytes()
    return repr(pq.read_table(path).to_pylist()).encode()


def test_old_runs_are_removed_but_for_what_the_next_one_needs(sync: Sync) -> None:
    columns = ("email", "user_id")
    sync.emulator.store.upsert("users", [{"email": "taken@shop.test", "user_id": "theirs"}])
    rows = [(f"u{n}@shop.test", f"id-{n}") for n in range(60)]
    rows[5] = (rows[5][0], "theirs")
    rejects = 9
    sync.plan(rows, columns)
    first = sync.run(rows, columns, max_rejects=rejects)
    second = sync.run(rows, columns, max_rejects=rejects, keep_days=1)
    kept = {"rejects": 2, "plans": 2, "runs": 3}
    assert {name: len(list((sync.state / name).iterdir())) for name in kept} == kept

    third = sync.run(rows, columns, max_rejects=rejects, keep_days=0)
    [kept_rejects] = (sync.state / "rejects").iterdir()
    [record] = (sync.state / "runs").iterdir()
    assert (f"rejects/{kept_rejects.name}", f"runs/{record.name}") == (third["rejects"], third["record"])
    assert list((sync.state / "plans").iterdir()) == []
    assert sync.rejects(third)[0]["message"] == "user_id already belongs to another email"
    assert {first["outcome"], second["outcome"]} == {"success"}
    assert sync.run(rows, columns, max_rejects=rejects)["still_refused"] == 1


def test_a_delivered_run_is_not_failed_by_old_files_that_stay(
    sync: Sync, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sync.run(customers(5))
    delete = Location.delete

    def refuse_records(place: Location, name: str) -> None:
        if name.startswith("runs/"):
            raise PermissionError(name)
        delete(place, name)

    monkeypatch.setattr(Location, "delete", refuse_records)
    assert sync.run(customers(6), keep_days=0)["outcome"] == "success"
    assert "Could not remove old files of the sync: PermissionError" in caplog.text
