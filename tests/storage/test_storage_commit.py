import os
import signal
import subprocess
import sys
from datetime import date, datetime, timedelta, timezone
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from airflow_provider_customerly.storage import (
    CommitConflictError,
    DamagedManifestError,
    Dataset,
    FileEntry,
    Location,
    Manifest,
    OldFormatError,
    Write,
)
from airflow_provider_customerly.storage.manifest import RETIRED, list_numbers
from airflow_provider_customerly.storage.removal import STAGING, retire

NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
PARTITION = {"day": "2026-11-23"}
SCHEMA = pa.schema([("text", pa.string())])


def write_part(write: Write, text: str = "part", partition: dict[str, str] = PARTITION) -> FileEntry:
    with write.create_part(partition, SCHEMA) as part:
        part.write(pa.table({"text": [text]}))
        return part.close()


def manifest(
    write: Write,
    *files: FileEntry,
    partition: dict[str, str] = PARTITION,
    finished_at: datetime = NOON,
    deleted: list[FileEntry] | None = None,
) -> Manifest:
    return Manifest(
        run=write.run,
        mode="snapshot",
        partition=partition,
        files=list(files),
        rows=len(files),
        schema=[],
        deleted=deleted or [],
        started_at=NOON,
        finished_at=finished_at,
    )


def commit(
    location: Location,
    text: str = "part",
    partition: dict[str, str] = PARTITION,
    finished_at: datetime = NOON,
) -> Manifest:
    with Dataset(location).begin() as write:
        entry = write_part(write, text, partition)
        return write.commit(manifest(write, entry, partition=partition, finished_at=finished_at))


def commit_on(location: Location, day: int) -> Manifest:
    at = datetime(2026, 11, day, tzinfo=timezone.utc)
    return commit(location, partition={"day": f"{at.date()}"}, finished_at=at)


def parts(location: Location) -> set[str]:
    return {name for name in location.list() if name.endswith(".parquet")}


def named(location: Location) -> set[str]:
    return {entry.path for one in Dataset(location).commits() for entry in one.files}


def age(location: Location, name: str, seconds: float) -> None:
    """Make a local file look as if it had been written so long ago."""
    then = os.stat(location.path(name)).st_mtime - seconds
    os.utime(location.path(name), (then, then))


def test_nothing_is_seen_before_the_commit(location: Location) -> None:
    dataset = Dataset(location)
    assert dataset.newest() is None
    with dataset.begin() as write:
        entry = write_part(write)
        assert parts(location) == set()
        assert dataset.newest() is None
        committed = write.commit(manifest(write, entry))
    assert dataset.newest() == committed
    assert (committed.sequence, committed.name) == (1, "_manifests/00000001.json")
    assert parts(location) == {entry.path}
    assert location.list(STAGING) == {}


def test_a_write_left_without_a_commit_leaves_nothing(location: Location) -> None:
    first = commit(location)
    with Dataset(location).begin() as write:
        entry = write_part(write)
        assert write.staged(entry.path) in location.list()
    assert Dataset(location).newest() == first
    assert set(location.list()) == {first.name, first.files[0].path}


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_no_manifest_names_a_part_that_is_not_whole(location: Location, harm: str) -> None:
    with Dataset(location).begin() as write:
        entry = write_part(write)
        if harm == "gone":
            location.delete(write.staged(entry.path))
        else:
            location.write_atomic(write.staged(entry.path), b"pa")
        with pytest.raises(FileNotFoundError, match="missing or truncated"):
            write.commit(manifest(write, entry))
    assert Dataset(location).newest() is None
    assert location.list() == {}


def test_a_partition_is_replaced_and_others_stay(location: Location) -> None:
    other = commit(location, "other", {"day": "2026-11-22"})
    old = commit(location, "old")
    new = commit(location, "new")
    assert parts(location) == {other.files[0].path, new.files[0].path}
    assert location.read(old.name) == RETIRED
    assert list_numbers(location) == list_numbers(location).__class__([1, 3], [2])
    assert (Dataset(location).newest(), new.sequence) == (new, 3)


def test_one_of_two_writers_wins_and_the_other_harms_nothing(location: Location) -> None:
    dataset = Dataset(location)
    with dataset.begin() as slow:
        entry = write_part(slow, "slow")
        quick = commit(location, "quick")
        with pytest.raises(CommitConflictError, match=r"committed _manifests/00000001\.json .* Run it again"):
            slow.commit(manifest(slow, entry))
    assert dataset.newest() == quick
    assert set(location.list()) == {quick.name, quick.files[0].path}
    assert commit(location, "again").sequence == 2


def test_a_commit_is_announced_before_what_it_replaces_goes(location: Location) -> None:
    old = commit(location, "old")
    seen = []

    def publish() -> None:
        newest = Dataset(location).newest()
        seen.append((newest and newest.sequence, old.files[0].path in parts(location)))
        raise RuntimeError("not announced")

    with Dataset(location).begin() as write:
        write.publish = publish
        entry = write_part(write, "new")
        with pytest.raises(RuntimeError, match="not announced"):
            write.commit(manifest(write, entry))
    assert seen == [(2, True)]
    [left] = Dataset(location).commits()
    assert left.sequence == 2
    assert parts(location) == named(location)


def test_a_writer_that_stood_still_cannot_take_a_number_that_was_retired(location: Location) -> None:
    with Dataset(location).begin() as sleeper:
        entry = write_part(sleeper, "sleeper")
        commit(location, "one")
        newest = commit(location, "two")
        with pytest.raises(CommitConflictError):
            sleeper.commit(manifest(sleeper, entry))
    assert Dataset(location).newest() == newest
    assert parts(location) == {newest.files[0].path}


def test_the_number_is_taken_in_the_very_moment_of_the_commit(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Location.create_exclusive

    def be_overtaken(place: Location, name: str, content: bytes) -> None:
        monkeypatch.setattr(Location, "create_exclusive", create)
        commit(place, "quick")
        create(place, name, content)

    with Dataset(location).begin() as write:
        entry = write_part(write, "slow")
        monkeypatch.setattr(Location, "create_exclusive", be_overtaken)
        with pytest.raises(CommitConflictError):
            write.commit(manifest(write, entry))
    assert parts(location) == named(location)
    assert len(parts(location)) == 1


class LostAnswerError(Exception):
    """What a store's library raises; it need not be an OSError."""


@pytest.mark.parametrize("is_done", [True, False])
def test_a_commit_whose_answer_was_lost_keeps_its_files(
    location: Location, monkeypatch: pytest.MonkeyPatch, is_done: bool
) -> None:
    create = Location.create_exclusive

    def lose_the_answer(place: Location, name: str, content: bytes) -> None:
        monkeypatch.undo()
        if is_done:
            create(place, name, content)
        raise LostAnswerError

    write = Dataset(location).begin()
    entry = write_part(write)
    monkeypatch.setattr(Location, "create_exclusive", lose_the_answer)
    with write:
        if is_done:
            committed = write.commit(manifest(write, entry))
            assert Dataset(location).newest() == committed
        else:
            with pytest.raises(LostAnswerError):
                write.commit(manifest(write, entry))
    assert parts(location) == {entry.path}  # its manifest may still arrive


def test_a_time_out_during_the_commit_keeps_its_files(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    class TaskTimeout(BaseException):
        pass

    create = Location.create_exclusive

    def be_stopped(place: Location, name: str, content: bytes) -> None:
        create(place, name, content)
        raise TaskTimeout

    monkeypatch.setattr(Location, "create_exclusive", be_stopped)
    with pytest.raises(TaskTimeout), Dataset(location).begin() as write:
        write.commit(manifest(write, write_part(write)))
    monkeypatch.undo()
    newest = Dataset(location).newest()
    assert newest is not None
    assert parts(location) == {newest.files[0].path}


DIES = """
import os, signal, sys
import pyarrow as pa
from airflow_provider_customerly.storage import Dataset, Location
location = Location.of(sys.argv[1])
write = Dataset(location).begin()
part = write.create_part({"day": "2026-11-23"}, pa.schema([("text", pa.string())]))
part.write(pa.table({"text": ["of the dead"]}))
entry = part.close()
if sys.argv[2] == "moved":
    location.move(write.staged(entry.path), location, entry.path)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_parts_that_a_dead_writer_moved_go_with_the_next_commit(tmp_path: Any) -> None:
    location = Location.of(tmp_path)
    subprocess.run([sys.executable, "-c", DIES, str(location), "moved"], check=False)
    [stray] = parts(location)
    age(location, stray, 1)
    committed = commit(location)
    assert parts(location) == {committed.files[0].path}


def test_what_a_dead_writer_staged_goes_after_two_days(tmp_path: Any) -> None:
    location = Location.of(tmp_path)
    process = subprocess.run([sys.executable, "-c", DIES, str(location), "staged"], check=False)
    assert process.returncode == -signal.SIGKILL
    [staged] = location.list(STAGING)
    age(location, staged, 86_400)
    commit(location)
    assert list(location.list(STAGING)) == [staged]
    age(location, staged, 2 * 86_400)
    commit(location)
    assert location.list(STAGING) == {}


def test_parts_of_a_living_writer_stay(location: Location) -> None:
    with Dataset(location).begin() as slow:
        entry = write_part(slow, "slow")
        commit(location, "quick", {"day": "2026-11-22"})
        assert slow.staged(entry.path) in location.list()


FOREIGN = [
    "day=2026-11-23/notes.txt",
    "day=2026-11-23/part-0.parquet",
    "other/part-00000-20260101T000000000000Z-0123abcd.parquet",
    "day=2026-11-22/state=1/_manifests/00000001.json",
    "day=2026-11-22/state=1/part-00000-20260101T000000000000Z-0123abcd.parquet",
    "day=2026-11-21/sync.json",
    "day=2026-11-21/part-00000-20260101T000000000000Z-0123abcd.parquet",
    "sync.json",
    "ledger/state=current/part-00000-20260101T000000000000Z-0123abcd.parquet",
]


def test_only_parts_of_the_dataset_itself_are_ever_removed(tmp_path: Any) -> None:
    location = Location.of(tmp_path)
    for name in FOREIGN:
        location.write_atomic(name, b"somebody else's")
        age(location, name, 10 * 86_400)
    own = "day=2026-11-20/part-00000-20260101T000000000000Z-0123abcd.parquet"
    location.write_atomic(own, b"a dead run's")
    age(location, own, 10)
    commit(location)
    commit(location)
    assert set(FOREIGN) <= set(location.list())
    assert own not in location.list()


@pytest.mark.parametrize("error", [PermissionError(13, "SlowDown"), LostAnswerError("no OSError")])
def test_what_cannot_be_removed_fails_no_commit(
    location: Location,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    first = commit(location, "old")

    def fail(place: Location, name: str) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Location, "delete", fail)
        second = commit(location, "new")
    assert Dataset(location).newest() == second
    assert "could not remove what it replaces" in caplog.text
    if location.is_local:
        age(location, first.files[0].path, 1)
        third = commit(location, "newer")
        assert parts(location) == {third.files[0].path}


def test_deleted_contacts_lie_beside_the_dataset_and_go_with_their_commit(location: Location) -> None:
    users = location.join("users")
    for _ in range(2):
        with Dataset(users).begin() as write:
            entry = write_part(write)
            with write.create_part(PARTITION, SCHEMA, deleted=True) as part:
                part.write(pa.table({"text": ["gone"]}))
                gone = part.close()
            committed = write.commit(manifest(write, entry, deleted=[gone]))
    assert set(location.list("users_deleted")) == {f"users_deleted/{gone.path}"}
    retire(users, Dataset(users).deleted, committed)
    assert parts(location) == set()


def test_a_damaged_manifest_is_named_and_can_be_deleted(location: Location) -> None:
    first = commit(location, partition={"day": "2026-11-22"})
    second = commit(location)
    for content in (second.encode()[:-20], b"", b"\xff\xfe", b"[]"):
        location.write_atomic(second.name, content)
        with pytest.raises(DamagedManifestError, match=f"{second.name} is damaged: .*delete it"):
            Dataset(location).newest()
    location.delete(second.name)
    assert Dataset(location).newest() == first


def test_a_damaged_manifest_keeps_its_files_and_no_other_from_going(
    location: Location, caplog: pytest.LogCaptureFixture
) -> None:
    commits = [commit_on(location, day) for day in (1, 2, 3, 4)]
    location.write_atomic(commits[1].name, b"{")
    now = datetime(2026, 11, 4, tzinfo=timezone.utc)
    assert Dataset(location).remove_old(1, None, now) == 2
    assert f"{location}/{commits[1].name} is damaged" in caplog.text
    commit_on(location, 4)
    assert commits[1].files[0].path in parts(location)


def test_a_manifest_of_a_later_version_asks_for_an_upgrade(location: Location) -> None:
    later = msgspec.structs.replace(commit(location), format_version=99)
    location.write_atomic(later.name, later.encode())
    with pytest.raises(ValueError, match=r"format version 99, .* Upgrade airflow-provider-customerly"):
        Dataset(location).newest()


def test_a_folder_of_version_0_1_is_refused_with_a_way_out(location: Location) -> None:
    name = "_manifests/00000001-20260101T000000Z-0123abcd.json"
    location.write_atomic(name, b"{}")
    for act in (Dataset(location).newest, Dataset(location).begin, Dataset(location).commits):
        with pytest.raises(OldFormatError, match=r"version 0\.1 .* another path, or remove .* state reset"):
            act()
    assert set(location.list()) == {name}


def test_a_manifest_can_be_read_by_a_person_and_comes_back_the_same(location: Location) -> None:
    committed = commit(location)
    text = location.read(committed.name).decode()
    assert '"path": "day=2026-11-23/part-00000-' in text
    assert Dataset(location).newest() == committed


@pytest.mark.parametrize(
    ("as_of", "sequence"),
    [
        (2, 2),
        (datetime(2026, 11, 21, tzinfo=timezone.utc), 2),
        (datetime(2026, 11, 21, 23), 2),
        (datetime(2026, 11, 22, 1, tzinfo=timezone(timedelta(hours=2))), 2),
        (datetime(2030, 1, 1, tzinfo=timezone.utc), 3),
        ("2", 2),
        ("00000002.json", 2),
        ("_manifests/00000002.json", 2),
        ("2026-11-21T00:00:00Z", 2),
        ("2026-11-21 23:59", 2),
        ("2026-11-22T01:00:00+02:00", 2),
        ("2026-11-21", 2),
        (date(2026, 11, 21), 2),
        (date(2030, 1, 1), 3),
    ],
)
def test_earlier_commits_are_found(location: Location, as_of: Any, sequence: int) -> None:
    found = [commit_on(location, day) for day in (20, 21, 22)][sequence - 1]
    assert Dataset(location).at(as_of) == found


@pytest.mark.parametrize(
    "as_of", [7, "7", "yesterday", "2026-11-19", date(2026, 11, 19), datetime(2020, 1, 1)]
)
def test_a_commit_that_is_not_there_is_named(location: Location, as_of: Any) -> None:
    commit_on(location, 20)
    with pytest.raises(FileNotFoundError, match=r"no commit as of .* The only one available is 1"):
        Dataset(location).at(as_of)


def test_a_commit_that_was_replaced_is_not_there(location: Location) -> None:
    for _ in range(2):
        commit(location)
    with pytest.raises(FileNotFoundError, match=r"no commit as of 1 .* replaced or removed"):
        Dataset(location).at(1)


def test_old_commits_go_when_asked_to(location: Location) -> None:
    commits = [commit_on(location, day) for day in (1, 2, 3, 4, 5)]
    now = datetime(2026, 11, 5, 1, tzinfo=timezone.utc)
    dataset = Dataset(location)
    assert dataset.remove_old(None, None, now) == 0
    assert dataset.remove_old(3, None, now, spared=[1]) == 1
    assert dataset.remove_old(1, 1.5, now) == 1
    assert [one.sequence for one in dataset.commits()] == [3, 4, 5]
    assert dataset.remove_old(1, None, now) == 2
    assert dataset.remove_old(None, 0, now) == 0
    assert parts(location) == {commits[-1].files[0].path}
    assert commit_on(location, 6).sequence == 6


def test_every_state_of_the_days_to_keep_stays(location: Location) -> None:
    first, second, third = (commit_on(location, day) for day in (1, 3, 10))
    now = datetime(2026, 11, 12, tzinfo=timezone.utc)
    assert Dataset(location).remove_old(None, 7, now) == 1
    assert Dataset(location).commits() == [second, third]
    assert Dataset(location).at(now - timedelta(days=5)) == second
    assert first.files[0].path not in location.list()


def test_retired_numbers_that_nobody_can_stand_before_are_forgotten(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_customerly.storage.removal._NUMBERS_KEPT", 2)
    location = Location.of(tmp_path)
    for _ in range(4):
        commit(location)
    for number in (1, 2):
        age(location, f"_manifests/{number:08d}.json", (40 if number == 1 else 1) * 86_400)
    commit(location)
    assert list_numbers(location).retired == [2, 3, 4]
