from contextlib import closing
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_customerly.storage import (
    Dataset,
    FileEntry,
    LeaseLostError,
    Location,
    Manifest,
    chain,
    find_commit,
    remove_old_commits,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)


def commit(
    location: Location,
    mode: str,
    day: int,
    *,
    after: Manifest | None = None,
    owner: str = "",
    refreshed_at: datetime | None = None,
) -> Manifest:
    partition = {f"{mode}_date": f"2026-11-{day:02d}"}
    with Dataset(location).begin() as write:
        name = write.part_path(partition)
        with closing(write.location.create(name)) as sink:
            sink.write(b"part")
        return write.commit(
            Manifest(
                run=write.run,
                owner=owner,
                mode=mode,
                after=after.name if after else "",
                partition=partition,
                files=[FileEntry(path=name, rows=1, bytes=4, sha256=sink.sha256)],
                rows=1,
                schema=[],
                refreshed_at=refreshed_at,
                started_at=NOON,
                finished_at=datetime(2026, 11, day, tzinfo=timezone.utc),
            )
        )


def committed(location: Location) -> set[str]:
    """Names of the commits, once it is sure that their files and no others are there."""
    manifests = [Dataset(location).at(name) for name in location.list("_manifests")]
    files = {entry.path for manifest in manifests for entry in manifest.files}
    assert {name for name in location.list() if name.endswith(".parquet")} == files
    return {manifest.name for manifest in manifests}


def test_what_is_added_on_one_day_counts_twice(location: Location) -> None:
    base = commit(location, "snapshot", 20)
    one = commit(location, "change", 21, after=base, owner="first run")
    two = commit(location, "change", 21, after=one, owner="second run")
    assert committed(location) == {base.name, one.name, two.name}
    assert chain(location, two) == [base, one, two]


def test_a_run_again_replaces_what_it_added_before(location: Location) -> None:
    base = commit(location, "snapshot", 20)
    commit(location, "change", 21, after=base, owner="a run")
    again = commit(location, "change", 21, after=base, owner="a run")
    assert committed(location) == {base.name, again.name}


@pytest.mark.parametrize("owners", [("one", "two"), ("", "")])
def test_others_that_add_to_the_same_commit_stay(location: Location, owners: tuple[str, str]) -> None:
    base = commit(location, "snapshot", 20)
    both = [commit(location, "change", 21, after=base, owner=owner) for owner in owners]
    assert committed(location) == {base.name, *(one.name for one in both)}


def test_what_another_commit_adds_to_is_not_replaced(location: Location) -> None:
    base = commit(location, "snapshot", 20)
    change = commit(location, "change", 21, after=base)
    again = commit(location, "snapshot", 20)
    assert committed(location) == {base.name, change.name, again.name}
    assert chain(location, change) == [base, change]


def test_adding_to_a_commit_that_went_meanwhile_fails(location: Location) -> None:
    base = commit(location, "snapshot", 20)
    commit(location, "snapshot", 20)
    with pytest.raises(LeaseLostError, match=f"{base.name} at .* was replaced or removed meanwhile"):
        commit(location, "change", 21, after=base)
    assert len(committed(location)) == 1


def test_adding_to_what_was_read_whole_since_fails(location: Location) -> None:
    base = commit(location, "snapshot", 20, refreshed_at=NOON)
    late = commit(location, "snapshot", 21, refreshed_at=NOON + timedelta(days=1))
    with pytest.raises(LeaseLostError, match="another run committed a whole list"):
        commit(location, "change", 21, after=base, refreshed_at=NOON)
    assert committed(location) == {base.name, late.name}


def test_adding_to_what_was_folded_since_is_well(location: Location) -> None:
    base = commit(location, "snapshot", 20, refreshed_at=NOON)
    change = commit(location, "change", 21, after=base, refreshed_at=NOON)
    folded = commit(location, "compacted", 21, refreshed_at=NOON)
    other = commit(location, "change", 21, after=base, refreshed_at=NOON)
    assert committed(location) == {base.name, change.name, folded.name, other.name}


def test_a_chain_with_a_gap_says_so(location: Location) -> None:
    base = commit(location, "snapshot", 20)
    change = commit(location, "change", 21, after=base)
    location.delete(base.name)
    with pytest.raises(FileNotFoundError, match=f"{base.name} .* is gone"):
        chain(location, change)


@pytest.mark.parametrize(
    ("as_of", "sequence"),
    [
        (2, 2),
        (datetime(2026, 11, 21, tzinfo=timezone.utc), 2),
        (datetime(2026, 11, 21, 23), 2),
        (datetime(2026, 11, 22, 1, tzinfo=timezone(timedelta(hours=2))), 2),
        (datetime(2030, 1, 1, tzinfo=timezone.utc), 3),
        ("2", 2),
        ("2026-11-21T00:00:00Z", 2),
        ("2026-11-21 23:59", 2),
        ("2026-11-22T01:00:00+02:00", 2),
        ("2026-11-21", 2),
        (date(2026, 11, 21), 2),
        (date(2030, 1, 1), 3),
    ],
)
def test_earlier_commits_are_found(location: Location, as_of: Any, sequence: int) -> None:
    manifests = [commit(location, "snapshot", day) for day in (20, 21, 22)]
    found = manifests[sequence - 1]
    assert find_commit(location, as_of) == found
    for name in (found.name, found.name.removeprefix("_manifests/"), found.name.removesuffix(".json")):
        assert find_commit(location, name) == found


@pytest.mark.parametrize(
    "as_of",
    [
        7,
        "7",
        "_manifests/00000007-x.json",
        "yesterday",
        "2026-11-19",
        date(2026, 11, 19),
        datetime(2020, 1, 1),
    ],
)
def test_a_commit_that_is_not_there_is_told(location: Location, as_of: Any) -> None:
    commit(location, "snapshot", 20)
    with pytest.raises(FileNotFoundError, match=r"no commit as of .* Sequences there: from 1 to 1"):
        find_commit(location, as_of)


def test_old_commits_go_unless_a_kept_one_needs_them(location: Location) -> None:
    old = commit(location, "snapshot", 1)
    base = commit(location, "snapshot", 2)
    one = commit(location, "change", 3, after=base)
    two = commit(location, "change", 4, after=one)
    new = commit(location, "snapshot", 5)
    last = commit(location, "change", 6, after=new)
    everything = {one.name for one in (old, base, one, two, new, last)}
    now = datetime(2026, 11, 6, 1, tzinfo=timezone.utc)

    assert remove_old_commits(location, None, None, now) == 0
    assert committed(location) == everything
    assert remove_old_commits(location, 3, None, now) == 1
    assert committed(location) == everything - {old.name}
    assert remove_old_commits(location, 1, 1.5, now) == 0
    assert remove_old_commits(location, 1, None, now) == 3
    assert committed(location) == {new.name, last.name}
    assert remove_old_commits(location, None, 0, now) == 0
    assert chain(location, last) == [new, last]


def test_every_state_of_the_days_to_keep_stays(location: Location) -> None:
    days = [1, 3, 10]
    first, second, third = (commit(location, "snapshot", day) for day in days)
    now = datetime(2026, 11, 12, tzinfo=timezone.utc)
    assert remove_old_commits(location, None, 7, now) == 1
    assert committed(location) == {second.name, third.name}
    assert find_commit(location, now - timedelta(days=5)) == second
    assert first.files[0].path not in location.list()


def test_a_damaged_manifest_keeps_no_other_from_going(
    location: Location, caplog: pytest.LogCaptureFixture
) -> None:
    commits = [commit(location, "snapshot", day) for day in (1, 2, 3, 4)]
    location.write_atomic(commits[1].name, b"{")
    now = datetime(2026, 11, 4, tzinfo=timezone.utc)
    assert remove_old_commits(location, 1, None, now) == 2
    assert set(location.list("_manifests")) == {commits[1].name, commits[3].name}
    assert f"{commits[1].name} at {location} is damaged" in caplog.text
    again = commit(location, "snapshot", 4)
    assert set(location.list("_manifests")) == {commits[1].name, again.name}


def test_what_a_damaged_manifest_may_add_to_is_not_replaced(location: Location) -> None:
    base = commit(location, "snapshot", 20)
    change = commit(location, "change", 21, after=base)
    location.write_atomic(change.name, b"{")
    again = commit(location, "snapshot", 20)
    assert set(location.list("_manifests")) == {base.name, change.name, again.name}
