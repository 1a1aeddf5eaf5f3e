import random
from datetime import datetime, timedelta, timezone
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from nights import export, increment, newest, versions

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import contact_schema, read_contacts
from airflow_provider_customerly.storage import Dataset, Location, RefusedError


def change(emulator: Emulator, count: int, seed: int = 1) -> set[int]:
    """Update some users and give their ids."""
    ids = random.Random(seed).sample(sorted(emulator.store.versions("users")), count)
    for contact_id in ids:
        emulator.store.update("users", contact_id, {"name": f"Changed {seed}"})
    return set(ids)


def test_changes_are_merged_into_the_table(location: Location) -> None:
    with Emulator(users=600, leads=10) as emulator:
        first = increment(emulator, location, "2026-11-22")
        assert (first["mode"], first["rows"]) == ("snapshot", 600)
        changed = change(emulator, 30)
        emulator.store.upsert("users", [{"email": "new@created.test"}])
        second = increment(emulator, location, "2026-11-23")
        assert (second["mode"], second["verdict"]) == ("incremental", "complete")
        assert (second["rows"], second["changes"]) == (601, {"new": 1, "changed": 30})
        assert versions(location) == emulator.store.versions("users")
        truth = emulator.store.truth("users")
    dataset = read_contacts(location, "users")
    assert isinstance(dataset, ds.Dataset)
    assert dataset.schema.equals(contact_schema("users"))
    assert dataset.count_rows() == 601
    rows = dataset.to_table(columns=["crmhero_user_id", "name"]).to_pylist()
    assert {row["crmhero_user_id"]: row["name"] for row in rows} == {
        key: record["name"] for key, record in truth.items()
    }
    new = dataset.to_table(columns=["crmhero_user_id"], filter=ds.field("name") == "Changed 1")
    assert set(new["crmhero_user_id"].to_pylist()) == changed
    counted = duckdb.sql("select count(*), count(distinct crmhero_user_id) from dataset").fetchall()
    assert counted == [(601, 601)]
    assert duckdb.sql("select count(*) from dataset where name = 'Changed 1'").fetchall() == [(30,)]
    folders = {name.split("/")[0] for name in location.join("users").list()}
    assert folders == {"snapshot_date=2026-11-22", "snapshot_date=2026-11-23", "_manifests"}


def test_two_runs_on_one_day_both_count(location: Location) -> None:
    with Emulator(users=300, leads=10) as emulator:
        increment(emulator, location)
        for seed, owner in ((1, "run at one"), (2, "run at two"), (3, "")):
            change(emulator, 10, seed)
            assert increment(emulator, location, owner=owner)["mode"] == "incremental"
            assert versions(location) == emulator.store.versions("users")
    parts = list(location.join("users").list("snapshot_date=2026-11-23"))
    assert parts == [entry.path for entry in newest(location).files]


@pytest.mark.slow
def test_few_requests_for_few_changes_among_many(location: Location) -> None:
    with Emulator(users=100_000, leads=0) as emulator:
        export(emulator, location)
        change(emulator, 200)
        before = emulator.stats()["requests"]
        result = increment(emulator, location)
        assert emulator.stats()["requests"] - before < 60
        assert result["requests"] < 60
        assert (result["rows"], result["changes"]) == (100_000, {"new": 0, "changed": 200})
        assert versions(location) == emulator.store.versions("users")
        change(emulator, 200, 2)
        # It knows how long the list is, not only how much was added to it.
        assert increment(emulator, location)["requests"] < result["requests"] + 20


@pytest.mark.parametrize("changed", [0, 5])
def test_a_list_that_hardly_moves_and_does_not_end_with_a_full_page(tmp_path: Any, changed: int) -> None:
    with Emulator(users=9_030, leads=0) as emulator:
        increment(emulator, tmp_path, "2026-11-22")
        change(emulator, changed)
        for day in (23, 24):
            result = increment(emulator, tmp_path, f"2026-11-{day}")
            assert (result["mode"], result["verdict"]) == ("incremental", "complete")
            assert result["requests"] < 60
        assert versions(tmp_path) == emulator.store.versions("users")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"full_refresh": True}, "full_refresh"),
        ({"full_refresh_every": "PT0S"}, "last one was at"),
        ({"full_refresh_every": timedelta(0)}, "last one was at"),
        ({"columns": ["email"]}, "columns"),
        ({"attributes": {"plan": "string"}}, "columns"),
        ({"hash_columns": ["email"], "hash_salt": "pepper"}, "columns"),
    ],
)
def test_the_whole_list_is_read_when_changes_are_not_enough(
    tmp_path: Any, caplog: pytest.LogCaptureFixture, options: dict[str, Any], why: str
) -> None:
    caplog.set_level("INFO")
    with Emulator(users=130, leads=10) as emulator:
        increment(emulator, tmp_path)
        assert increment(emulator, tmp_path, full_refresh_every="P7D")["mode"] == "incremental"
        caplog.clear()
        assert increment(emulator, tmp_path, **options)["mode"] == "snapshot"
        assert versions(tmp_path) == emulator.store.versions("users")
    assert why in caplog.text


@pytest.mark.parametrize("mode", ["snapshot", "incremental"])
def test_the_export_of_another_project_is_neither_merged_nor_compared_with(
    location: Location, mode: str
) -> None:
    with Emulator(users=130, leads=0, seed=1) as one, Emulator(users=130, leads=0, seed=2) as other:
        increment(one, location)
        told = f"was read from {one.url}, not from {other.url}. .* a separate path"
        with pytest.raises(ValueError, match=told):
            export(other, location, "2026-11-24", mode=mode)
        assert other.stats()["requests"] == 0
        assert versions(location) == one.store.versions("users")


def test_nothing_is_merged_into_a_table_that_was_not_proven_complete(
    tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with Emulator(users=300, leads=0) as emulator:
        page = emulator.store.page
        emulator.store.page = lambda *of: page(*of[:3], "last_update", "desc")  # type: ignore[method-assign]
        assert increment(emulator, tmp_path, on_unproven="warn")["verdict"] == "unproven"
        emulator.store.page = page  # type: ignore[method-assign]
        assert increment(emulator, tmp_path)["mode"] == "snapshot"
        assert "the last full refresh was not proven complete" in caplog.text
        assert increment(emulator, tmp_path)["mode"] == "incremental"


def test_another_salt_makes_other_hashes_everywhere(tmp_path: Any) -> None:
    with Emulator(users=130, leads=10) as emulator:
        hashed = {"hash_columns": ["email"]}
        increment(emulator, tmp_path, hash_salt="one", **hashed)
        assert increment(emulator, tmp_path, hash_salt="one", **hashed)["mode"] == "incremental"
        assert increment(emulator, tmp_path, hash_salt="two", **hashed)["mode"] == "snapshot"


def test_a_change_within_the_second_of_the_last_export_is_seen(tmp_path: Any) -> None:
    now = datetime(2026, 11, 23, 2, tzinfo=timezone.utc).timestamp()
    with Emulator(users=300, leads=10, clock=lambda: now) as emulator:
        ids = sorted(emulator.store.versions("users"))
        emulator.store.update("users", ids[0], {"name": "Before"})
        export(emulator, tmp_path)
        emulator.store.update("users", ids[0], {"name": "After"})
        emulator.store.update("users", ids[1], {"name": "Also"})
        increment(emulator, tmp_path)
    table = read_contacts(tmp_path, "users").to_table(columns=["crmhero_user_id", "name"])
    names = dict(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))
    assert (names[ids[0]], names[ids[1]], len(names)) == ("After", "Also", 300)


def test_no_changes_is_a_commit_too(tmp_path: Any) -> None:
    with Emulator(users=130, leads=10) as emulator:
        increment(emulator, tmp_path)
        watermark = newest(Location.of(tmp_path)).watermark
        for _ in range(3):
            assert increment(emulator, tmp_path)["mode"] == "incremental"
        assert newest(Location.of(tmp_path)).watermark == watermark
        assert versions(tmp_path) == emulator.store.versions("users")


def test_earlier_states_stay_readable(location: Location) -> None:
    with Emulator(users=200, leads=10) as emulator:
        states = []
        for night in range(4):
            change(emulator, 20, night)
            increment(emulator, location, f"2026-11-{20 + night}", full_refresh=night == 2)
            states.append((newest(location), dict(emulator.store.versions("users"))))
    for manifest, state in states:
        for as_of in (manifest.sequence, manifest.name, manifest.finished_at):
            assert versions(location, as_of=as_of) == state
    with pytest.raises(FileNotFoundError, match="no commit as of 99"):
        read_contacts(location, "users", as_of=99)


def test_a_run_without_changes_copies_the_files(location: Location) -> None:
    with Emulator(users=500, leads=0) as emulator:
        increment(emulator, location, "2026-11-22")
        change(emulator, 5)
        increment(emulator, location, "2026-11-23", row_group_size=100)
        before = newest(location)
        result = increment(emulator, location, "2026-11-24")
    after = newest(location)
    assert result["changes"] == {"new": 0, "changed": 0}
    assert [entry.sha256 for entry in after.files] == [entry.sha256 for entry in before.files]
    assert (after.low, after.high, after.rows) == (before.low, before.high, 500)


def test_a_day_that_is_over_is_not_exported_again(location: Location) -> None:
    with Emulator(users=150, leads=0) as emulator:
        for day in (22, 23):
            increment(emulator, location, f"2026-11-{day}")
            change(emulator, 5, day)
        before, sent = versions(location, as_of=1), emulator.stats()["requests"]
        with pytest.raises(
            RefusedError, match=r"2026-11-22 was already exported .* use as_of.* .* 2026-11-23, or a"
        ):
            export(emulator, location, "2026-11-22")
        assert (versions(location, as_of=1), emulator.stats()["requests"]) == (before, sent)
        assert export(emulator, location, "2026-11-20")["rows"] == 150  # a day that was missed


def test_old_commits_are_removed_when_asked_to(location: Location) -> None:
    with Emulator(users=150, leads=10) as emulator:
        for night in range(6):
            change(emulator, 5, night)
            day = f"2026-11-{20 + night}"
            increment(emulator, location, day, full_refresh=night == 3, keep_manifests=2)
            assert versions(location) == emulator.store.versions("users")
    assert [one.sequence for one in Dataset(location.join("users")).commits()] == [5, 6]


def test_batches_are_read_one_after_another(tmp_path: Any) -> None:
    with Emulator(users=3000, leads=10) as emulator:
        increment(emulator, tmp_path, row_group_size=200)
        change(emulator, 300)
        increment(emulator, tmp_path, row_group_size=50)
        batches = list(read_contacts(tmp_path, "users").to_batches(batch_size=100))
    assert max(batch.num_rows for batch in batches) <= 100
    assert pa.Table.from_batches(batches).num_rows == 3000
