"""A lease lives as long as its holder, whatever the holder waits for, and no longer."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from contextlib import nullcontext
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from airflow_provider_customerly.storage import Dataset, LeaseLostError, Location, Lock, LockedError, lease

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LASTS = timedelta(seconds=3)


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LASTS", LASTS)
    monkeypatch.setattr(lease, "GRACE", timedelta(seconds=1))
    monkeypatch.setattr(lease, "RENEW_EVERY", timedelta(seconds=0.1))


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        threading.Event().wait(0.05)


def claim_on(location: Location) -> lease.Claim:
    [claim] = lease.claims(location)
    return claim


@pytest.mark.usefixtures("short_leases")
def test_a_holder_that_waits_for_longer_than_a_lease_keeps_it(location: Location) -> None:
    with Lock(location, "slow") as lock:
        first = claim_on(location)
        wait_until(lambda: datetime.now(timezone.utc) > first.expires_at + lease.GRACE)
        with pytest.raises(LockedError, match="run slow"):
            Lock(location, "quick")
        lock.raise_if_lost()
        lock.check()
    assert location.list("_leases") == {}


@pytest.mark.usefixtures("short_leases")
def test_so_does_a_writer(location: Location) -> None:
    with Dataset(location).begin() as write:
        first = claim_on(location)
        wait_until(lambda: datetime.now(timezone.utc) > first.expires_at + lease.GRACE)
        write.raise_if_lost()
        with Dataset(location).begin():
            assert write.run in {claim.run for claim in lease.claims(location)}


def test_nothing_goes_on_once_it_is_given_up(tmp_path: Path) -> None:
    location = Location.of(tmp_path)
    before = set(threading.enumerate())
    with Lock(location, "one"), Dataset(location).begin("two"), pytest.raises(LockedError):
        Lock(location, "three")
    assert set(threading.enumerate()) == before


@pytest.mark.usefixtures("short_leases")
def test_a_storage_that_fails_for_a_while_does_no_harm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    leases = tmp_path / "data" / "_leases"
    leases.parent.mkdir()

    def lead_to(target: str) -> None:
        (tmp_path / "link").symlink_to(tmp_path / target)
        (tmp_path / "link").replace(leases)

    lead_to("folder")
    location = Location.of(leases.parent)
    with Lock(location, "one") as lock:
        lead_to("file")
        wait_until(lambda: "Could not renew the claim" in caplog.text)
        lead_to("folder")
        seen = claim_on(location).renewed_at
        wait_until(lambda: claim_on(location).renewed_at > seen)
        lock.check()


@pytest.mark.usefixtures("short_leases")
def test_a_holder_is_told_that_another_took_over_without_asking_the_storage(location: Location) -> None:
    first = Lock(location, "first", "dag/run/task")
    with Lock(location, "second", "dag/run/task"):
        with pytest.raises(LeaseLostError, match="taken for dead"):
            wait_until(lambda: first.raise_if_lost() is not None)
        assert claim_on(location).run == "second"


HOLDS = """
import sys
from datetime import timedelta
from threading import Event
from airflow_provider_customerly.storage import LeaseLostError, Location, Lock, lease
lease.LASTS, lease.RENEW_EVERY = timedelta(seconds=3), timedelta(seconds=0.05)
with Lock(Location.of(sys.argv[1]), "frozen") as lock:
    print("holds", flush=True)
    sys.stdin.readline()
    Event().wait(float(sys.argv[2]))
    try:
        lock.check()
    except LeaseLostError as error:
        print(error)
    print(*(claim.run for claim in lease.claims(Location.of(sys.argv[1]))))
"""


@pytest.mark.usefixtures("short_leases")
@pytest.mark.parametrize("is_overtaken", [True, False])
@pytest.mark.parametrize("pause", ["0", "0.5"], ids=["asked first", "kept first"])
def test_a_process_that_stood_still_finds_that_it_lost_its_lease(
    tmp_path: Path, pause: str, is_overtaken: bool
) -> None:
    location = Location.of(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path), pause],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        process.send_signal(signal.SIGSTOP)
        last = claim_on(location)
        wait_until(lambda: datetime.now(timezone.utc) > last.expires_at + lease.GRACE)
        with Lock(location, "awake") if is_overtaken else nullcontext():
            process.send_signal(signal.SIGCONT)
            told, _ = process.communicate("\n")
    assert told.splitlines()[0].startswith(f"Run frozen on {location} gave no sign of life for ")
    assert told.splitlines()[1:] == ["awake" if is_overtaken else "frozen"]
