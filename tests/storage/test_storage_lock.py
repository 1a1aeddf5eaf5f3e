"""One holder at a time, whoever asks when, and none for ever."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import msgspec
import pytest

from airflow_provider_customerly.storage import LeaseLostError, Location, Lock, LockedError
from airflow_provider_customerly.storage.lease import GRACE, LASTS, Claim, claims
from airflow_provider_customerly.storage.process import Process

if TYPE_CHECKING:
    from pathlib import Path


def put_claim(location: Location, owner: str, process: Process, renewed: datetime) -> None:
    claim = Claim(
        run="other",
        owner=owner,
        process=process,
        renewed_at=renewed,
        expires_at=renewed + LASTS,
        holding=True,
    )
    location.write_atomic("_leases/other.json", msgspec.json.encode(claim))


def test_the_second_is_told_who_holds_it_and_gets_it_afterwards(tmp_path: Path) -> None:
    location = Location.of(tmp_path)
    with Lock(location, "one", "nightly/2026-11-24/sync"):
        with pytest.raises(LockedError, match=r"in use by nightly/2026-11-24/sync \(run one, process \d+ on"):
            Lock(location, "two", "by hand")
        assert [claim.run for claim in claims(location)] == ["one"]
    with Lock(location, "two", "by hand"):
        pass
    assert claims(location) == []


def test_of_many_that_ask_at_once_at_most_one_holds(tmp_path: Path) -> None:
    location = Location.of(tmp_path)
    start, held, refused = threading.Barrier(6), [], []
    release = threading.Event()

    def ask(name: str) -> None:
        start.wait()
        try:
            lock = Lock(location, name)
        except LockedError:
            refused.append(name)
            return
        with lock:
            held.append(name)
            release.wait(30)

    threads = [threading.Thread(target=ask, args=(f"run-{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    while len(held) + len(refused) < 6:
        threading.Event().wait(0.01)
    release.set()
    for thread in threads:
        thread.join()
    assert len(held) <= 1
    with Lock(location, "afterwards") as lock:
        lock.check()


def test_an_earlier_try_of_the_same_owner_is_taken_over_and_notices(tmp_path: Path) -> None:
    location = Location.of(tmp_path)
    first = Lock(location, "first", "dag/run/task")
    with Lock(location, "second", "dag/run/task") as second:
        with pytest.raises(LeaseLostError, match="taken for dead"):
            first.check()
        second.check()


@pytest.mark.parametrize(
    ("age", "is_free"), [(LASTS + GRACE - timedelta(minutes=1), False), (LASTS + GRACE, True)]
)
def test_a_holder_on_another_machine_that_fell_silent_expires(
    tmp_path: Path, age: timedelta, is_free: bool
) -> None:
    location = Location.of(tmp_path)
    elsewhere = Process("another-host", "", 1, "1")
    put_claim(location, "dag/run/task", elsewhere, datetime.now(timezone.utc) - age - timedelta(seconds=1))
    if is_free:
        Lock(location, "mine").__exit__(None, None, None)
    else:
        with pytest.raises(LockedError, match="another-host"):
            Lock(location, "mine")


def test_a_holder_that_died_on_this_machine_does_not_count(tmp_path: Path) -> None:
    location = Location.of(tmp_path)
    here = Process.current()
    dead = msgspec.structs.replace(here, started="1")
    put_claim(location, "dag/run/task", dead, datetime.now(timezone.utc))
    with Lock(location, "mine"):
        assert [claim.run for claim in claims(location)] == ["mine"]
