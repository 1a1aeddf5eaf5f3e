import subprocess
import sys
from contextlib import closing
from datetime import datetime, timezone

import msgspec
import pytest

from airflow_provider_customerly.storage import Dataset, FileEntry, LeaseLostError, Location, Manifest, Write

NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
PARTITION = {"day": "2026-11-23"}


def write_part(write: Write, content: bytes = b"part", partition: dict[str, str] = PARTITION) -> FileEntry:
    name = write.part_path(partition)
    with closing(write.location.create(name)) as sink:
        sink.write(content)
    return FileEntry(path=name, rows=1, bytes=len(content), sha256=sink.sha256)


def manifest(write: Write, *files: FileEntry, partition: dict[str, str] = PARTITION) -> Manifest:
    return Manifest(
        run=write.run,
        mode="snapshot",
        partition=partition,
        files=list(files),
        rows=len(files),
        schema=[],
        started_at=NOON,
        finished_at=NOON,
    )


def commit(location: Location, content: bytes = b"part", partition: dict[str, str] = PARTITION) -> Manifest:
    with Dataset(location).begin() as write:
        return write.commit(manifest(write, write_part(write, content, partition), partition=partition))


def parts(location: Location) -> set[str]:
    return {name for name in location.list() if name.endswith(".parquet")}


def test_nothing_is_seen_before_the_commit(location: Location) -> None:
    dataset = Dataset(location)
    assert dataset.newest() is None
    with dataset.begin() as write:
        entry = write_part(write)
        assert parts(location) == {entry.path}
        assert dataset.newest() is None
        committed = write.commit(manifest(write, entry))
    assert dataset.newest() == committed
    assert committed.sequence == 1
    assert location.read(entry.path) == b"part"
    assert location.list("_leases") == {}


def test_a_write_left_without_a_commit_leaves_nothing(location: Location) -> None:
    first = commit(location)
    with Dataset(location).begin() as write:
        assert write_part(write).path in parts(location)
    assert Dataset(location).newest() == first
    assert parts(location) == {first.files[0].path}
    assert location.list("_leases") == {}


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_no_manifest_names_a_part_that_is_not_whole(location: Location, harm: str) -> None:
    with Dataset(location).begin() as write:
        entry = write_part(write)
        if harm == "gone":
            location.delete(entry.path)
        else:
            location.write_atomic(entry.path, b"pa")
        with pytest.raises(LeaseLostError, match="gone or cut short"):
            write.commit(manifest(write, entry))
    assert Dataset(location).newest() is None
    assert location.list("_manifests") == {}


def test_a_partition_is_replaced_and_others_stay(location: Location) -> None:
    other = commit(location, b"other", {"day": "2026-11-22"})
    commit(location, b"old")
    new = commit(location, b"new")
    assert parts(location) == {other.files[0].path, new.files[0].path}
    assert set(location.list("_manifests")) == {other.name, new.name}
    assert (Dataset(location).newest(), new.sequence) == (new, 3)


def test_a_commit_of_another_mode_is_not_replaced(location: Location) -> None:
    first = commit(location)
    with Dataset(location).begin() as write:
        entry = write_part(write)
        second = write.commit(msgspec.structs.replace(manifest(write, entry), mode="other"))
    assert parts(location) == {first.files[0].path, second.files[0].path}
    assert Dataset(location).newest() == second


DIES = """
import os, signal, sys
from airflow_provider_customerly.storage import Dataset, Location
write = Dataset(Location.of(sys.argv[1])).begin()
name = write.part_path({"day": "2026-11-23"})
sink = write.location.create(name)
sink.write(b"part of the dead")
sink.close()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_parts_of_a_dead_writer_go_with_the_next_write(location: Location) -> None:
    first = commit(location)
    subprocess.run([sys.executable, "-c", DIES, str(location)], check=False)
    assert len(parts(location)) == 2
    assert Dataset(location).newest() == first
    with Dataset(location).begin():
        assert parts(location) == {first.files[0].path}
    assert location.list("_leases") == {}


def test_parts_of_a_living_writer_stay(location: Location) -> None:
    with Dataset(location).begin("one") as slow:
        entry = write_part(slow, b"slow")
        quick = commit(location, b"quick", {"day": "2026-11-22"})
        assert parts(location) == {entry.path, quick.files[0].path}
        last = slow.commit(manifest(slow, entry))
    assert Dataset(location).newest() == last
    assert last.sequence == 2


def test_a_second_try_takes_over_from_the_first(location: Location) -> None:
    dataset = Dataset(location)
    first = dataset.begin("the same")
    entry = write_part(first, b"first")
    with dataset.begin("the same") as second:
        assert parts(location) == set()
        other = write_part(second, b"second")
        with pytest.raises(LeaseLostError, match="taken for dead"):
            first.commit(manifest(first, entry))
        committed = second.commit(manifest(second, other))
    first.abort()
    assert dataset.newest() == committed
    assert parts(location) == {other.path}


def test_a_writer_that_is_taken_for_dead_while_it_commits_takes_its_manifest_back(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Dataset(location)
    write = dataset.begin("the same")
    entry = write_part(write)
    write_manifest = Location.write_atomic

    def be_overtaken(place: Location, name: str, content: bytes) -> None:
        write_manifest(place, name, content)
        if name.startswith("_manifests/"):
            monkeypatch.undo()
            dataset.begin("the same")

    monkeypatch.setattr(Location, "write_atomic", be_overtaken)
    with pytest.raises(LeaseLostError):
        write.commit(manifest(write, entry))
    assert dataset.newest() is None


def test_a_damaged_manifest_is_named_and_can_be_deleted(location: Location) -> None:
    first = commit(location, partition={"day": "2026-11-22"})
    second = commit(location)
    location.write_atomic(second.name, second.encode()[:-20])
    with pytest.raises(ValueError, match=f"{second.name} at .* is damaged .*delete it"):
        Dataset(location).newest()
    location.delete(second.name)
    assert Dataset(location).newest() == first


def test_a_manifest_of_a_later_version_asks_for_an_upgrade(location: Location) -> None:
    later = msgspec.structs.replace(commit(location), format_version=99)
    location.write_atomic(later.name, later.encode())
    with pytest.raises(ValueError, match=r"format version 99, .* Upgrade airflow-provider-customerly"):
        Dataset(location).newest()


def test_a_manifest_can_be_read_by_a_person_and_comes_back_the_same(location: Location) -> None:
    committed = commit(location)
    text = location.read(committed.name).decode()
    assert '"path": "day=2026-11-23/part-00000-' in text
    assert Dataset(location).newest() == committed
