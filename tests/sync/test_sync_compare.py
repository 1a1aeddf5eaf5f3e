"""A sync that knows what Customerly held at the newest export."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from sync_helpers import COLUMNS, MARKER, Sync, customers
from sync_process import Job, Kill, Rows, start
from test_sync_lost_answers import run as run_and_lose

from airflow_provider_customerly.client import Client, CustomerlyUnavailable
from airflow_provider_customerly.export import export_snapshot
from airflow_provider_customerly.storage import Location
from airflow_provider_customerly.sync import Options, SyncRejectsError, apply

pytestmark = pytest.mark.emulator(users=0, leads=3)

EDITED = "attributes.plan"


@pytest.fixture(autouse=True)
def delivered_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliver by a clock that is behind: what was delivered before an export was so some time before."""
    behind = SimpleNamespace(time=lambda: time.time() - 120, monotonic=time.monotonic)
    monkeypatch.setattr(apply, "time", behind)


def export(sync: Sync, **options: Any) -> None:
    day = {"snapshot_date": "2026-11-23", **options}
    with Client(sync.emulator.token, sync.emulator.url) as client:
        export_snapshot(client, Location.of(sync.path / "export"), "users", **day)


def edit(sync: Sync, email: str, **attributes: Any) -> None:
    """Change a contact as a person does in Customerly."""
    contact_id = sync.emulator.store.find("users", email=email)
    assert contact_id is not None
    sync.emulator.store.add_attributes("users", contact_id, attributes)


def compare(sync: Sync, rows: Any, columns: Any = None, **options: Any) -> dict[str, Any]:
    step = sync.plan if options.pop("dry", True) else sync.run
    chosen = {} if columns is None else {"columns": columns}
    return step(rows, export=sync.path / "export", **chosen, **options)


def planned(sync: Sync, result: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return {row["row"]: row for row in pq.read_table(sync.state / result["plan"]).to_pylist()}


def changed(rows: list[tuple[Any, ...]], **plans: str) -> list[tuple[Any, ...]]:
    new = {int(number.removeprefix("n")): plan for number, plan in plans.items()}
    return [(*row[:2], new.get(at, row[2]), row[3]) for at, row in enumerate(rows)]


def test_a_plan_shows_what_customerly_held_and_what_it_would_hold(sync: Sync) -> None:
    rows = customers(10)
    sync.run(rows)
    export(sync)
    rows = [*changed(rows, n4="gold"), ("new@shop.test", "New", "free", 1)]
    result = compare(sync, rows)
    plan = planned(sync, result)
    assert sorted(plan) == [5, 11]
    assert plan[5]["changed_fields"] == [EDITED]
    assert json.loads(plan[5]["held"]) == {EDITED: "free"}
    assert json.loads(plan[5]["contact"])["attributes"]["plan"] == "gold"
    assert (plan[5]["is_there"], plan[11]["is_there"]) == (True, False)
    comparison = result["comparison"]
    assert comparison["export_run"]
    assert comparison["age_seconds"] >= 0
    assert (comparison["already_so"], comparison["edited_in_customerly"]) == (0, 0)


def test_rows_that_are_so_already_are_counted_and_need_not_be_sent(sync: Sync) -> None:
    rows = customers(10)
    sync.run(rows)
    edit(sync, rows[4][0], plan="gold")
    export(sync)
    rows = changed(rows, n4="gold", n5="gold")
    assert compare(sync, rows)["comparison"]["already_so"] == 1
    result = compare(sync, rows, dry=False, skip_equal=True)
    assert (result["sent"], result["unchanged"], result["settled"]) == (1, 9, 1)
    assert (result["comparison"]["already_so"], sync.writes()) == (1, 1)
    assert sync.run(rows)["unchanged"] == 10


def test_a_first_sync_sends_only_what_differs(sync: Sync) -> None:
    """Of a project that is full already, whoever filled it."""
    rows = customers(10)
    sync.emulator.store.upsert(
        "users",
        [{"email": e.upper(), "name": n, "attributes": {"plan": p, "seats": str(s)}} for e, n, p, s in rows],
    )
    export(sync)
    rows = changed(rows, n3="gold")
    result = compare(sync, rows, dry=False, skip_equal=True)
    assert (result["sent"], result["settled"]) == (1, 9)
    assert sync.run(rows)["unchanged"] == 10


def test_a_sealed_plan_settles_rows_when_it_is_applied(sync: Sync) -> None:
    rows = customers(10)
    sync.emulator.store.upsert(
        "users", [{"email": e, "name": n, "attributes": {"plan": p, "seats": s}} for e, n, p, s in rows[:6]]
    )
    export(sync)
    plan = compare(sync, rows, skip_equal=True)
    assert (plan["new"], plan["settled"], sync.writes()) == (4, 6, 0)
    result = sync.apply(plan["plan"])
    assert (result["sent"], result["unchanged"], result["settled"]) == (4, 6, 6)
    assert result["comparison"]["already_so"] == 6
    assert sync.run(rows)["unchanged"] == 10


@pytest.mark.parametrize("on_edited", ["overwrite", "keep", "reject"])
def test_what_people_edited_is_told_apart(sync: Sync, on_edited: str) -> None:
    rows = customers(10)
    sync.run(rows)
    edit(sync, rows[4][0], plan="edited")
    edit(sync, rows[6][0], plan="edited")
    edit(sync, rows[8][0], note="theirs")  # in no field of the sync
    export(sync)
    rows = changed(rows, n2="gold", n4="gold", n8="gold")
    rows[6] = (rows[6][0], "Renamed", *rows[6][2:])  # changed in another field than the edited one
    options = {"on_edited": on_edited, "max_rejects": 5}
    result = compare(sync, rows, dry=False, **options)
    comparison = result["comparison"]
    assert (comparison["edited_in_customerly"], comparison["edited_fields"]) == (2, {EDITED: 2})
    held = [sync.contact(rows[at][0]) for at in (2, 4, 6, 8)]
    plans = [one["attributes"]["plan"] for one in held]
    if on_edited == "overwrite":
        assert plans == ["gold", "gold", "free", "gold"]
        assert (result["sent"], comparison["kept"], comparison["rejected"]) == (4, 0, 0)
    elif on_edited == "keep":
        assert plans == ["gold", "edited", "edited", "gold"]
        assert (result["sent"], result["settled"], comparison["kept"]) == (3, 1, 2)
        assert held[2]["name"] == "Renamed"
    else:
        assert plans == ["gold", "edited", "edited", "gold"]
        assert held[2]["name"] == "Customer 6"
        assert (result["sent"], result["invalid"], comparison["rejected"]) == (2, 2, 2)
        assert result["reasons"] == {"edited_in_customerly in attributes.plan": 2}
        [message] = {reject["message"] for reject in sync.rejects(result)}
        assert message.startswith("Edited in Customerly since the last delivery: attributes.plan.")
    assert held[3]["attributes"]["note"] == "theirs"
    again = sync.run(rows, **({} if on_edited != "reject" else {"max_rejects": 5}))
    assert again["unchanged"] == (10 if on_edited != "reject" else 8)


def test_a_kept_edit_stays_kept_while_the_row_changes(sync: Sync) -> None:
    rows = customers(4)
    sync.run(rows)
    edit(sync, rows[1][0], plan="edited")
    for plan in ("gold", "silver"):
        export(sync)
        rows = changed(rows, n1=plan)
        assert compare(sync, rows, dry=False, on_edited="keep")["comparison"]["kept"] == 1
        assert sync.contact(rows[1][0])["attributes"]["plan"] == "edited"


def test_everything_is_brought_back_in_step_by_sending_what_differs(sync: Sync) -> None:
    rows = customers(20)
    sync.run(rows, tags=["customer"])
    for at in (3, 5):
        edit(sync, rows[at][0], plan="edited")
    export(sync)
    options = {"tags": ["customer"], "skip_equal": True, "dry": False}
    assert compare(sync, rows, **options)["sent"] == 0, "an edit in a row that has not changed stays"
    result = compare(sync, rows, full_resync=True, **options)
    assert (result["sent"], result["settled"]) == (2, 18)
    assert [sync.contact(rows[at][0])["attributes"]["plan"] for at in (3, 5)] == ["pro", "pro"]


@pytest.mark.parametrize("before", ["delivered", "unknown", "leaving"])
@pytest.mark.parametrize("ends", ["without an answer", "killed"])
def test_a_contact_that_may_be_gone_is_not_taken_for_one_that_an_export_shows(
    sync: Sync, monkeypatch: pytest.MonkeyPatch, before: str, ends: str
) -> None:
    rows, removing = customers(10), {"max_vanished": 1.0, "on_vanished": "delete"}
    if before == "unknown":
        with pytest.raises(CustomerlyUnavailable):
            run_and_lose(sync.emulator, sync, rows, lost="POST")
    else:
        sync.run(rows)
    if before == "leaving":
        with pytest.raises(CustomerlyUnavailable):
            run_and_lose(sync.emulator, sync, rows[1:], lost="GET", **removing)
    export(sync)
    monkeypatch.setattr(apply, "time", time)
    if ends == "killed":
        job = Job(
            sync.emulator.url,
            sync.emulator.token,
            str(sync.path),
            Rows(COLUMNS, rows[1:]),
            Options(**removing),
            Kill("os.rename journal", 2 if before == "unknown" else 1),
        )
        assert start(job).result() is None
    else:
        with pytest.raises(CustomerlyUnavailable):
            run_and_lose(sync.emulator, sync, rows[1:], lost="DELETE", **removing)
    assert sync.emulator.store.find("users", email=rows[0][0]) is None
    compare(sync, rows, dry=False, skip_equal=True, **removing)
    assert sync.emulator.store.find("users", email=rows[0][0]) is not None


def test_an_edit_is_kept_after_a_run_that_could_not_remove_the_contact(sync: Sync) -> None:
    rows = customers(4)
    sync.run(rows, tags=["customer"])
    untagging = {"on_vanished": "untag", "tags": ["customer"], "max_vanished": 1.0}
    with pytest.raises(CustomerlyUnavailable):
        run_and_lose(sync.emulator, sync, rows[:1], lost="GET", **untagging)
    edit(sync, rows[1][0], plan="edited")
    export(sync)
    back = changed(rows, n1="gold", n2="gold")
    result = compare(sync, back, tags=["customer"], on_edited="keep", skip_equal=True)
    assert result["comparison"]["edited_fields"] == {EDITED: 1}
    # The tags may have been removed.
    wanted = {2: ["tags"], 3: ["tags", EDITED], 4: ["tags"]}
    assert {number: row["changed_fields"] for number, row in planned(sync, result).items()} == wanted
    compare(sync, back, dry=False, tags=["customer"], on_edited="keep", skip_equal=True)
    assert [sync.contact(row[0])["attributes"]["plan"] for row in rows[1:3]] == ["edited", "gold"]


def test_rejects_of_edits_fail_the_run(sync: Sync) -> None:
    rows = customers(4)
    sync.run(rows)
    edit(sync, rows[1][0], plan="edited")
    export(sync)
    with pytest.raises(SyncRejectsError, match="edited_in_customerly"):
        compare(sync, changed(rows, n1="gold"), dry=False, on_edited="reject")


def test_a_delivery_after_the_export_is_no_edit(sync: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = customers(4)
    sync.run(rows)
    export(sync)
    monkeypatch.setattr(apply, "time", time)
    rows = changed(rows, n1="gold", n2="gold")
    sync.run(rows)
    rows = changed(rows, n1="silver", n2="free")
    result = compare(sync, rows)
    comparison = result["comparison"]
    assert (comparison["edited_in_customerly"], comparison["partly_unknown"]) == (0, 2)
    plan = planned(sync, result)
    assert {(row["changed_fields"][0], row["held"]) for row in plan.values()} == {(EDITED, "{}")}


@pytest.mark.parametrize("on_edited", ["overwrite", "keep"])
def test_what_may_be_an_edit_is_not_sent_again(
    sync: Sync, monkeypatch: pytest.MonkeyPatch, on_edited: str
) -> None:
    monkeypatch.setattr(apply, "time", time)
    rows = customers(4)
    sync.run(rows)
    sync.emulator.store.upsert("users", [{"email": rows[1][0], "name": "Edited"}])
    edit(sync, rows[2][0], plan="edited")
    export(sync)  # so soon that it may be from before the delivery, by another clock
    result = compare(sync, changed(rows, n1="gold", n2="gold"), dry=False, on_edited=on_edited)
    assert (result["sent"], result["comparison"]["edited_in_customerly"]) == (2, 0)
    contacts = [sync.contact(row[0]) for row in rows[1:3]]
    assert [contact["attributes"]["plan"] for contact in contacts] == ["gold", "gold"]
    assert contacts[0]["name"] == ("Edited" if on_edited == "keep" else rows[1][1])


def test_a_field_without_a_value_is_left_alone(sync: Sync) -> None:
    rows = customers(3)
    sync.run(rows)
    export(sync)
    rows[1] = (rows[1][0], None, None, 5)
    [row] = planned(sync, compare(sync, rows)).values()
    assert row["changed_fields"] == ["attributes.seats"]


def test_tags_are_sent_until_they_were_delivered(sync: Sync) -> None:
    """Lists show no tags, so only the ledger knows of them."""
    rows = customers(3)
    sync.emulator.store.upsert(
        "users", [{"email": e, "name": n, "attributes": {"plan": p, "seats": s}} for e, n, p, s in rows]
    )
    export(sync)
    options = {"skip_equal": True, "tags": ["customer"]}
    assert compare(sync, rows, **options)["comparison"]["not_compared"].keys() == {"tags"}
    assert compare(sync, rows, dry=False, **options)["sent"] == 3
    rows = changed(rows, n1="gold")
    edit(sync, rows[1][0], plan="gold")
    export(sync)
    assert compare(sync, rows, dry=False, **options)["settled"] == 1


def test_a_customer_whose_email_was_changed_there_is_found_by_user_id(sync: Sync) -> None:
    columns = ("email", "user_id", "plan")
    sync.run([("old@shop.test", "u-1", "free")], columns)
    contact_id = sync.emulator.store.find("users", user_id="u-1")
    assert contact_id is not None
    sync.emulator.store.update("users", contact_id, {"email": "edited@shop.test"})
    export(sync)
    result = compare(sync, [("old@shop.test", "u-1", "gold")], columns)
    [row] = planned(sync, result).values()
    assert json.loads(row["held"]) == {"email": "edited@shop.test", EDITED: "free"}


def test_the_preview_shows_changes_first_and_only_the_values_that_were_asked_for(sync: Sync) -> None:
    rows = customers(60)
    sync.run(rows)
    export(sync)
    rows = [(e, f"{MARKER} {n}", "g" * 100, s) for e, n, _, s in rows[:40]] + rows[40:]
    rows += [(f"{MARKER}new{n}@shop.test", "New", "free", 1) for n in range(30)] + [
        ("bad", "Bad", "x", 1)
    ] * 5
    result = compare(sync, rows, preview_fields=["plan"])
    preview = result["preview"]
    assert len(preview) == 20
    assert [row["action"] for row in preview] == ["update"] * 16 + ["create"] * 4
    assert preview[0] == {
        "row": 1,
        "action": "update",
        "fields": {"name": None, EDITED: {"old": "free", "new": "g" * 59 + "…"}},
    }
    assert preview[-1]["fields"][EDITED] == {"new": "free"}
    assert MARKER not in json.dumps(result)
    assert len(json.dumps(result)) < 20_000


def test_a_result_stays_small_whatever_the_plan_holds(sync: Sync) -> None:
    columns = ("email", *(f"a{n}_{'x' * 40}" for n in range(150)))
    rows = [(f"{n}@shop.test", *["v" * 128] * 150) for n in range(25)]
    sync.run([(email, *["w"] * 150) for email, *_ in rows], columns)
    export(sync)
    result = compare(sync, rows, columns, preview_fields=list(columns[1:]))
    assert result["preview"]
    assert len(json.dumps(result)) < 20_000


def test_a_result_stays_small_when_nothing_can_be_compared(sync: Sync) -> None:
    columns = ("email", *(f"a{n}_{'x' * 120}" for n in range(150)))
    rows = [(f"{n}@shop.test", *["v"] * 150) for n in range(25)]
    sync.run([(email, *["w"] * 150) for email, *_ in rows], columns)
    export(sync, drop_columns=["attributes"])
    result = compare(sync, rows, columns, preview_fields=list(columns[1:]))
    assert result["comparison"]["not_compared"]["(others)"] == "135 more fields"
    assert len(json.dumps(result)) < 20_000


def test_fields_that_tell_who_somebody_is_are_not_shown(sync: Sync) -> None:
    for field in ("email", "user_id", "name"):
        with pytest.raises(ValueError, match=f"preview_fields names {field}, which identifies"):
            sync.plan(customers(1), preview_fields=[field])
    with pytest.raises(ValueError, match="preview_fields names 'nope', but no column is mapped to it"):
        sync.plan(customers(1), preview_fields=["nope"])


def test_nothing_is_sent_when_the_export_cannot_be_compared_with(sync: Sync) -> None:
    with pytest.raises(ValueError, match="compare_with is not the path of an export of users"):
        compare(sync, customers(3), dry=False)
    assert sync.writes() == 0


def test_a_contact_deleted_since_the_export_is_sent_when_its_row_returns(
    sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = customers(2)
    sync.run(rows)
    export(sync)
    monkeypatch.setattr(apply, "time", time)  # what follows comes after the export
    sync.run(rows[:1], on_vanished="delete", max_vanished=1.0)
    result = sync.run(rows, export=sync.path / "export", skip_equal=True)
    assert (result["sent"], result["unchanged"]) == (1, 1)
    assert len(sync.emulator.store.truth("users")) == 2
