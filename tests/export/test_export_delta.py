"""The commits of an export as versions of a Delta table, read by deltalake and polars."""

import json
import logging
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import fsspec
import polars
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable
from places import delta_options
from polars.testing import assert_frame_equal

from airflow_provider_customerly.client import Client, CustomerlyError
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import (
    DeltaError,
    export_contacts,
    export_stream,
    read_contacts,
    read_stream,
)
from airflow_provider_customerly.export.delta import _Table, publish
from airflow_provider_customerly.housekeeping.reset import Removal
from airflow_provider_customerly.storage import CommitConflictError, Dataset, Location, RefusedError

pytestmark = pytest.mark.emulator(users=300, leads=40)
FOREVER = "interval 36500 days"
everywhere = pytest.mark.parametrize(
    "location", ["local", pytest.param("s3", marks=pytest.mark.slow)], indirect=True
)
"""On the local disk, and in the long lane on S3; two tests are quick on both."""


def export(
    client: Client, path: Any, day: int, contact_type: Any = "users", **options: Any
) -> dict[str, Any]:
    chosen = {"table_format": "delta", "snapshot_date": f"2026-11-{day:02d}", **options}
    return export_contacts(client, path, contact_type, **chosen)


def open_table(location: Location, version: int | None = None) -> DeltaTable:
    return DeltaTable(str(location), version, delta_options(location))


def notes(location: Location) -> dict[int, dict[str, Any]]:
    """Return version -> what it says of its commit."""
    found = {}
    for name in sorted(location.list("_delta_log")):
        if name.endswith(".json"):
            actions = [json.loads(line) for line in location.read(name).splitlines()]
            [note] = [action["commitInfo"] for action in actions if "commitInfo" in action]
            found[int(Path(name).stem)] = note
    return found


def sequences(location: Location) -> list[int]:
    """Return the sequences of the commits that are versions, oldest version first."""
    return [int(note["sequence"]) for _, note in sorted(notes(location).items()) if "sequence" in note]


def assert_same(location: Location, version: int | None, expected: pa.Table) -> None:
    """Compare what deltalake and polars read with what the commit holds, day and order aside."""
    table = open_table(location, version)
    key = expected.column_names[0]
    rows = polars.from_arrow(expected).sort(key)
    for found in (polars.scan_delta(table).collect(), polars.from_arrow(table.to_pyarrow_table())):
        assert found["snapshot_date"].dtype == polars.Date
        assert_frame_equal(found.drop("snapshot_date").sort(key), rows)


def assert_versions_are_commits(root: Location, contact_type: str = "users") -> None:
    """Compare each version whose commit is there with that commit, and the newest version with the newest."""
    location = root.join(contact_type)
    commits = Dataset(location).commits()
    versions = {int(note["sequence"]): version for version, note in notes(location).items() if "run" in note}
    assert sequences(location) == sorted(set(sequences(location)))
    assert {commit.sequence for commit in commits} <= set(versions)
    for commit in commits:
        expected = read_contacts(root, contact_type, as_of=commit.sequence).to_table()
        assert_same(location, versions[commit.sequence], expected)
        note = notes(location)[versions[commit.sequence]]
        said = {name: note[name] for name in ("run", "rows", "mode", "verdict")}
        assert said == {
            "run": commit.run,
            "rows": str(commit.rows),
            "mode": commit.mode,
            "verdict": commit.certificate["verdict"],
        }
    assert_same(location, None, read_contacts(root, contact_type).to_table())


@pytest.mark.parametrize("contact_type", ["users", "leads"])
@everywhere
def test_each_version_reads_as_its_commit(
    client: Client, emulator: Emulator, location: Location, contact_type: Any
) -> None:
    for day, mode in enumerate(("snapshot", "incremental", "snapshot"), start=20):
        export(client, location, day, contact_type, mode=mode, row_group_size=20)
        emulator.store.churn(25)
    assert sequences(location.join(contact_type)) == [1, 2, 3]
    assert_versions_are_commits(location, contact_type)


def test_a_version_names_the_files_of_its_commit_and_none_is_written_again(
    client: Client, location: Location
) -> None:
    export(client, location, 20, row_group_size=20)
    place = location.join("users")
    [commit] = Dataset(place).commits()
    named = {entry.path: entry.bytes for entry in commit.files}
    assert len(named) > 1
    assert {name: size for name, size in place.list().items() if name.endswith(".parquet")} == named
    uris = open_table(place).file_uris()
    assert {uri.partition("/users/")[2] for uri in uris} == set(named)


def test_statistics_are_those_of_the_rows(client: Client, tmp_path: Path) -> None:
    export(client, tmp_path, 20)
    [found] = pa.table(open_table(Location.of(tmp_path / "users")).get_add_actions(flatten=True)).to_pylist()
    rows = read_contacts(tmp_path, "users").to_table()
    assert found["num_records"] == rows.num_rows == 300
    for name in ("user_id", "email", "last_activity", "os"):
        assert found[f"null_count.{name}"] == rows[name].null_count
    for name in ("crmhero_user_id", "last_update", "last_activity"):
        bounds = pc.min_max(rows[name]).as_py()
        assert (found[f"min.{name}"], found[f"max.{name}"]) == (bounds["min"], bounds["max"])


def test_the_log_holds_nothing_personal(client: Client, tmp_path: Path) -> None:
    export(client, tmp_path, 20, attributes={"plan": "string"})
    rows = read_contacts(tmp_path, "users").to_table()
    text = "".join(file.read_text() for file in (tmp_path / "users" / "_delta_log").iterdir())
    for name in ("email", "name", "ip_address", "user_id"):
        assert [value for value in rows[name].to_pylist() if value and f'"{value}"' in text] == []
    assert "@" not in text


@pytest.mark.emulator(users=0)
@pytest.mark.usefixtures("empty_at_once")
def test_a_table_without_rows_is_a_version(client: Client, tmp_path: Path) -> None:
    for day in (20, 21):
        export(client, tmp_path, day)
    assert_versions_are_commits(Location.of(tmp_path))


@everywhere
def test_columns_may_change_from_commit_to_commit(client: Client, location: Location) -> None:
    export(client, location, 20)
    export(client, location, 21, attributes={"plan": "string"})
    export(client, location, 22, columns=["email"])
    export(client, location, 23, hash_columns=["email"], hash_salt="salt")
    assert_versions_are_commits(location)
    assert sequences(location.join("users")) == [1, 2, 3, 4]
    assert open_table(location.join("users"), 2).to_pyarrow_table().num_columns == 4


def test_lists_are_versions_too(client: Client, emulator: Emulator, location: Location) -> None:
    for day in (20, 21):
        export_stream(client, location, "tags", snapshot_date=f"2026-11-{day}", table_format="delta")
    place = location.join("tags")
    assert sequences(place) == [1, 2]
    assert_same(place, None, read_stream(location, "tags").to_table())
    assert_same(place, 0, read_stream(location, "tags").to_table())


@everywhere
def test_earlier_commits_become_versions_when_the_format_is_chosen(
    client: Client, emulator: Emulator, location: Location
) -> None:
    for day in (20, 21):
        export(client, location, day, table_format="parquet")
        emulator.store.churn(25)
    export(client, location, 22)
    assert sequences(location.join("users")) == [1, 2, 3]
    assert_versions_are_commits(location)


def test_what_could_not_become_a_version_does_so_with_the_next_run(
    client: Client, emulator: Emulator, tmp_path: Path
) -> None:
    root, log = Location.of(tmp_path), tmp_path / "users" / "_delta_log"
    log.parent.mkdir()
    log.write_text("in the way")
    with pytest.raises(DeltaError, match=r"The export is committed, .*The next run adds") as caught:
        export(client, root, 20)
    assert not isinstance(caught.value, ValueError | CustomerlyError)  # such a task is retried
    assert read_contacts(root, "users").count_rows() == 300
    log.unlink()
    emulator.store.churn(25)
    export(client, root, 21)
    assert sequences(root.join("users")) == [1, 2]
    assert_versions_are_commits(root)


def test_a_run_that_died_while_it_made_the_table_leaves_nothing_in_the_way(
    client: Client, tmp_path: Path
) -> None:
    log = tmp_path / "users" / "_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json#1").write_text("{")
    export(client, tmp_path, 20)
    assert_versions_are_commits(Location.of(tmp_path))


@pytest.mark.emulator(users=9_000)
def test_the_next_try_after_a_missing_version_reads_little(
    client: Client, emulator: Emulator, tmp_path: Path
) -> None:
    root, log = Location.of(tmp_path), tmp_path / "users" / "_delta_log"
    log.parent.mkdir()
    log.write_text("in the way")
    with pytest.raises(DeltaError):
        export(client, root, 20, owner="this night")
    sent = client.requests_sent
    log.unlink()
    export(client, root, 20, owner="this night")
    assert client.requests_sent - sent < sent / 2
    assert_same(root.join("users"), None, read_contacts(root, "users").to_table())
    assert [commit.sequence for commit in Dataset(root.join("users")).commits()] == [2]


@pytest.mark.parametrize("is_there", [False, True])
@everywhere
def test_runs_at_once_leave_one_version_for_each_commit(
    client: Client, location: Location, is_there: bool
) -> None:
    dataset = Dataset(location.join("users"))
    for day in range(20, 24):
        export(client, location, day, table_format="parquet", columns=["email"])
        if is_there and day == 20:
            publish(dataset)
    start = threading.Barrier(4)

    def run(_: int) -> None:
        start.wait()
        publish(dataset)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    assert sequences(dataset.location) == [1, 2, 3, 4]
    assert_versions_are_commits(location)


@pytest.mark.parametrize("alone", range(4))
@everywhere
def test_a_run_that_is_overtaken_writes_no_commit_twice(
    client: Client, location: Location, alone: int
) -> None:
    dataset = Dataset(location.join("users"))
    for day in range(20, 24):
        export(client, location, day, table_format="parquet", columns=["email"])
    slow = _Table(dataset, None)
    slow.load()
    missing = slow.missing()
    for commit in missing[:alone]:
        slow.add(commit)
    publish(dataset)
    for commit in missing[alone:]:
        with pytest.raises(Exception):  # noqa: B017, PT011  (deltalake has several)
            slow.add(commit)
    assert sequences(dataset.location) == [1, 2, 3, 4]


@everywhere
def test_two_exports_at_once_leave_one_version_for_each_commit(
    emulator: Emulator, location: Location
) -> None:
    def run(day: int) -> None:
        with Client(emulator.token, emulator.url) as client:
            try:
                export(client, location, day)
            except CommitConflictError:
                export(client, location, day)

    run(20)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, (21, 21)))
    assert sequences(location.join("users")) == [1, 2, 3]
    assert_versions_are_commits(location)


@everywhere
def test_a_day_that_is_run_again_is_a_new_version(
    client: Client, emulator: Emulator, location: Location
) -> None:
    export(client, location, 20)
    for _ in range(3):
        emulator.store.churn(25)
        export(client, location, 21)
    assert sequences(location.join("users")) == [1, 2, 3, 4]
    assert [commit.sequence for commit in Dataset(location.join("users")).commits()] == [1, 4]
    assert_versions_are_commits(location)


@everywhere
def test_a_commit_that_was_replaced_before_it_became_a_version_is_left_out(
    client: Client, emulator: Emulator, location: Location
) -> None:
    export(client, location, 20)
    export(client, location, 21, table_format="parquet")
    emulator.store.churn(25)
    export(client, location, 21, table_format="parquet")
    export(client, location, 22)
    assert sequences(location.join("users")) == [1, 3, 4]
    assert_versions_are_commits(location)


def test_a_commit_whose_files_somebody_deleted_is_left_out(
    client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for day in (20, 21):
        export(client, tmp_path, day, table_format="parquet")
    for file in tmp_path.glob("users/snapshot_date=2026-11-20/*.parquet"):
        file.unlink()
    export(client, tmp_path, 22)
    place = Location.of(tmp_path / "users")
    assert sequences(place) == [2, 3]
    assert (
        "_manifests/00000001.json was not added to the Delta table: some of its files are missing"
        in caplog.text
    )
    assert_same(place, None, read_contacts(tmp_path, "users").to_table())


@everywhere
def test_a_number_that_a_deleted_manifest_frees_gets_a_version_of_its_own(
    client: Client, emulator: Emulator, location: Location
) -> None:
    for day in (20, 21, 22):
        export(client, location, day)
    for name in ("_manifests/00000002.json", "_manifests/00000003.json"):  # the way out when they are damaged
        location.join("users").delete(name)
    emulator.store.churn(25)
    export(client, location, 23)
    assert sequences(location.join("users")) == [1, 2, 3, 2]
    assert_same(location.join("users"), None, read_contacts(location, "users").to_table())


def test_what_other_engines_write_to_the_log_does_no_harm(
    client: Client, emulator: Emulator, tmp_path: Path
) -> None:
    root, place = Location.of(tmp_path), Location.of(tmp_path / "users")
    for day in (20, 21):
        export(client, root, day)
        emulator.store.churn(25)
    table = open_table(place)
    table.alter.set_table_properties({"delta.checkpointInterval": "2"})
    table.create_checkpoint()
    for day in (22, 23, 24):
        export(client, root, day)
    assert sequences(place) == [1, 2, 3, 4, 5]
    assert list((tmp_path / "users" / "_delta_log").glob("*.checkpoint.parquet"))
    assert_versions_are_commits(root)


@everywhere
def test_old_versions_go_with_their_files(client: Client, emulator: Emulator, location: Location) -> None:
    for day in (20, 21, 22, 23):
        export(client, location, day, keep_manifests=2)
        emulator.store.churn(25)
    place = location.join("users")
    assert [commit.sequence for commit in Dataset(place).commits()] == [3, 4]
    assert_versions_are_commits(location)
    with pytest.raises(FileNotFoundError):
        polars.scan_delta(open_table(place, 0)).collect()


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, FOREVER),
        ({"keep_days": 30}, "interval 31 days"),
        ({"keep_days": 0.5}, "interval 2 days"),
        ({"keep_days": 30, "keep_manifests": 5}, FOREVER),
        ({"keep_manifests": 5}, FOREVER),
    ],
)
def test_other_engines_keep_what_retention_keeps(
    client: Client, tmp_path: Path, options: dict[str, Any], kept: str
) -> None:
    export(client, tmp_path, 20, **options)
    configuration = open_table(Location.of(tmp_path / "users")).metadata().configuration
    assert configuration["delta.deletedFileRetentionDuration"] == kept
    assert configuration["delta.logRetentionDuration"] == kept


def test_a_changed_retention_reaches_other_engines(client: Client, tmp_path: Path) -> None:
    place = Location.of(tmp_path / "users")
    export(client, tmp_path, 20)
    export(client, tmp_path, 21, keep_days=30)
    table = open_table(place)
    assert table.metadata().configuration["delta.deletedFileRetentionDuration"] == "interval 31 days"
    assert table.vacuum(retention_hours=31 * 24, dry_run=True) == []
    with pytest.raises(Exception, match="retention"):  # an engine refuses to take what we still keep
        table.vacuum(retention_hours=30 * 24, dry_run=True)
    assert_versions_are_commits(Location.of(tmp_path))


@pytest.mark.parametrize(
    "attributes", [{"Plan type": "string"}, {"a,b": "int64"}, {"plan": "string", "p(1)": "date"}]
)
def test_names_that_delta_does_not_allow_are_refused(
    client: Client, tmp_path: Path, attributes: dict[str, str]
) -> None:
    with pytest.raises(RefusedError, match="cannot have columns named") as caught:
        export(client, tmp_path, 20, attributes=attributes)
    assert repr(list(attributes)[-1]) in str(caught.value)
    assert client.requests_sent == 0
    assert list(tmp_path.iterdir()) == []


def test_earlier_commits_with_such_names_are_left_out(
    client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    export(client, tmp_path, 20, table_format="parquet", attributes={"Plan type": "string"})
    export(client, tmp_path, 21)
    assert sequences(Location.of(tmp_path / "users")) == [2]
    assert "does not allow the column names Plan type" in caplog.text


@pytest.mark.parametrize("name", ["50%20off", "a#b", "a?b"])
def test_paths_that_deltalake_misreads_are_refused(client: Client, tmp_path: Path, name: str) -> None:
    with pytest.raises(RefusedError, match="misreads"):
        export(client, tmp_path / name, 20)
    assert client.requests_sent == 0


def test_paths_with_blanks_and_letters_of_any_language_are_fine(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "crm für alle, 日本 (1)"
    export(client, path, 20)
    export(client, path, 21)
    assert sequences(Location.of(path / "users")) == [1, 2]
    assert DeltaTable(str(path / "users")).to_pyarrow_table().num_rows == 300


def test_another_store_is_refused_before_anything_is_read(client: Client) -> None:
    place = Location(fsspec.filesystem("memory"), "/delta-tests")
    with pytest.raises(RefusedError, match="supports local disks and S3, but not memory://"):
        export(client, place, 20)
    with pytest.raises(RefusedError, match="supports local disks and S3, but not memory://"):
        export_stream(client, place, "tags", snapshot_date="2026-11-20", table_format="delta")
    assert client.requests_sent == 0
    assert place.list() == {}


def test_a_missing_package_is_told_before_anything_is_read(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(RefusedError, match=r"airflow-provider-customerly\[delta\]"):
        export(client, tmp_path, 20)
    assert client.requests_sent == 0
    export(client, tmp_path, 20, table_format="parquet")


def test_a_table_that_is_left_behind_is_warned_of(
    client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    export(client, tmp_path, 20, table_format="parquet")
    assert "Delta" not in caplog.text
    export(client, tmp_path, 21)
    export(client, tmp_path, 22, table_format="parquet")
    assert "The Delta table does not include this export" in caplog.text


def test_each_version_is_logged_on_a_line(
    client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    export(client, tmp_path, 20)
    export(client, tmp_path, 21)
    lines = [record.getMessage() for record in caplog.records if "Delta version" in record.getMessage()]
    assert lines == [
        f"Delta version {version}: commit {version + 1}, 300 rows\n{tmp_path}/users" for version in (0, 1)
    ]


def test_a_reset_removes_the_log_but_not_that_of_another_table(client: Client, location: Location) -> None:
    export(client, location, 20)
    other = "users/theirs/_delta_log/00000000000000000000.json"
    location.write_atomic(other, b"{}")
    Removal(location).run()
    assert list(location.list()) == [other]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_month_of_nights(client: Client, emulator: Emulator, tmp_path: Path, seed: int) -> None:
    root, draw = Location.of(tmp_path), random.Random(seed)
    for day in range(1, 31):
        for what in draw.choices(["delta", "parquet", "in the way", "checkpoint"], [5, 1, 2, 1], k=2):
            emulator.store.churn(15)
            options = {"mode": draw.choice(["snapshot", "snapshot", "incremental"]), "keep_manifests": 12}
            if what == "checkpoint" and day > 1:
                open_table(root.join("users")).create_checkpoint()
            elif what == "in the way" and day > 1:
                number = open_table(root.join("users")).version() + 1
                block = tmp_path / "users" / "_delta_log" / f"{number:020d}.json"
                block.mkdir()
                with pytest.raises(DeltaError):
                    export(client, root, day, **options)
                block.rmdir()
            else:
                export(client, root, day, **{**options, "table_format": what if day > 1 else "delta"})
        if draw.random() < 0.5:
            export(client, root, day)
            assert_same(root.join("users"), None, read_contacts(root, "users").to_table())
    export(client, root, 30)
    assert_versions_are_commits(root)
    assert sequences(root.join("users"))[-1] > 60


DUCKDB = """
import pathlib, sys, duckdb, duckdb_extension_delta
[extension] = pathlib.Path(duckdb_extension_delta.__file__).parent.rglob("delta.duckdb_extension")
duckdb.execute(f"LOAD '{extension}'")
for version in range(3):
    table, copy = f"{sys.argv[1]}/users", f"{sys.argv[1]}/{version}.parquet"
    duckdb.execute(f"COPY (FROM delta_scan('{table}', version={version})) TO '{copy}'")
"""


@pytest.mark.slow
def test_duckdb_reads_each_version_as_its_commit(
    client: Client, emulator: Emulator, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for day in range(20, 23):
        export(client, tmp_path, day, row_group_size=20)
        emulator.store.churn(25)
    # In an environment of its own: the extension's package wants the DuckDB that it was built for.
    python = tmp_path_factory.mktemp("duckdb") / "bin" / "python"
    for command in (["venv", python.parents[1]], ["pip", "install", "-p", python, "duckdb-extension-delta"]):
        subprocess.run([sys.executable, "-m", "uv", *command, "--quiet"], check=True)
    subprocess.run([python, "-c", DUCKDB, tmp_path], check=True)
    for version in range(3):
        found = polars.read_parquet(tmp_path / f"{version}.parquet")
        rows = polars.from_arrow(read_contacts(tmp_path, "users", as_of=version + 1).to_table())
        assert found["snapshot_date"].unique().to_list() == [date(2026, 11, 20 + version)]
        found = found.drop("snapshot_date").sort("crmhero_user_id")
        assert_frame_equal(found, rows.sort("crmhero_user_id"))
