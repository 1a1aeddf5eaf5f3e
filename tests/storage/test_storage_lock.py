"""One holder at a time, whoever asks when, stands still or wakes, and none for ever."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext, suppress
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import msgspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_customerly.storage import Location, Lock, LockedError, LockLostError, lock
from airflow_provider_customerly.storage.claim import GRACE, SILENT_FOR, Claim
from airflow_provider_customerly.storage.lock import LASTS, SURE_FOR, claims
from airflow_provider_customerly.storage.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OWNER = "dag/run/task"
ELSEWHERE = Process("another-host", "", 1, "1")
QUICK_GRACE = timedelta(seconds=0.5)


def put_claim(
    location: Location, process: Process, age: timedelta = timedelta(), owner: str = OWNER, run: str = "other"
) -> None:
    renewed = datetime.now(timezone.utc) - age
    claim = Claim(run=run, owner=owner, process=process, renewed_at=renewed, expires_at=renewed + LASTS)
    location.write_atomic(f"_leases/{run}.json", msgspec.json.encode(claim))


def runs(location: Location) -> list[str]:
    return [claim.run for claim in claims(location)]


def test_the_second_hears_who_holds_it_and_gets_it_afterwards(tmp_path: Path) -> None:
    location = Location.of(tmp_path)
    with Lock(location, "one", "nightly/2026-11-24/sync"):
        with pytest.raises(LockedError, match=r"in use by nightly/2026-11-24/sync \(run one, process \d+ on"):
            Lock(location, "two", "by hand")
        assert runs(location) == ["one"]
    with Lock(location, "two", "by hand"):
        pass
    assert runs(location) == []


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
            release.wait()

    threads = [threading.Thread(target=ask, args=(f"run-{n}",), daemon=True) for n in range(6)]
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


def test_an_earlier_try_on_this_machines_disk_is_taken_over_and_sees_it_before_its_next_request(
    tmp_path: Path,
) -> None:
    location = Location.of(tmp_path)
    first = Lock(location, "first", OWNER)
    with Lock(location, "second", OWNER) as second:
        with pytest.raises(LockLostError, match="considered dead and replaced by another run"):
            first.raise_if_lost()
        second.check()
        first.__exit__(None, None, None)
        second.check()


@pytest.mark.parametrize(("age", "is_free"), [(timedelta(minutes=-1), False), (timedelta(seconds=1), True)])
def test_a_holder_on_another_machine_that_fell_silent_expires(
    tmp_path: Path, age: timedelta, is_free: bool
) -> None:
    location = Location.of(tmp_path)
    put_claim(location, ELSEWHERE, LASTS + GRACE + age)
    if is_free:
        Lock(location, "mine").__exit__(None, None, None)
    else:
        with pytest.raises(LockedError, match="another-host"):
            Lock(location, "mine")


def test_a_holder_that_died_on_this_machine_does_not_count(tmp_path: Path) -> None:
    location = Location.of(tmp_path)
    put_claim(location, msgspec.structs.replace(Process.current(), started="1"))
    with Lock(location, "mine"):
        assert runs(location) == ["mine"]


def test_a_stopped_holder_is_sure_of_its_claim_for_less_than_others_wait() -> None:
    assert SURE_FOR < SILENT_FOR


@pytest.mark.parametrize("is_alive", [True, False])
def test_an_earlier_try_on_another_machine_is_taken_over_only_if_it_stays_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_alive: bool
) -> None:
    location = Location.of(tmp_path)
    ahead = timedelta(minutes=-3)  # its clock
    put_claim(location, ELSEWHERE, ahead)
    if is_alive:
        # It renews its claim while the other one waits: a thread that does so might itself fall silent.
        monkeypatch.setattr(lock, "_pause", lambda seconds: put_claim(location, ELSEWHERE, ahead))
        with pytest.raises(LockedError, match="another-host"):
            Lock(location, "mine", OWNER)
    else:
        monkeypatch.setattr(lock, "SILENT_FOR", timedelta(seconds=0.2))
        with Lock(location, "mine", OWNER):
            assert runs(location) == ["mine"]


def test_one_that_stood_still_while_it_waited_looks_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = Location.of(tmp_path)
    ahead = timedelta(minutes=-3)
    put_claim(location, ELSEWHERE, ahead)
    waits: list[float] = []
    read, real = lock._read, lock.time.time

    def read_and_stand_still(place: Location, name: str) -> Claim | None:
        claim = read(place, name)
        if len(waits) == 1:
            put_claim(location, ELSEWHERE, ahead)  # the holder renews it meanwhile
            monkeypatch.setattr(lock.time, "time", lambda: real() + SILENT_FOR.total_seconds() + 1)
        return claim

    monkeypatch.setattr(lock, "_pause", waits.append)
    monkeypatch.setattr(lock, "_read", read_and_stand_still)
    with pytest.raises(LockedError, match="another-host"):
        Lock(location, "mine", OWNER)
    assert len(waits) == 2


@pytest.mark.parametrize("clock", ["monotonic", "time"])
def test_a_process_that_stood_still_by_any_clock_asks_before_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    location = Location(MemoryFileSystem(), "/stood-still-by-any-clock")
    first = Lock(location, "first", OWNER)
    location.delete("_leases/first.json")
    first.raise_if_lost()  # does not ask a storage that is far away
    real = getattr(lock.time, clock)
    monkeypatch.setattr(lock.time, clock, lambda: real() + SURE_FOR.total_seconds() + 1)
    with pytest.raises(LockLostError, match="considered dead"):
        first.raise_if_lost()


def test_a_process_that_stood_still_goes_on_if_nobody_took_over(monkeypatch: pytest.MonkeyPatch) -> None:
    location = Location(MemoryFileSystem(), "/stood-still-alone")
    with Lock(location, "first", OWNER) as first:
        real = lock.time.time
        monkeypatch.setattr(lock.time, "time", lambda: real() + 3600)
        first.raise_if_lost()
        first.check()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let claims be renewed often and expire soon."""
    monkeypatch.setattr(lock, "LASTS", timedelta(seconds=1))
    set_grace(monkeypatch, QUICK_GRACE)
    monkeypatch.setattr(lock, "RENEW_EVERY", timedelta(seconds=0.05))


def set_grace(monkeypatch: pytest.MonkeyPatch, grace: timedelta) -> None:
    monkeypatch.setattr("airflow_provider_customerly.storage.claim.GRACE", grace)


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        threading.Event().wait(0.02)


def claim_on(location: Location) -> Claim:
    [claim] = claims(location)
    return claim


@pytest.mark.usefixtures("quick")
def test_a_holder_that_waits_for_longer_than_a_claim_lasts_keeps_it(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lock(location, "slow") as held:
        first = claim_on(location)
        wait_until(lambda: claim_on(location).renewed_at > first.expires_at + QUICK_GRACE)
        # The first claim would be void by now. The renewed one stays good for as long as the rest takes.
        set_grace(monkeypatch, timedelta(hours=1))
        with pytest.raises(LockedError, match="run slow"):
            Lock(location, "quick")
        held.raise_if_lost()
        held.check()
    assert location.list("_leases") == {}


def test_no_thread_goes_on_once_a_lock_is_given_up(tmp_path: Path) -> None:
    location = Location.of(tmp_path)
    before = set(threading.enumerate())
    with Lock(location, "one"), pytest.raises(LockedError):
        Lock(location, "two")
    assert set(threading.enumerate()) <= before


@pytest.mark.usefixtures("quick")
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
    with Lock(location, "one") as held:
        lead_to("file")
        wait_until(lambda: "Could not renew the claim" in caplog.text)
        held.raise_if_lost()
        lead_to("folder")
        seen = claim_on(location).renewed_at
        wait_until(lambda: claim_on(location).renewed_at > seen)
        held.check()


@pytest.mark.usefixtures("quick")
def test_a_holder_finds_that_another_took_over_without_asking_the_storage(location: Location) -> None:
    with Lock(location, "first", OWNER) as first:

        def hears_of_it() -> bool:
            # Again and again: a renewal that was under way writes the claim once more.
            location.delete("_leases/first.json")
            return first.raise_if_lost() is not None

        with pytest.raises(LockLostError, match="considered dead"):
            wait_until(hears_of_it)


HOLDS = """
import sys
from datetime import timedelta
from airflow_provider_customerly.storage import Location, Lock, LockLostError, lock
lock.LASTS = timedelta(seconds=1)
with Lock(Location.of(sys.argv[1]), "frozen") as held:
    print("holds", flush=True)
    sys.stdin.readline()
    try:
        held.raise_if_lost()
        print("goes on")
    except LockLostError as error:
        print(error)
"""


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("is_overtaken", [True, False])
def test_a_process_that_was_stopped_finds_that_it_was_overtaken(tmp_path: Path, is_overtaken: bool) -> None:
    location = Location.of(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        process.send_signal(signal.SIGSTOP)
        last = claim_on(location)
        wait_until(lambda: datetime.now(timezone.utc) > last.expires_at + QUICK_GRACE)
        with Lock(location, "awake") if is_overtaken else nullcontext():
            process.send_signal(signal.SIGCONT)
            told, _ = process.communicate("\n")
    assert told.startswith("Run frozen" if is_overtaken else "goes on")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"run": "x"}', b"\xff\xfe", b"null"])
@pytest.mark.parametrize("name", ["20260101T000000000000Z-0123abcd.json", "notes.json", "empty"])
def test_a_file_that_is_no_claim_stands_in_nobodys_way(
    tmp_path: Path, content: bytes, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    location = Location.of(tmp_path)
    location.write_atomic(f"_leases/{name}", content)
    with Lock(location, "mine") as held:
        held.check()
        held.renew()
        assert runs(location) == ["mine"]
    assert f"not a valid claim. Delete it.\n{location.path(f'_leases/{name}')}" in caplog.text


@pytest.mark.parametrize(
    ("renewed_at", "expires_at", "is_in_the_way"),
    [
        ("2099-01-01T00:00:00", "2099-01-01T00:15:00", False),
        ("1999-01-01T00:00:00Z", "1999-01-01T00:15:00Z", False),
        ("2099-01-01T00:00:00Z", "2099-01-01T00:15:00Z", True),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z", True),
    ],
)
def test_a_claim_of_an_odd_clock_is_passed_over_or_named_with_a_way_out(
    tmp_path: Path, renewed_at: str, expires_at: str, is_in_the_way: bool
) -> None:
    location, name = Location.of(tmp_path), "_leases/odd.json"
    put_claim(location, ELSEWHERE, run="odd")
    claim = json.loads(location.read(name))
    odd = {**claim, "renewed_at": renewed_at, "expires_at": expires_at}
    location.write_atomic(name, json.dumps(odd).encode())
    if is_in_the_way:
        with pytest.raises(LockedError, match=r"release it now, delete \S+_leases/odd\.json\."):
            Lock(location, "mine", odd["owner"] + " of another task")
        location.delete(name)
    Lock(location, "mine").__exit__(None, None, None)


def test_a_copy_of_a_claim_under_another_name_means_nothing(tmp_path: Path) -> None:
    location = Location.of(tmp_path)
    put_claim(location, ELSEWHERE, run="other")
    location.write_atomic("_leases/copy.json", location.read("_leases/other.json"))
    location.delete("_leases/other.json")
    Lock(location, "mine").__exit__(None, None, None)


class Steps:
    """Lets one thread at a time do one operation on the storage, in an order drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self._turn = threading.Condition()
        self._waiting: set[threading.Thread] = set()
        self._alive: set[threading.Thread] = set()
        self._next: threading.Thread | None = None

    def wait(self) -> None:
        """Wait for this thread's next turn."""
        me = threading.current_thread()
        with self._turn:
            if me not in self._alive:
                return
            self._waiting.add(me)
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._next is me)
            self._next = None
            self._waiting.discard(me)

    def run(self, works: list[Callable[[], None]], after_each: Callable[[], None]) -> None:
        def whole(work: Callable[[], None]) -> None:
            try:
                self.wait()
                work()
            finally:
                with self._turn:
                    self._alive.discard(threading.current_thread())
                    self._turn.notify_all()

        threads = [
            threading.Thread(target=whole, args=(work,), name=f"w{n}", daemon=True)
            for n, work in enumerate(works)
        ]
        self._alive = set(threads)
        for thread in threads:
            thread.start()
        favourite = threads[0]
        while True:
            with self._turn:
                # All stand before an operation: nothing moves while the state is looked at.
                self._turn.wait_for(lambda: self._next is None and self._waiting == self._alive)
                if not self._alive:
                    break
                after_each()
                ready = sorted(self._alive, key=lambda thread: thread.name)
                if favourite not in ready or self.draw.random() < 0.25:  # the others stand still meanwhile
                    favourite = self.draw.choice(ready)
                self._next = favourite
                self._turn.notify_all()
        for thread in threads:
            thread.join()


class SteppedLocation(Location):
    """A folder each of whose operations waits for its turn."""

    steps: Steps

    def list(self, folder: str = "") -> dict[str, int]:
        self.steps.wait()
        return super().list(folder)

    def exists(self, name: str) -> bool:
        self.steps.wait()
        return super().exists(name)

    def read(self, name: str) -> bytes:
        self.steps.wait()
        return super().read(name)

    def write_atomic(self, name: str, content: bytes) -> None:
        self.steps.wait()
        super().write_atomic(name, content)

    def delete(self, name: str) -> None:
        self.steps.wait()
        super().delete(name)


class Worker:
    """Asks for the lock, and renews it a few times."""

    def __init__(self, location: Location, steps: Steps, name: str, owner: str) -> None:
        self.location, self.steps, self.name, self.owner = location, steps, name, owner
        self.lock: Lock | None = None
        self.looks_again = False

    def __call__(self) -> None:
        with suppress(LockedError, LockLostError):
            self.lock = Lock(self.location, self.name, self.owner)
            for _ in range(3):
                self.steps.wait()
                self.looks_again = True
                self.lock.renew()
                self.looks_again = False
            self.steps.wait()
        if self.lock is not None and self.steps.draw.random() < 0.7:
            self.lock.__exit__(None, None, None)

    def would_send(self, location: Location) -> bool:
        """Return whether the look before a request finds the lock held, with nothing moving meanwhile."""
        held = self.lock is not None and not self.lock._released.is_set() and self.lock._lost is None
        return held and not self.looks_again and location.exists(f"_leases/{self.name}.json")


def taken_over_at_once(claim: Claim, location: Location, owner: str, now: datetime) -> str:
    return "dead" if owner and owner == claim.owner and claim.holding else "alive"


def simulate(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(seed)
    folder = MemoryFileSystem()
    place = f"/simulated-lock-{seed}"
    location = SteppedLocation(folder, place)
    object.__setattr__(location, "steps", steps)
    plain = Location(folder, place)
    # As on one machine's disk, where the next try takes over at once.
    monkeypatch.setattr(Claim, "standing", taken_over_at_once)
    monkeypatch.setattr(lock, "_pause", lambda seconds: steps.wait())
    owners = [steps.draw.choice(["task", "task", "other", ""]) for _ in range(steps.draw.choice((2, 3)))]
    workers = [Worker(location, steps, f"run-{n}", owner) for n, owner in enumerate(owners)]

    def at_most_one_holds() -> None:
        holding = [worker.name for worker in workers if worker.would_send(plain)]
        assert len(holding) <= 1, f"seed {seed}: {holding} hold the folder"

    steps.run([*workers], at_most_one_holds)
    for worker in workers:  # those that were killed keep their claims, not their threads
        if worker.lock is not None:
            worker.lock._released.set()


def test_no_two_hold_in_a_hundred_orders_of_their_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(100):
        simulate(seed, monkeypatch)


@pytest.mark.slow
def test_no_two_hold_in_any_order_of_their_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(100, 1_100):
        simulate(seed, monkeypatch)
