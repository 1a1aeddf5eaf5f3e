import hashlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from nights import Ticking, export, increment, newest, versions

from airflow_provider_customerly.client import CustomerlyUnavailable
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import ExportGuardError, UnprovenError, read_contacts
from airflow_provider_customerly.export.staging import Staging
from airflow_provider_customerly.storage import Location
from airflow_provider_customerly.storage.run_id import RunId

pytestmark = pytest.mark.slow_on_s3


def fails_after(emulator: Emulator, requests: int, path: Any, **options: Any) -> None:
    """Let an export die of an outage that comes after so many requests."""
    emulator.faults.plan([None] * requests + ["down"] * 10_000)
    with pytest.raises(CustomerlyUnavailable):
        export(emulator, path, **{"owner": "the run", "retry_budget": 0, **options})
    emulator.faults.clear()


def counted(emulator: Emulator, path: Any, **options: Any) -> int:
    before = emulator.stats()["requests"]
    export(emulator, path, **options)
    return int(emulator.stats()["requests"] - before)


KILLED = """
import os, signal, sys
from airflow_provider_customerly.client import Client
from airflow_provider_customerly.export import export_contacts
token, url, path, most = sys.argv[1:]
with Client(token, url) as client:
    fetch, asked = client.fetch_page, [0]
    def die_in_the_middle(*args, **kwargs):
        asked[0] += 1
        if asked[0] > int(most):
            os.kill(os.getpid(), signal.SIGKILL)
        return fetch(*args, **kwargs)
    client.fetch_page = die_in_the_middle
    export_contacts(client, path, "users", snapshot_date="2026-11-23", owner="the run")
"""


@pytest.fixture(scope="module")
def many(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    with Emulator(users=request.param, leads=0) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def fresh(many: Emulator, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Requests of an export that nothing happens to."""
    return counted(many, tmp_path_factory.mktemp("fresh"))


@pytest.mark.parametrize(
    ("many", "killed_at", "most"),
    [
        (20_000, 0.8, 0.8),  # what is read ahead of the writing weighs more in a short list
        pytest.param(100_000, 0.5, 0.6, marks=pytest.mark.slow),
        pytest.param(100_000, 0.8, 0.3, marks=pytest.mark.slow),
        pytest.param(100_000, 0.99, 0.1, marks=pytest.mark.slow),
    ],
    indirect=["many"],
)
def test_a_killed_try_leaves_little_to_do(
    many: Emulator, fresh: int, location: Location, killed_at: float, most: float
) -> None:
    arguments = [many.token, many.url, str(location), str(int(fresh * killed_at))]
    process = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert process.returncode == -signal.SIGKILL
    assert counted(many, location, owner="the run") <= fresh * most
    assert versions(location) == many.store.versions("users")
    manifest = newest(location)
    assert (manifest.certificate["verdict"], manifest.certificate["tries"]) == ("complete", 2)
    assert [name for name in location.join("users").list("_staging") if name.endswith(".arrow")] == []


def test_the_result_is_as_if_nothing_had_happened(location: Location, tmp_path: Path) -> None:
    with Emulator(users=9000, leads=0) as emulator:
        export(emulator, tmp_path)
        for requests in (25, 20, 30):  # three tries, each a little further
            fails_after(emulator, requests, location)
        export(emulator, location, owner="the run")
    assert newest(location).certificate["tries"] == 4
    key = [("crmhero_user_id", "ascending")]
    resumed, plain = (read_contacts(path, "users").to_table().sort_by(key) for path in (location, tmp_path))
    assert resumed.equals(plain)


@pytest.mark.parametrize("churn", [0.5, 3.0])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_nothing_is_lost_when_contacts_change_during_and_between_tries(
    tmp_path: Path, churn: float, seed: int
) -> None:
    with Emulator(users=6000, leads=0, seed=seed, churn_per_request=churn, clock=Ticking()) as emulator:
        before = dict(emulator.store.versions("users"))
        for requests in (22, 30):
            fails_after(emulator, requests, tmp_path)
            emulator.store.churn(300)
        export(emulator, tmp_path, owner="the run")
        found, after = versions(tmp_path), emulator.store.versions("users")
    assert newest(Location.of(tmp_path)).certificate["tries"] == 3
    unchanged = {key: stamp for key, stamp in before.items() if after.get(key) == stamp}
    assert len(unchanged) > 3000
    assert {key: stamp for key, stamp in unchanged.items() if found.get(key) != stamp} == {}


def test_many_equal_stamps_do_not_come_twice(tmp_path: Path) -> None:
    with Emulator(users=9000, leads=0, tie_group=1500, shuffle_ties=True) as emulator:
        for requests in (35, 40, 30):
            fails_after(emulator, requests, tmp_path)
        export(emulator, tmp_path, owner="the run")
        assert versions(tmp_path) == emulator.store.versions("users")


@pytest.mark.parametrize(
    "other",
    [{"owner": "another run"}, {"owner": ""}, {"attributes": {"plan": "string"}}, {"drop_columns": ["name"]}],
)
def test_only_the_same_work_goes_on(tmp_path: Path, other: dict[str, Any]) -> None:
    with Emulator(users=6000, leads=0) as emulator:
        fails_after(emulator, 50, tmp_path)
        export(emulator, tmp_path, **{"owner": "the run", **other})
        assert versions(tmp_path) == emulator.store.versions("users")
    assert newest(Location.of(tmp_path)).certificate["tries"] == 1


@pytest.mark.parametrize("differs", ["address", "token"])
def test_what_was_read_of_another_project_is_not_mixed_in(tmp_path: Path, differs: str) -> None:
    with Emulator(users=6000, leads=0, seed=1) as one, Emulator(users=6000, leads=0, seed=2) as other:
        fails_after(one, 50, tmp_path)
        if differs == "token":  # of another project at the same address
            one.service.token, one.service.store = "tok-of-the-other", other.store
        export(one if differs == "token" else other, tmp_path, owner="the run")
        assert versions(tmp_path) == other.store.versions("users")
    assert newest(Location.of(tmp_path)).certificate["tries"] == 1


def test_what_a_guard_refused_is_read_anew(tmp_path: Path) -> None:
    with Emulator(users=6000, leads=0) as emulator:
        fails_after(emulator, 50, tmp_path)
        with pytest.raises(ExportGuardError, match="min_rows"):
            export(emulator, tmp_path, owner="the run", min_rows=7000)
        export(emulator, tmp_path, owner="the run")
    assert newest(Location.of(tmp_path)).certificate["tries"] == 1


def test_values_that_do_not_fit_are_counted_over_all_tries(tmp_path: Path) -> None:
    with Emulator(users=6000, leads=0) as emulator:
        oldest = min(emulator.store.versions("users").values())
        for number in range(3):
            record = {"crmhero_user_id": 5 + number, "latitude": "north", "last_update": oldest}
            emulator.store.insert_raw("users", record)
        fails_after(emulator, 50, tmp_path)
        assert export(emulator, tmp_path, owner="the run")["misfits"] == {"latitude": 3}


def test_an_export_of_changes_goes_on_too(tmp_path: Path) -> None:
    with Emulator(users=8000, leads=0, clock=Ticking()) as emulator:
        increment(emulator, tmp_path)
        emulator.store.churn(6000, {"update": 1})
        fails_after(emulator, 60, tmp_path, mode="incremental")
        assert counted(emulator, tmp_path, mode="incremental", owner="the run") < 35
        assert versions(tmp_path) == emulator.store.versions("users")
    assert newest(Location.of(tmp_path)).certificate["tries"] == 2


def of_another_version(segment: bytes) -> bytes:
    content = segment[:-32].replace(b'"tries"', b'"times"')
    return content + hashlib.sha256(content).digest()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "deleted": lambda _: b"",
    "cut": lambda segment: segment[: len(segment) // 2],
    "zeroed": lambda segment: bytes(len(segment)),
    "zeroed in the middle": lambda segment: segment[:-5000] + bytes(1000) + segment[-4000:],
    "of another version": of_another_version,
}


@pytest.mark.parametrize(("which", "tries"), [(0, 1), (-1, 2)], ids=["first", "last"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_segment_costs_time_and_nothing_else(
    tmp_path: Path, damage: str, which: int, tries: int
) -> None:
    with Emulator(users=9000, leads=0) as emulator:
        fails_after(emulator, 85, tmp_path)
        segments = sorted((tmp_path / "users" / "_staging").rglob("*.arrow"))
        assert len(segments) > 1
        segment = segments[which]
        content = segment.read_bytes()
        assert DAMAGES[damage](content) != content
        segment.write_bytes(DAMAGES[damage](content))
        if damage == "deleted":
            segment.unlink()
        export(emulator, tmp_path, owner="the run")
        assert versions(tmp_path) == emulator.store.versions("users")
    assert newest(Location.of(tmp_path)).certificate["tries"] == tries


def test_the_reading_begins_with_the_first_try(tmp_path: Path) -> None:
    """The watermark must not pass by what changed since then."""
    with Emulator(users=6000, leads=0) as emulator:
        fails_after(emulator, 50, tmp_path)
        between = datetime.now(timezone.utc)
        export(emulator, tmp_path, owner="the run")
    manifest = newest(Location.of(tmp_path))
    assert manifest.certificate["tries"] == 2
    assert manifest.started_at < between


def test_what_cannot_be_completed_from_an_earlier_try_is_never_committed(tmp_path: Path) -> None:
    with Emulator(users=6000, leads=0) as emulator:
        fails_after(emulator, 50, tmp_path)
        page = emulator.store.page
        emulator.store.page = lambda *of: page(*of[:3], "last_update", "desc")  # type: ignore[method-assign]
        with pytest.raises(UnprovenError, match="An earlier attempt stopped"):
            export(emulator, tmp_path, owner="the run", on_unproven="warn")
        emulator.store.page = page  # type: ignore[method-assign]
        export(emulator, tmp_path, owner="the run")
        assert versions(tmp_path) == emulator.store.versions("users")
    assert newest(Location.of(tmp_path)).certificate["tries"] == 1


def test_a_contact_that_came_again_within_the_segments_is_there_once(tmp_path: Path) -> None:
    with Emulator(users=6000, leads=0, clock=Ticking()) as emulator:
        fails_after(emulator, 50, tmp_path)
        changed = [
            key for key, _ in sorted(emulator.store.versions("users").items(), key=itemgetter(1))[:300]
        ]
        for contact_id in changed:
            emulator.store.update("users", contact_id, {"name": "Changed"})
        emulator.store.churn(3000, {"create": 1})  # so that the next try dies behind the changed ones
        fails_after(emulator, 60, tmp_path)
        export(emulator, tmp_path, owner="the run")
        assert versions(tmp_path) == emulator.store.versions("users")
    assert newest(Location.of(tmp_path)).certificate["tries"] == 3


def test_what_a_reading_took_back_is_read_again(tmp_path: Path) -> None:
    """A reading that sees the order among equal stamps change goes back to where it first relied on it."""
    staging = Staging(Location.of(tmp_path), "the run", RunId.new(), "settings")
    for settled in ("2026-11-23 10:00:00", "2026-11-25 10:00:00", "2026-11-24 10:00:00"):
        batch = pa.record_batch({"crmhero_user_id": [1], "last_update": [datetime(2026, 11, 20)]})
        now = datetime.now(timezone.utc)
        staging.add(batch, position=1, settled=settled, started_at=now, windows=1, misfits={})
        staging.keep()
    staged = Staging(Location.of(tmp_path), "the run", RunId.new(), "settings").load()
    assert staged.settled == "2026-11-24 10:00:00"
    assert set(staged.segments.values()) == {staged.settled}
    assert len(staged.segments) == 3


@pytest.mark.parametrize(("days", "tries"), [(1, 2), (3, 1)])
def test_staging_lasts_two_days(tmp_path: Path, days: int, tries: int) -> None:
    with Emulator(users=6000, leads=0) as emulator:
        fails_after(emulator, 25, tmp_path)
        first, *others = sorted((tmp_path / "users" / "_staging").rglob("*.arrow"))
        for segment in others:  # a segment names the one before it
            segment.unlink()
        begun = f"{datetime.now(timezone.utc) - timedelta(days=days):%Y%m%dT%H%M%S%fZ}"
        first.rename(first.with_name(re.sub(r"\d{8}T\d{12}Z", begun, first.name)))
        export(emulator, tmp_path, owner="the run")
        assert versions(tmp_path) == emulator.store.versions("users")
    assert newest(Location.of(tmp_path)).certificate["tries"] == tries


def test_segments_hold_what_the_export_holds_and_no_more(tmp_path: Path) -> None:
    hashed = {"hash_columns": ["email"], "hash_salt": "pepper", "drop_columns": ["name"]}
    with Emulator(users=6000, leads=0) as emulator:
        fails_after(emulator, 50, tmp_path, **hashed)
    segments = list((tmp_path / "users" / "_staging").rglob("*.arrow"))
    assert segments
    for segment in segments:
        with pa.ipc.open_stream(segment.read_bytes()) as stream:
            table = stream.read_all()
        assert "name" not in table.column_names
        assert {len(text) for text in table["email"].to_pylist() if text} == {64}
        assert b"the run" not in segment.read_bytes()
        assert b"pepper" not in segment.read_bytes()
        assert emulator.token.encode() not in segment.read_bytes()
