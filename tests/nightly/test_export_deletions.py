import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from nights import export, increment, newest, versions

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import (
    ExportGuardError,
    UnprovenError,
    deletions,
    export_contacts,
    read_contacts,
    read_deletions,
)
from airflow_provider_customerly.storage import CommitConflictError, Location

pytestmark = pytest.mark.slow_on_s3


def deleted(path: Any, contact_type: str = "users") -> list[int]:
    ids = read_deletions(path, contact_type).to_table(columns=["crmhero_user_id"])[0].to_pylist()
    return sorted(ids)


def ids_of(emulator: Emulator, contact_type: str = "users") -> list[int]:
    return sorted(emulator.store.versions(contact_type))


def test_deleted_contacts_are_found_and_confirmed(location: Location) -> None:
    with Emulator(users=400, leads=10) as emulator:
        export(emulator, location, "2026-11-22")
        assert deleted(location) == []
        gone = ids_of(emulator)[::20]
        for contact_id in gone:
            emulator.store.delete("users", contact_id)
        last_seen = newest(location).finished_at
        result = export(emulator, location, "2026-11-23")
    assert result["deletions"] == {"deleted": 20}
    assert deleted(location) == gone
    assert {row["last_seen"] for row in read_deletions(location, "users").to_table().to_pylist()} == {
        last_seen
    }
    names = list(location.join("users_deleted").list())
    assert [name.split("/")[0] for name in names] == ["snapshot_date=2026-11-23"]
    assert [entry.path for entry in newest(location).deleted] == names


def test_changes_alone_tell_no_deletions_and_the_next_whole_list_does(location: Location) -> None:
    with Emulator(users=300, leads=10) as emulator:
        increment(emulator, location, "2026-11-20")
        emulator.store.upsert("users", [{"email": "short@lived.test"}])
        new = max(ids_of(emulator))
        increment(emulator, location, "2026-11-21")
        gone = [ids_of(emulator)[5], new]
        for contact_id in gone:
            emulator.store.delete("users", contact_id)
        assert increment(emulator, location, "2026-11-22")["deletions"] == {}
        assert deleted(location) == []
        increment(emulator, location, "2026-11-23", full_refresh=True)
        assert versions(location) == emulator.store.versions("users")
    assert deleted(location) == sorted(gone)


def test_a_lead_that_became_a_user_is_not_deleted(location: Location) -> None:
    with Emulator(users=10, leads=200) as emulator:
        export(emulator, location, "2026-11-22", contact_type="leads")
        leads = emulator.store.truth("leads")
        known = [key for key in sorted(leads) if leads[key]["email"]]
        nameless = [key for key in sorted(leads) if not leads[key]["email"]]
        emulator.store.upsert("users", [{"email": leads[key]["email"]} for key in known[:5]])
        for contact_id in [*known[5:8], *nameless[:2]]:
            emulator.store.delete("leads", contact_id)
        result = export(emulator, location, "2026-11-23", contact_type="leads")
    assert result["deletions"] == {"became_user": 5, "deleted": 3, "unconfirmed": 2}
    assert deleted(location, "leads") == known[5:8]


def test_an_email_that_somebody_else_has_now_does_not_hide_a_deletion(location: Location) -> None:
    with Emulator(users=50, leads=10) as emulator:
        export(emulator, location, "2026-11-22")
        contact_id, record = next(iter(emulator.store.truth("users").items()))
        emulator.store.delete("users", contact_id)
        emulator.store.upsert("users", [{"email": record["email"]}])
        assert export(emulator, location, "2026-11-23")["deletions"] == {"deleted": 1}
    assert deleted(location) == [contact_id]


def test_what_a_look_up_still_finds_is_not_deleted(location: Location) -> None:
    with Emulator(users=50, leads=10) as emulator:
        export(emulator, location, "2026-11-22")
        record = next(iter(emulator.store.truth("users").values()))
        # The list leaves out what the single look-up knows: here, because it is among the leads for a moment.
        emulator.store.insert_raw("leads", record)
        page = emulator.store.find
        emulator.store.find = lambda kind, **by: page(  # type: ignore[method-assign]
            "leads" if by.get("email") == record["email"] else kind, **by
        )
        emulator.store.details = lambda kind, key: (  # type: ignore[method-assign]
            emulator.store.get("users", key) or emulator.store.get("leads", key)
        )
        assert export(emulator, location, "2026-11-23")["deletions"] == {"still_there": 1}
    assert deleted(location) == []


@pytest.mark.parametrize(
    "columns",
    [
        {"drop_columns": ["email", "user_id"]},
        {"hash_columns": ["email", "user_id"], "hash_salt": "pepper"},
    ],
)
def test_nothing_is_looked_up_by_what_is_not_known(location: Location, columns: dict[str, Any]) -> None:
    with Emulator(users=50, leads=10) as emulator:
        export(emulator, location, "2026-11-22", **columns)
        emulator.store.delete("users", ids_of(emulator)[0])
        assert export(emulator, location, "2026-11-23", **columns)["deletions"] == {"unconfirmed": 1}
        emulator.store.delete("users", ids_of(emulator)[0])
        # Now in clear; what the last export holds is no email yet.
        assert export(emulator, location, "2026-11-24")["deletions"] == {"unconfirmed": 1}
    assert deleted(location) == []


def test_an_unproven_export_tells_no_deletions(location: Location) -> None:
    with Emulator(users=300, leads=10) as emulator:
        export(emulator, location, "2026-11-22")
        emulator.store.delete("users", ids_of(emulator)[0])
        page = emulator.store.page
        emulator.store.page = lambda *of: page(*of[:3], "last_update", "desc")  # type: ignore[method-assign]
        result = export(emulator, location, "2026-11-23", on_unproven="warn")
        assert (result["verdict"], result["deletions"]) == ("unproven", {})
    assert deleted(location) == []


@pytest.mark.usefixtures("empty_at_once")
def test_a_list_that_came_back_empty_by_mistake_is_not_believed(location: Location) -> None:
    with Emulator(users=300, leads=10) as emulator:
        export(emulator, location, "2026-11-22")
        before = newest(location)
        emulator.faults.plan(["empty"] * 3)
        with pytest.raises(UnprovenError, match="a look-up finds 300 contacts that are not in the list"):
            export(emulator, location, "2026-11-23")
        assert newest(location) == before
        emulator.faults.plan(["empty"] * 3)
        result = export(emulator, location, "2026-11-23", on_unproven="warn")
        assert (result["verdict"], result["rows"], result["deletions"]) == ("unproven", 0, {})
        assert export(emulator, location, "2026-11-24")["verdict"] == "complete"
    assert deleted(location) == []


def test_a_day_run_again_keeps_the_deletions_it_told(location: Location) -> None:
    with Emulator(users=100, leads=10) as emulator:
        export(emulator, location, "2026-11-22")
        one, two = ids_of(emulator)[:2]
        emulator.store.delete("users", one)
        export(emulator, location, "2026-11-23")
        emulator.store.delete("users", two)
        export(emulator, location, "2026-11-23")
        export(emulator, location, "2026-11-23")
    assert deleted(location) == [one, two]


def test_a_day_run_again_keeps_them_though_it_is_not_proven(location: Location) -> None:
    with Emulator(users=100, leads=10) as emulator:
        export(emulator, location, "2026-11-22")
        gone = ids_of(emulator)[0]
        emulator.store.delete("users", gone)
        export(emulator, location, "2026-11-23")
        page = emulator.store.page
        emulator.store.page = lambda *of: page(*of[:3], "last_update", "desc")  # type: ignore[method-assign]
        assert export(emulator, location, "2026-11-23", on_unproven="warn")["verdict"] == "unproven"
    assert deleted(location) == [gone]


def test_too_many_vanished_contacts_stop_an_export_before_any_look_up(location: Location) -> None:
    with Emulator(users=200, leads=10) as emulator:
        export(emulator, location, "2026-11-22")
        for contact_id in ids_of(emulator)[:50]:
            emulator.store.delete("users", contact_id)
        emulator.store.upsert("users", [{"email": f"{n}@new.test"} for n in range(50)])
        with pytest.raises(ExportGuardError, match=r"50 of 200 known contacts .* max_vanished=0\.2"):
            export(emulator, location, "2026-11-23", max_vanished=0.2, max_shrink=0.1)
        assert "GET /users" not in emulator.stats()["by_request"]
        assert read_contacts(location, "users").count_rows() == 200
        assert export(emulator, location, "2026-11-23", max_vanished=0.25)["deletions"] == {"deleted": 50}


def test_a_look_up_that_fails_leaves_its_contact_to_the_next_full_read(location: Location) -> None:
    with Emulator(users=200, leads=10) as emulator:
        export(emulator, location, "2026-11-22")
        gone = ids_of(emulator)[:2]
        for contact_id in gone:
            emulator.store.delete("users", contact_id)
        with emulator_that_fails_to_look_up(emulator):
            result = export(emulator, location, "2026-11-23", retry_budget=0, keep_manifests=1)
            assert (result["verdict"], result["deletions"]) == ("complete", {"unconfirmed": 2})
            assert increment(emulator, location, "2026-11-24", keep_manifests=1)["deletions"] == {}
        assert deleted(location) == []
        assert export(emulator, location, "2026-11-25", keep_manifests=1)["deletions"] == {"deleted": 2}
        assert deleted(location) == gone
        assert export(emulator, location, "2026-11-26", keep_manifests=1)["deletions"] == {}


def test_a_look_up_that_finds_nobody_says_nothing(location: Location) -> None:
    with Emulator(users=200, leads=10) as emulator:
        export(emulator, location, "2026-11-22")
        gone = ids_of(emulator)[:3]
        for contact_id in gone:
            emulator.store.delete("users", contact_id)
        find = emulator.store.find
        emulator.store.find = lambda *args, **by: None  # type: ignore[method-assign]
        assert export(emulator, location, "2026-11-23")["deletions"] == {"unconfirmed": 3}
        assert deleted(location) == []
        emulator.store.find = find  # type: ignore[method-assign]
        assert export(emulator, location, "2026-11-24")["deletions"] == {"deleted": 3}
    assert deleted(location) == gone


@contextlib.contextmanager
def emulator_that_fails_to_look_up(emulator: Emulator) -> Iterator[None]:
    find = emulator.store.find

    def fail(*args: Any, **by: Any) -> Any:
        raise RuntimeError("the look-up breaks at this contact")

    emulator.store.find = fail  # type: ignore[method-assign]
    yield
    emulator.store.find = find  # type: ignore[method-assign]


def test_a_contact_deleted_before_an_unproven_export_is_found_by_the_next_proven_one(
    location: Location,
) -> None:
    with Emulator(users=300, leads=0) as emulator:
        export(emulator, location, "2026-11-22")
        gone = ids_of(emulator)[7]
        emulator.store.delete("users", gone)
        page = emulator.store.page
        emulator.store.page = lambda *of: page(*of[:3], "last_update", "desc")  # type: ignore[method-assign]
        assert export(emulator, location, "2026-11-23", on_unproven="warn")["verdict"] == "unproven"
        emulator.store.page = page  # type: ignore[method-assign]
        assert export(emulator, location, "2026-11-24", keep_manifests=1)["deletions"] == {"deleted": 1}
        assert deleted(location) == [gone]
        assert export(emulator, location, "2026-11-25")["deletions"] == {}


def test_what_an_export_that_stays_has_told_is_not_told_again(location: Location) -> None:
    with Emulator(users=100, leads=10) as emulator:
        increment(emulator, location)
        gone = ids_of(emulator)[0]
        emulator.store.delete("users", gone)
        increment(emulator, location, full_refresh=True)
        increment(emulator, location, owner="a run that adds to it")
        for owner in ("another", "one more"):
            increment(emulator, location, full_refresh=True, owner=owner)
            assert deleted(location) == [gone]


def test_a_lead_that_became_a_user_and_changed_its_email_lives_on(location: Location) -> None:
    with Emulator(users=10, leads=100) as emulator:
        export(emulator, location, "2026-11-22", contact_type="leads")
        leads = emulator.store.truth("leads")
        moved = next(key for key in sorted(leads) if leads[key]["email"])
        emulator.store.upsert("users", [{"email": leads[moved]["email"], "user_id": "u-1"}])
        emulator.store.update("users", moved, {"email": "moved@new.test"})
        assert moved in ids_of(emulator)
        export(emulator, location, "2026-11-23")
        result = export(emulator, location, "2026-11-23", contact_type="leads")
    assert result["deletions"] == {"became_user": 1}
    assert deleted(location, "leads") == []


def test_a_large_list_may_lose_a_tenth_and_each_is_looked_up(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletions, "_MOST_LOOKUPS", 5)
    with Emulator(users=300, leads=10) as emulator:
        export(emulator, location, "2026-11-21")
        for day, count, told in ((22, 30, {"deleted": 30}), (23, 28, {"unconfirmed": 28})):
            for contact_id in ids_of(emulator)[:count]:
                emulator.store.delete("users", contact_id)
            assert export(emulator, location, f"2026-11-{day}")["deletions"] == told


def test_changes_read_while_another_run_committed_bring_no_deleted_contact_back(location: Location) -> None:
    with Emulator(users=300, leads=10) as emulator:
        increment(emulator, location, "2026-11-22", owner="first")
        gone = ids_of(emulator)[:3]
        for contact_id in gone:
            emulator.store.delete("users", contact_id)
        with Client(emulator.token, emulator.url) as client:
            fetch = client.fetch_page

            def be_overtaken(*args: Any, **options: Any) -> Any:
                client.fetch_page = fetch  # type: ignore[method-assign]
                increment(emulator, location, owner="other", full_refresh=True)
                return fetch(*args, **options)

            client.fetch_page = be_overtaken  # type: ignore[method-assign]
            with pytest.raises(CommitConflictError, match="Another run committed"):
                export_contacts(
                    client, location, "users", mode="incremental", snapshot_date="2026-11-23", owner="late"
                )
        assert (deleted(location), versions(location)) == (gone, emulator.store.versions("users"))
        increment(emulator, location, owner="late")
        assert (deleted(location), versions(location)) == (gone, emulator.store.versions("users"))
