"""What a run changed is put back, and what cannot be is told."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow.parquet as pq
import pytest
from sync_helpers import as_of_an_older_version
from sync_process import Job, Kill, Rows, start
from test_sync_lost_answers import run as run_and_lose

from airflow_provider_customerly.client import Client, CustomerlyUnavailable
from airflow_provider_customerly.export import export_snapshot
from airflow_provider_customerly.storage import Location
from airflow_provider_customerly.sync import Options, SyncGuardError, apply
from airflow_provider_customerly.sync.journal import Page
from airflow_provider_customerly.sync.ledger import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sync_helpers import Sync

pytestmark = pytest.mark.emulator(users=0, leads=3)

COLUMNS = ("email", "name", "plan", "seats", "trial")
FIELDS = ("attributes.plan", "attributes.seats", "attributes.trial")


@pytest.fixture(autouse=True)
def delivered_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliver by a clock that is behind: what was delivered before an export was so some time before."""
    behind = SimpleNamespace(time=lambda: time.time() - 120, monotonic=time.monotonic)
    monkeypatch.setattr(apply, "time", behind)


def export(sync: Sync) -> None:
    with Client(sync.emulator.token, sync.emulator.url) as client:
        export_snapshot(client, Location.of(sync.path / "export"), "users", snapshot_date="2026-11-23")


def table(count: int) -> list[tuple[Any, ...]]:
    return [(f"c{n}@shop.test", f"Customer {n}", ("free", "pro")[n % 2], n, n % 3 == 0) for n in range(count)]


def other(rows: Sequence[tuple[Any, ...]], count: int) -> list[tuple[Any, ...]]:
    """Change three fields of some rows."""
    new = [(e, n, "gold", s + 1_000, not t) for e, n, _, s, t in rows[:count]]
    return [*new, *rows[count:]]


def truth(sync: Sync) -> dict[str, dict[str, Any]]:
    """What Customerly holds, by email, but for the stamp of the last change."""
    held = sync.emulator.store.truth("users").values()
    return {one["email"]: {k: v for k, v in one.items() if k != "last_update"} for one in held}


def edit(sync: Sync, email: str, **attributes: Any) -> None:
    contact_id = sync.emulator.store.find("users", email=email)
    assert contact_id is not None
    sync.emulator.store.add_attributes("users", contact_id, attributes)


def run_of(result: dict[str, Any]) -> str:
    return Path(result["undo"]).stem


def delivered(sync: Sync, rows: Sequence[Any], changed: Sequence[Any]) -> dict[str, Any]:
    sync.run(rows, COLUMNS)
    export(sync)
    return sync.run(changed, COLUMNS, export=sync.path / "export")


def test_500_rows_changed_in_three_fields_hold_what_they_held(sync: Sync) -> None:
    rows = table(600)
    sync.run(rows, COLUMNS)
    before = truth(sync)
    export(sync)
    plan = sync.plan(other(rows, 500), COLUMNS, export=sync.path / "export")
    result = sync.apply(plan["plan"])
    assert (result["sent"], run_of(result)) == (500, Path(result["record"]).stem)
    undo = sync.plan_undo(run_of(result))
    assert (undo["undoes"], undo["changed"], undo["rows_read"]) == (run_of(result), 500, 500)
    assert undo["cannot_undo"] == {"created": 0, "deleted": 0, "tags": 0, "empty": 0}
    assert truth(sync) != before
    undone = sync.apply(undo["plan"])
    assert (undone["sent"], undone["undoes"]) == (500, run_of(result))
    assert truth(sync) == before
    assert sync.run(rows, COLUMNS)["unchanged"] == 600, "the ledger knows what was put back"
    assert sync.plan(other(rows, 500), COLUMNS)["changed"] == 500


@pytest.mark.parametrize("on_edited", ["overwrite", "keep", "reject"])
def test_what_people_edited_since_is_told_apart(sync: Sync, on_edited: str) -> None:
    rows = table(120)
    sync.run(rows, COLUMNS)
    before = truth(sync)
    export(sync)
    result = sync.run(other(rows, 100), COLUMNS, export=sync.path / "export")
    for email, *_ in rows[:20]:
        edit(sync, email, plan="edited")
    edited = truth(sync)
    export(sync)
    options = {"on_edited": on_edited, "export": sync.path / "export", "max_rejects": 20}
    plan = sync.plan_undo(run_of(result), **options)
    comparison = plan["comparison"]
    assert (comparison["edited_in_customerly"], comparison["edited_fields"]) == (20, {FIELDS[0]: 20})
    undone = sync.apply(plan["plan"], max_rejects=20)
    now = truth(sync)
    untouched = [email for email, *_ in rows[20:]]
    assert {email: now[email] for email in untouched} == {email: before[email] for email in untouched}
    for email, *_ in rows[:20]:
        if on_edited == "overwrite":
            assert now[email] == before[email]
        elif on_edited == "keep":
            kept = {**before[email]["attributes"], "plan": "edited"}
            assert now[email] == {**before[email], "attributes": kept}
        else:
            assert now[email] == edited[email]
    figures = {"overwrite": (100, 0), "keep": (100, 0), "reject": (80, 20)}
    assert (undone["sent"], undone["invalid"]) == figures[on_edited]


@pytest.fixture
def cut_short(sync: Sync) -> tuple[str, dict[str, dict[str, Any]]]:
    """Apply a plan until an outage stops it; return the plan, and what Customerly held before."""
    rows = table(300)
    sync.run(rows, COLUMNS)
    before = truth(sync)
    export(sync)
    plan: str = sync.plan(other(rows, 300), COLUMNS, export=sync.path / "export")["plan"]
    with sync.outage(after=2):
        sync.apply(plan)
    return plan, before


def test_a_plan_that_was_cut_short_is_undone_as_far_as_it_came(
    sync: Sync, cut_short: tuple[str, dict[str, dict[str, Any]]]
) -> None:
    _, before = cut_short
    [name] = (sync.state / "undo").iterdir()
    changed = {email for email, one in truth(sync).items() if one != before[email]}
    assert {row["email"] for row in pq.read_table(name).to_pylist()} == changed
    assert sync.undo(name.stem)["sent"] == len(changed)
    assert truth(sync) == before


def test_the_last_try_of_a_plan_covers_the_earlier_ones(
    sync: Sync, cut_short: tuple[str, dict[str, dict[str, Any]]]
) -> None:
    plan, before = cut_short
    result = sync.apply(plan)
    assert sync.undo(run_of(result))["sent"] == 300
    assert truth(sync) == before


@pytest.mark.parametrize("n", [1, 2])
def test_a_killed_run_is_undone_as_far_as_it_came(sync: Sync, n: int) -> None:
    rows = table(300)
    sync.run(rows, COLUMNS)
    before = truth(sync)
    export(sync)
    job = Job(
        sync.emulator.url,
        sync.emulator.token,
        str(sync.path),
        Rows(COLUMNS, other(rows, 300)),
        Options(),
        Kill("os.rename journal", n),
        export=str(sync.path / "export"),
    )
    assert start(job).result() is None
    pages = [
        msgspec.json.decode(page.read_bytes(), type=Page) for page in (sync.state / "journal").glob("2*.json")
    ]
    journaled = sum(int((page.entries["status"] == Status.DELIVERED).sum()) for page in pages)
    assert sync.run(rows[:0], COLUMNS, min_rows=0, max_vanished=1.0)["rows_read"] == 0
    names = list((sync.state / "undo").iterdir()) if (sync.state / "undo").is_dir() else []
    kept = [row["email"] for name in names for row in pq.read_table(name).to_pylist()]
    assert len(kept) == journaled
    changed = {email for email, one in truth(sync).items() if one != before[email]}
    assert set(kept) <= changed, "only what was delivered"
    assert len(names) == (journaled > 0)
    for name in names:
        assert sync.undo(name.stem)["sent"] == journaled
    after = truth(sync)
    assert all(after[email] == before[email] for email in kept)


def test_what_cannot_be_put_back_is_told(sync: Sync) -> None:
    rows: list[tuple[Any, ...]] = [
        ("a@shop.test", "A", "free", None, None),
        ("b@shop.test", "B", "free", 2, True),
        ("gone@shop.test", "C", "free", 3, True),
    ]
    sync.run(rows, COLUMNS)
    export(sync)
    rows = [
        ("a@shop.test", "A", "gold", 7, None),
        ("b@shop.test", "B", "free", 2, True),
        ("new@shop.test", "N", "free", 1, True),
    ]
    result = sync.run(
        rows,
        COLUMNS,
        export=sync.path / "export",
        tags=["customer"],
        on_vanished="delete",
        max_vanished=1.0,
    )
    undo = sync.plan_undo(run_of(result))
    assert undo["cannot_undo"] == {"created": 1, "deleted": 1, "tags": 2, "empty": 1}
    assert (undo["changed"], undo["unchanged"]) == (1, 2)
    sync.apply(undo["plan"])
    held = truth(sync)
    assert held["a@shop.test"]["attributes"] == {"plan": "free", "seats": 7}
    assert set(held) == {"a@shop.test", "b@shop.test", "new@shop.test"}


def delivered_again(sync: Sync) -> dict[str, Any]:
    """Change five contacts, then the plan of the first once more; give the result of the first change."""
    rows = table(5)
    first = delivered(sync, rows, other(rows, 5))
    later = other(rows, 5)
    later[0] = (*later[0][:2], "silver", *later[0][3:])
    sync.run(later, COLUMNS)
    return first


def test_a_later_delivery_counts_as_an_edit(sync: Sync) -> None:
    first = delivered_again(sync)
    result = sync.undo(run_of(first))
    assert result["sent"] == 5
    assert sync.contact("c0@shop.test")["attributes"]["plan"] == "free"
    plan = pq.read_table(sync.state / sync.plan_undo(run_of(first))["plan"]).to_pylist()
    assert {row["email"]: row["edited_fields"] for row in plan}["c0@shop.test"] == list(FIELDS)


def test_a_later_delivery_counts_as_an_edit_where_the_ledger_tells_no_fields(sync: Sync) -> None:
    first = delivered_again(sync)
    as_of_an_older_version(sync.state / "ledger")
    plan = pq.read_table(sync.state / sync.plan_undo(run_of(first))["plan"]).to_pylist()
    assert [row["edited_fields"] for row in plan] == [list(FIELDS), [], [], [], []]


def test_an_undo_can_be_undone(sync: Sync) -> None:
    rows = table(5)
    first = delivered(sync, rows, other(rows, 5))
    after = truth(sync)
    undone = sync.undo(run_of(first))
    assert truth(sync) != after
    sync.undo(run_of(undone))
    assert truth(sync) == after


def test_a_run_without_a_comparison_cannot_be_undone(sync: Sync) -> None:
    result = sync.run(table(5), COLUMNS)
    assert "undo" not in result
    with pytest.raises(ValueError, match=r"There is nothing to undo for run .* No run here can be undone\."):
        sync.plan_undo(Path(result["record"]).stem)


def test_an_export_from_before_the_run_does_not_show_what_was_edited_since(
    sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "time", time)
    rows = table(5)
    first = delivered(sync, rows, other(rows, 5))
    with pytest.raises(ValueError, match="does not show later edits"):
        sync.plan_undo(run_of(first), export=sync.path / "export")


def test_guards_hold_for_an_undo(sync: Sync) -> None:
    rows = table(5)
    first = delivered(sync, rows, other(rows, 5))
    with pytest.raises(SyncGuardError, match="max_changes=1"):
        sync.undo(run_of(first), max_changes=1, min_rows=1_000)
    assert sync.writes() == 0


def test_old_undo_files_are_removed(sync: Sync) -> None:
    rows = table(5)
    first = delivered(sync, rows, other(rows, 5))
    sync.run(rows, COLUMNS, keep_days=0)
    assert not (sync.state / first["undo"]).exists()


def test_a_contact_whose_email_was_kept_is_found_again(sync: Sync) -> None:
    columns = ("email", "user_id", "plan")
    sync.run([("old@shop.test", "u-1", "free")], columns)
    contact_id = sync.emulator.store.find("users", user_id="u-1")
    assert contact_id is not None
    sync.emulator.store.update("users", contact_id, {"email": "edited@shop.test"})
    export(sync)
    before = truth(sync)
    changed = [("old@shop.test", "u-1", "gold")]
    result = sync.run(changed, columns, export=sync.path / "export", on_edited="keep")
    assert result["comparison"]["edited_fields"] == {"email": 1}
    assert sync.contact("edited@shop.test")["attributes"]["plan"] == "gold"
    sync.undo(run_of(result))
    assert truth(sync) == before


SHORT = ("email", "plan", "seats")


def undo(sync: Sync, result: dict[str, Any], **options: Any) -> dict[str, Any]:
    return sync.undo(run_of(result), **options)


@pytest.mark.parametrize("lost", [None, "GET", "DELETE"])
@pytest.mark.parametrize("has_export", [False, True])
def test_a_contact_deleted_since_is_not_made_anew(sync: Sync, *, has_export: bool, lost: str | None) -> None:
    rows = [("a@shop.test", "old", 1), ("b@shop.test", "old", 2)]
    sync.run(rows, SHORT)
    export(sync)
    changed = sync.run([(e, "new", n) for e, _, n in rows], SHORT, export=sync.path / "export")
    left, deleting = [("a@shop.test", "new", 1)], {"on_vanished": "delete", "max_vanished": 1.0}
    if lost is None:
        sync.run(left, SHORT, **deleting)
    else:
        with pytest.raises(CustomerlyUnavailable):
            run_and_lose(sync.emulator, sync, left, lost, columns=SHORT, **deleting)
    is_deleted = lost != "GET"
    assert set(truth(sync)) == {"a@shop.test"} if is_deleted else {"a@shop.test", "b@shop.test"}
    options: dict[str, Any] = {}
    if has_export:
        export(sync)
        options = {"export": sync.path / "export", "on_edited": "overwrite"}
    undone = undo(sync, changed, **options)
    plans = {email: one["attributes"]["plan"] for email, one in truth(sync).items()}
    assert plans.pop("a@shop.test") == "old"
    # Without an export nobody knows whether it is still there.
    is_undone = has_export and not is_deleted
    assert undone["cannot_undo"]["deleted"] == (0 if is_undone else 1)
    assert plans == ({} if is_deleted else {"b@shop.test": "old" if is_undone else "new"})


def test_a_later_delivery_counts_as_an_edit_of_a_contact_that_was_to_be_removed(sync: Sync) -> None:
    rows = [("a@shop.test", "old", 1), ("b@shop.test", "old", 2)]
    sync.run(rows, SHORT)
    export(sync)
    first = sync.run([(email, "new", n) for email, _, n in rows], SHORT, export=sync.path / "export")
    export(sync)
    sync.run([(email, "newest", n) for email, _, n in rows], SHORT)
    left, deleting = [("a@shop.test", "newest", 1)], {"on_vanished": "delete", "max_vanished": 1.0}
    with pytest.raises(CustomerlyUnavailable):
        run_and_lose(sync.emulator, sync, left, "GET", columns=SHORT, **deleting)
    undo(sync, first, export=sync.path / "export", on_edited="keep")
    assert {one["attributes"]["plan"] for one in truth(sync).values()} == {"newest"}
    # It is as much on its way out as before, and sent in full if its row comes back.
    undo(sync, first, export=sync.path / "export", on_edited="overwrite")
    again = sync.run([(email, "newest", n) for email, _, n in rows], SHORT)
    assert again["sent"] == 2
    assert {one["attributes"]["plan"] for one in truth(sync).values()} == {"newest"}


def test_undoing_an_older_run_leaves_what_a_later_one_delivered_known(sync: Sync) -> None:
    sync.run([("a@shop.test", "old", 1)], SHORT)
    export(sync)
    first = sync.run([("a@shop.test", "new", 1)], SHORT, export=sync.path / "export")
    sync.run([("a@shop.test", "new", 2)], SHORT)
    undo(sync, first)
    assert truth(sync)["a@shop.test"]["attributes"] == {"plan": "old", "seats": 2}
    assert sync.run([("a@shop.test", "old", 1)], SHORT)["sent"] == 1
    assert truth(sync)["a@shop.test"]["attributes"] == {"plan": "old", "seats": 1}


@pytest.mark.parametrize("is_sealed", [False, True])
def test_an_undo_sends_the_same_by_a_plan_and_directly(sync: Sync, *, is_sealed: bool) -> None:
    sync.run([("a@shop.test", "old", 1)], SHORT)
    export(sync)
    first = sync.run([("a@shop.test", "new", 1)], SHORT, export=sync.path / "export")
    sync.run([("a@shop.test", "old", 1)], SHORT)
    edit(sync, "a@shop.test", plan="by hand")
    result = sync.apply(sync.plan_undo(run_of(first))["plan"]) if is_sealed else undo(sync, first)
    assert result["sent"] == 1


def test_a_damaged_undo_file_of_another_run_stops_no_sync(sync: Sync) -> None:
    rows = [("a@shop.test", "old", 1)]
    sync.run(rows, SHORT)
    export(sync)
    first = sync.run([("a@shop.test", "n1", 1)], SHORT, export=sync.path / "export")
    file = sync.state / first["undo"]
    file.write_bytes(file.read_bytes()[:40])
    planned = sync.plan([("a@shop.test", "n2", 1)], SHORT, export=sync.path / "export")
    assert sync.apply(planned["plan"])["sent"] == 1
    assert sync.run([("a@shop.test", "n3", 1)], SHORT)["sent"] == 1


def compared_twice(sync: Sync, columns: tuple[str, ...], first: Any, second: Any, **options: Any) -> str:
    """Deliver a row, and then change it; return the run to undo."""
    sync.run([first], columns, **options)
    export(sync)
    return run_of(sync.run([second], columns, export=sync.path / "export", **options))


@pytest.mark.parametrize("has_export", [False, True])
def test_a_value_sent_without_an_answer_is_no_edit_after_an_undo(sync: Sync, *, has_export: bool) -> None:
    undone = compared_twice(sync, SHORT, ("a@shop.test", "old", 1), ("a@shop.test", "new", 1))
    with pytest.raises(CustomerlyUnavailable):
        run_and_lose(sync.emulator, sync, [("a@shop.test", "new", 2)], "POST", columns=SHORT)
    options: dict[str, Any] = {}
    if has_export:
        export(sync)
        options = {"export": sync.path / "export", "on_edited": "overwrite"}
    sync.undo(undone, **options)
    export(sync)
    result = sync.run([("a@shop.test", "old", 3)], SHORT, export=sync.path / "export", on_edited="keep")
    assert result["comparison"]["edited_in_customerly"] == 0
    assert truth(sync)["a@shop.test"]["attributes"] == {"plan": "old", "seats": 3}


@pytest.mark.parametrize("lost", [None, "POST"])
def test_tags_that_were_removed_are_sent_again_after_an_undo(sync: Sync, lost: str | None) -> None:
    tags: dict[str, Any] = {"tags": ["customer"]}
    row = ("a@shop.test", "old", 1)
    undone = compared_twice(sync, SHORT, row, ("a@shop.test", "new", 1), **tags)
    leaving = {"min_rows": 0, "max_vanished": 1.0, "on_vanished": "untag", **tags}
    if lost is None:
        sync.run([], SHORT, **leaving)
    else:
        with pytest.raises(CustomerlyUnavailable):
            run_and_lose(sync.emulator, sync, [], lost, columns=SHORT, **leaving)
    contact_id = sync.emulator.store.find("users", email=row[0])
    assert sync.emulator.store.tags_of(contact_id) == []
    export(sync)
    sync.undo(undone, export=sync.path / "export", on_edited="overwrite")
    export(sync)
    sync.run([row], SHORT, export=sync.path / "export", skip_equal=True, **tags)
    assert sync.emulator.store.tags_of(contact_id) == ["customer"]


@pytest.mark.parametrize("lost", [None, "DELETE"])
def test_a_contact_deleted_after_the_export_is_not_made_anew(
    sync: Sync, monkeypatch: pytest.MonkeyPatch, lost: str | None
) -> None:
    undone = compared_twice(sync, SHORT, ("a@shop.test", "old", 1), ("a@shop.test", "new", 1))
    export(sync)
    monkeypatch.setattr(apply, "time", time)
    leaving = {"min_rows": 0, "max_vanished": 1.0, "on_vanished": "delete"}
    if lost is None:
        sync.run([], SHORT, **leaving)
    else:
        with pytest.raises(CustomerlyUnavailable):
            run_and_lose(sync.emulator, sync, [], lost, columns=SHORT, **leaving)
    result = sync.undo(undone, export=sync.path / "export")
    assert result["cannot_undo"]["deleted"] == 1
    assert truth(sync) == {}


def test_a_contact_with_another_email_since_is_the_one_that_is_put_back(sync: Sync) -> None:
    columns = ("email", "user_id", "plan")
    undone = compared_twice(sync, columns, ("a@shop.test", "u1", "old"), ("a@shop.test", "u1", "new"))
    contact_id = sync.emulator.store.find("users", email="a@shop.test")
    assert contact_id is not None
    sync.emulator.store.update("users", contact_id, {"email": "edited@shop.test"})
    export(sync)
    assert sync.undo(undone, export=sync.path / "export", on_edited="keep")["sent"] == 1
    plans = {email: one["attributes"]["plan"] for email, one in truth(sync).items()}
    assert plans == {"edited@shop.test": "old"}


def test_a_killed_run_that_keeps_vanished_contacts_stops_no_undo(sync: Sync) -> None:
    rows = [("a@shop.test", "old", 1), ("b@shop.test", "old", 2)]
    sync.run(rows, SHORT)
    export(sync)
    changed = sync.run([(email, "new", n) for email, _, n in rows], SHORT, export=sync.path / "export")
    job = Job(
        sync.emulator.url,
        sync.emulator.token,
        str(sync.path),
        Rows(SHORT, [("a@shop.test", "newer", 1)]),
        Options(max_vanished=1.0),
        Kill("os.rename journal", 1),
    )
    assert start(job).result() is None
    assert undo(sync, changed)["cannot_undo"]["deleted"] == 0
    assert truth(sync)["b@shop.test"]["attributes"]["plan"] == "old"
