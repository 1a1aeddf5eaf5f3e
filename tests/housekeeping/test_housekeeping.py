from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import export_snapshot, read_contacts, read_deletions
from airflow_provider_customerly.housekeeping import Removal, survey, verify
from airflow_provider_customerly.storage import Dataset, Location, LockedError, Manifest, Write
from airflow_provider_customerly.storage.lock import LASTS
from airflow_provider_customerly.sync import Options, SyncRejectsError, plan_contacts, sync_contacts
from airflow_provider_customerly.sync.state import State

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow_on_s3

NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
BASE_URL = "https://api.example.test/v1"
SCHEMA = pa.schema([("text", pa.string())])


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Emulator(users=130, leads=25) as emulator, Client(emulator.token, emulator.url) as client:
        yield client


def export(client: Client, location: Location, *days: str) -> None:
    for day in days:
        for kind in ("users", "leads"):
            export_snapshot(client, location, kind, snapshot_date=day)  # type: ignore[arg-type]


def commit(write: Write, content: bytes, partition: dict[str, str]) -> Manifest:
    with write.create_part(partition, SCHEMA) as part:
        part.write(pa.table({"text": [content.decode()]}))
        entry = part.close()
    return write.commit(
        Manifest(
            run=write.run,
            mode="snapshot",
            partition=partition,
            files=[entry],
            rows=1,
            schema=[],
            started_at=NOON,
            finished_at=NOON,
        )
    )


def parts(location: Location) -> list[str]:
    return sorted(name for name in location.list() if name.endswith(".parquet"))


def overwrite(location: Location, name: str, content: bytes) -> None:
    location.delete(name)
    location.write_atomic(name, content)


def test_survey_tells_commits_sizes_and_verdicts(client: Client, location: Location) -> None:
    export(client, location, "2026-11-22", "2026-11-23")
    found = survey(location)
    assert [(one.name, one.commits, one.files) for one in found.datasets] == [
        ("leads", 2, 2),
        ("users", 2, 2),
    ]
    sizes = location.list()
    users = found.datasets[1]
    assert users.bytes == sum(sizes[name] for name in parts(location) if name.startswith("users/"))
    newest, before = users.newest
    assert (newest.rows, newest.verdict, newest.partition) == (
        130,
        "complete",
        {"snapshot_date": "2026-11-23"},
    )
    assert before.partition == {"snapshot_date": "2026-11-22"}
    assert newest.newest_update == newest.watermark == "2026-01-01T00:00:00Z"
    assert found.at_work == []
    assert "130 rows" in found.to_text()
    assert "complete" in found.to_text()


def test_one_dataset_can_be_named(client: Client, location: Location) -> None:
    export(client, location, "2026-11-23")
    assert [one.name for one in survey(location.join("users")).datasets] == ["."]
    assert verify(location.join("users")).files == 1


def test_survey_shows_the_newest_commits_and_counts_all(location: Location) -> None:
    for day in range(12):
        with Dataset(location).begin() as write:
            commit(write, b"part", {"snapshot_date": f"2026-11-{day + 1:02d}"})
    found = survey(location)
    [dataset] = found.datasets
    assert (dataset.commits, dataset.files, len(dataset.newest)) == (12, 12, 10)
    assert dataset.bytes == sum(location.list()[name] for name in parts(location))
    assert "and 2 older" in found.to_text()


def test_survey_counts_files_that_no_commit_names(client: Client, location: Location) -> None:
    export(client, location, "2026-11-23")
    with Dataset(location.join("users")).begin() as write:
        write.create_part({"snapshot_date": "2026-11-24"}, SCHEMA).close()
        users = survey(location).datasets[1]
        assert (users.files, users.unnamed_files) == (1, 1)


def test_a_file_of_the_newest_commit_that_is_gone_is_named(client: Client, location: Location) -> None:
    export(client, location, "2026-11-23")
    lost = parts(location)[-1]
    location.delete(lost)
    assert (
        f"{lost.removeprefix('users/')}, a file of the newest commit, is missing"
        in survey(location).to_text()
    )


def test_a_folder_of_version_0_1_is_named_and_can_be_reset(location: Location) -> None:
    run = "20260101T000000Z-0123abcd"
    location.write_atomic(f"users/_manifests/00000001-{run}.json", b"{}")
    location.write_atomic(f"users/snapshot_date=2026-01-01/part-00000-{run}.parquet", b"old")
    assert "was written by version 0.1" in survey(location).to_text()
    assert len(verify(location).problems) == 1
    Removal(location).run()
    assert location.list() == {}


def test_a_damaged_manifest_is_told(client: Client, location: Location) -> None:
    export(client, location, "2026-11-22", "2026-11-23")
    users = location.join("users")
    manifest = Dataset(users).newest()
    assert manifest is not None
    overwrite(users, manifest.name, b"{")
    for problems in (survey(location).datasets[1].problems, verify(location).problems):
        assert len(problems) == 1
        assert f"{users}/{manifest.name} is damaged" in problems[0]
    assert verify(location).files == 3


def test_verify_reads_every_committed_file(client: Client, location: Location) -> None:
    export(client, location, "2026-11-22", "2026-11-23")
    outcome = verify(location)
    assert outcome.is_intact
    assert (outcome.commits, outcome.files) == (4, 4)
    assert outcome.bytes == sum(location.list()[name] for name in parts(location))
    assert outcome.to_text().endswith("All files are intact.")


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped"])
def test_verify_finds_what_is_not_as_committed(client: Client, location: Location, damage: str) -> None:
    export(client, location, "2026-11-22", "2026-11-23")
    victim = parts(location)[0]
    content = location.read(victim)
    if damage == "gone":
        location.delete(victim)
    elif damage == "cut":
        overwrite(location, victim, content[:-1])
    else:
        overwrite(location, victim, content[:50] + bytes([content[50] ^ 1]) + content[51:])
    outcome = verify(location)
    [problem] = outcome.problems
    said = {"gone": "it is missing", "cut": f"it has {len(content) - 1} bytes", "flipped": "its checksum is"}
    assert problem.startswith(f"{location.path(victim)}: {said[damage]}")
    assert not outcome.is_intact


def test_reset_removes_all_of_it_and_nothing_else(client: Client, location: Location) -> None:
    export(client, location, "2026-11-22", "2026-11-23")
    location.write_atomic("users.sql", b"mine")
    location.write_atomic("reports/today.csv", b"mine")
    location.write_atomic("users/notes.txt", b"mine")
    location.write_atomic("users/snapshot_date=2026-11-22/mine.parquet", b"mine")
    location.write_atomic("users/erasures/20261101T000000Z-00000000.json", b"mine")
    location.write_atomic("app/sync.json", b'{"sync_name": "mine"}')
    location.write_atomic("app/precious.csv", b"mine")
    location.write_atomic("other/_manifests/app.json", b"{}")
    location.write_atomic("other/data.parquet", b"mine")
    location.write_atomic("users_deleted/mine.parquet", b"mine")
    removal = Removal(location)
    assert str(removal).startswith("8 files, ")
    removal.run()
    assert {location.read(name) for name in location.list()} == {b"mine", b'{"sync_name": "mine"}', b"{}"}
    assert len(location.list()) == 10
    with pytest.raises(ValueError, match="There is no export or sync at"):
        survey(location)
    export(client, location, "2026-11-24")
    assert read_contacts(location, "users").count_rows() == 130


def test_reset_takes_the_deleted_contacts_along(location: Location) -> None:
    with Emulator(users=30, leads=0) as emulator, Client(emulator.token, emulator.url) as client:
        for day in ("2026-11-22", "2026-11-23"):
            export_snapshot(client, location, "users", snapshot_date=day)
            emulator.store.delete("users", min(emulator.store.versions("users")))
    assert read_deletions(location, "users").count_rows() == 1
    assert verify(location).files == 3
    Removal(location.join("users")).run()
    assert location.list() == {}


def test_reset_passes_over_a_claim_that_is_long_void(client: Client, location: Location) -> None:
    export(client, location, "2026-11-23")
    claim = (
        b'{"run":"20261101T000000Z-00000000","owner":"","process":{"host":"elsewhere","space":"x","pid":1,'
        b'"started":"1"},"renewed_at":"2026-11-01T00:00:00Z","expires_at":"%b"}'
    )
    void = datetime.now(timezone.utc) - LASTS - timedelta(days=1)
    location.write_atomic("users/_leases/20261101T000000Z-00000000.json", claim % void.isoformat().encode())
    assert survey(location).at_work == []
    Removal(location).run()
    assert location.list() == {}


def test_a_commit_that_comes_after_the_look_stays(client: Client, location: Location) -> None:
    export(client, location, "2026-11-23")
    removal = Removal(location)
    with Dataset(location.join("users")).begin() as write:
        later = commit(write, b"part", {"snapshot_date": "2026-11-24"})
    removal.run()
    assert Dataset(location.join("users")).newest() == later
    assert verify(location).is_intact


def test_the_state_of_a_sync(location: Location) -> None:
    with State(location, "crm", "users", BASE_URL) as state:
        state.commit(state.recover())
        assert [(one.name, one.record) for one in survey(location).syncs] == [("crm", None)]
        assert len(survey(location).at_work) == 1
        for place in (location, location.join("crm"), location.join("crm/ledger")):
            with pytest.raises(LockedError):
                Removal(place).run()
    assert [one.name for one in survey(location).datasets] == ["crm/ledger"]
    assert verify(location).is_intact
    Removal(location).run()
    assert location.list() == {}


class Rows:
    """A source in memory."""

    columns = ("email", "name")

    def __iter__(self) -> Iterator[list[tuple[str, str]]]:
        yield [("ada@shop.test", "Ada"), ("nobody", "Bob")]


def test_the_newest_run_of_a_sync_is_told(client: Client, location: Location) -> None:
    with pytest.raises(SyncRejectsError):
        sync_contacts(client, Rows(), location, "crm", Options())
    [sync] = survey(location).syncs
    assert (sync.outcome, sync.counts["sent"], sync.counts["invalid"]) == ("rejects", 1, 1)
    assert f"rows that were not delivered, with reasons: {sync.rejects}" in survey(location).to_text()
    assert "rows_read 2, new 1, invalid 1, sent 1" in survey(location).to_text()


def test_reset_removes_all_that_exports_and_syncs_leave(client: Client, location: Location) -> None:
    """Also what one leaves that dies: a temporary file, rows read by an earlier try, a journal, a lease."""
    with pytest.raises(SyncRejectsError):
        sync_contacts(client, Rows(), location, "crm", Options())
    plan_contacts(client, Rows(), location, "crm", Options())
    export(client, location, "2026-11-23")
    run = "20261101T000000Z-00000000"
    for name in (
        f"users/_staging/00c0ffee00c0ffee/000000-{run}.arrow",
        f"users/.tmp-00c0ffee-{run}.json",
        f"crm/journal/{run}-00000001.json",
    ):
        location.write_atomic(name, b"")
    assert {name.split("/")[1] for name in location.list("crm")} == {
        "sync.json",
        "ledger",
        "journal",
        "rejects",
        "plans",
        "runs",
    }
    Removal(location).run()
    assert location.list() == {}


def test_a_damaged_sync_can_be_reset(client: Client, location: Location) -> None:
    with pytest.raises(SyncRejectsError):
        sync_contacts(client, Rows(), location, "crm", Options())
    overwrite(location, "crm/sync.json", b"\xff{")
    Removal(location).run()
    assert location.list() == {}


@pytest.mark.parametrize("function", [survey, verify, Removal])
def test_a_place_without_state(location: Location, function: type[Removal]) -> None:
    location.write_atomic("notes.txt", b"mine")
    with pytest.raises(ValueError, match="There is no export or sync at"):
        function(location)
    assert set(location.list()) == {"notes.txt"}
