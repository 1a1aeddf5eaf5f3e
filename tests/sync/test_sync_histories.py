"""Random histories of two workers of one sync: stopped, woken and killed anywhere, with lost answers.

A step is an operation on the state's storage, or a request before and after it is done. One worker at a time
takes a step, in an order drawn from a seed. Which of a worker's threads takes it is not drawn: the one that
sends, or the one that writes the journal.
"""

from __future__ import annotations

import dataclasses
import os
import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from airflow_provider_customerly.client import CustomerlyNotFound, CustomerlyUnavailable
from airflow_provider_customerly.emulator.store import Store
from airflow_provider_customerly.storage import (
    CommitConflictError,
    Location,
    LockedError,
    LockLostError,
    lock,
)
from airflow_provider_customerly.storage.process import Process
from airflow_provider_customerly.sync import Options, sync_contacts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COLUMNS = ("email", "user_id", "plan")
RED = (LockedError, LockLostError, CommitConflictError, CustomerlyUnavailable)
OPTIONS = Options(on_vanished="delete", max_vanished=1.0, min_rows=0, batch_size=2)


class Killed(BaseException):
    """Nothing that a killed worker does from now on has an effect."""


class Steps:
    """Lets one worker at a time take a step."""

    def __init__(self) -> None:
        self.turn = threading.Condition()
        self.next: Worker | None = None

    def take(self, worker: Worker) -> None:
        """Wait for the worker's turn."""
        with self.turn:
            worker.waiting += 1
            self.turn.notify_all()
            self.turn.wait_for(lambda: self.next is worker or worker.is_killed or worker.has_ended)
            worker.waiting -= 1
            if self.next is worker:
                self.next = None
            self.turn.notify_all()
        if worker.is_killed or worker.has_ended:  # a list that was left early may ask for one page more
            raise Killed

    def give(self, worker: Worker) -> None:
        """Let a worker take one step, and wait until it stands before the next one or has ended."""
        with self.turn:
            self.turn.wait_for(lambda: worker.waiting or worker.has_ended)
            if worker.has_ended:
                return
            self.next = worker
            self.turn.notify_all()
            self.turn.wait_for(lambda: self.next is None and (worker.waiting or worker.has_ended))


@dataclasses.dataclass(frozen=True)
class SteppedLocation(Location):
    """A folder of which a worker's each operation is a step."""

    worker: Any = None

    def scan(self, folder: str = "") -> Any:
        self.worker.step()
        return super().scan(folder)

    def read(self, name: str) -> bytes:
        self.worker.step()
        return super().read(name)

    def write_atomic(self, name: str, content: bytes) -> None:
        self.worker.step()
        super().write_atomic(name, content)

    def create_exclusive(self, name: str, content: bytes) -> None:
        self.worker.step()
        super().create_exclusive(name, content)

    def delete(self, name: str) -> None:
        self.worker.step()
        super().delete(name)


class Customerly:
    """What a worker asks of Customerly, answered by the emulator's store without a network."""

    base_url = "http://127.0.0.1/v1"
    page_size = 100
    max_concurrency = 1
    retries = 0
    seconds_waited = 0.0

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.requests_sent = 0

    def cancel(self) -> None: ...

    def check(self) -> None: ...

    def fetch_page(self, contact_type: str, page: int, per_page: int, **sort: Any) -> msgspec.Raw:
        self._worker.step()
        return msgspec.Raw(self._worker.world.store.page(contact_type, page, per_page))

    def upsert_contacts(self, contact_type: str, contacts: list[msgspec.Raw]) -> dict[str, Any]:
        rows = [msgspec.json.decode(contact) for contact in contacts]
        outcome = self._change(lambda store: store.upsert(contact_type, rows))
        assert outcome.rejects == []
        return {"inserted": outcome.accepted}

    def delete_contact(self, contact_type: str, *, email: str) -> None:
        def delete(store: Store) -> None:
            key = store.find(contact_type, email=email)
            if key is None:
                raise CustomerlyNotFound("User doesn't exist", request="DELETE /users")
            store.delete(contact_type, key)

        self._change(delete)

    def _change(self, change: Any) -> Any:
        """Do what is asked for; the answer, or the request, may be lost."""
        self.requests_sent += 1
        self._worker.step()
        fate = self._worker.world.draw.random() if self._worker.has_troubles else 1.0
        if fate < 0.05:
            raise CustomerlyUnavailable("the request was lost", request="POST /users")
        done = change(self._worker.world.store)
        self._worker.step()
        if fate < 0.15:
            raise CustomerlyUnavailable("the answer was lost", request="POST /users")
        return done


class Worker:
    """One run of the sync, in a thread."""

    def __init__(self, world: World, *, has_troubles: bool = True) -> None:
        self.world = world
        self.has_troubles = has_troubles
        self.waiting = 0  # a request and a page of the journal may both wait for their turn
        self.is_killed = self.has_ended = False
        self.outcome: str | None = None
        self.columns = COLUMNS
        self.pid = len(world.workers) + 1
        self.thread = threading.Thread(target=self._run, name=f"worker-{self.pid}", daemon=True)
        world.workers.append(self)
        self.thread.start()

    def __iter__(self) -> Iterator[list[tuple[str, str, int]]]:
        yield [(f"{who}@shop.test", who, plan) for who, plan in sorted(self.world.table.items())]

    def step(self) -> None:
        # On a slow machine the thread that renews the claim comes in between: it takes no steps of its own.
        if threading.current_thread().name.startswith("lock of "):
            if self.is_killed:
                raise OSError("the worker was killed")
            return
        self.world.steps.take(self)

    def _run(self) -> None:
        location = SteppedLocation(Location.of(self.world.path).fs, str(self.world.path), worker=self)
        try:
            self.step()
            client: Any = Customerly(self)
            self.outcome = sync_contacts(client, self, location, "nightly", OPTIONS, owner="task")["outcome"]
        except RED as error:
            self.outcome = type(error).__name__
        except Killed:
            self.outcome = "killed"
        finally:
            with self.world.steps.turn:
                self.has_ended = True
                self.world.steps.turn.notify_all()


class World:
    """A table, a Customerly, and the workers of a sync between them."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.draw = random.Random(seed)
        self.store = Store(0, 0, 1)
        self.steps = Steps()
        self.table = dict.fromkeys("abcd", 0)
        self.workers: list[Worker] = []

    def live(self, steps: int) -> None:
        alive: list[Worker] = []
        for _ in range(steps):
            if not alive or (len(alive) < 2 and self.draw.random() < 0.03):
                alive.append(Worker(self))
            if self.draw.random() < 0.1:
                who = self.draw.choice("abcd")
                if self.draw.random() < 0.3:
                    self.table.pop(who, None)
                else:
                    self.table[who] = self.draw.randrange(3)
            worker = alive[-1] if self.draw.random() < 0.85 else self.draw.choice(alive)
            if self.draw.random() < 0.01:
                self.kill(worker)
            else:
                self.steps.give(worker)
            alive = [one for one in alive if not one.has_ended]
        while alive:  # those that stood still wake up
            self.steps.give(self.draw.choice(alive))
            alive = [one for one in alive if not one.has_ended]

    def kill(self, worker: Worker) -> None:
        with self.steps.turn:
            worker.is_killed = True
            self.steps.turn.notify_all()
        worker.thread.join()

    def finish(self) -> Worker:
        worker = Worker(self, has_troubles=False)
        while not worker.has_ended:
            self.steps.give(worker)
        worker.thread.join()
        return worker

    def held(self) -> dict[str, int]:
        truth = self.store.truth("users").values()
        return {record["user_id"]: record["attributes"]["plan"] for record in truth}


@pytest.fixture
def quick_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each worker be a process of its own, as far as claims and plans tell, and spare the disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(lock, "_pause", lambda seconds: None)


def live(path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    path.mkdir()
    world = World(path, seed)

    def current() -> Process:
        name = threading.current_thread().name
        return Process("here", "space", int(name.removeprefix("worker-")), "")

    monkeypatch.setattr(Process, "current", current)
    monkeypatch.setattr(Process, "is_here", lambda process: True)
    monkeypatch.setattr(Process, "is_gone", lambda process: world.workers[process.pid - 1].has_ended)
    world.live(400)
    outcomes = [world.finish().outcome for _ in range(2)]
    assert outcomes == ["success"] * 2, f"seed {seed}: {outcomes}"
    assert world.held() == world.table, f"seed {seed}"
    return Counter(str(worker.outcome) for worker in world.workers)


@pytest.mark.usefixtures("quick_state")
def test_whatever_happens_customerly_equals_the_table_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened = Counter[str]()
    for seed in range(20):
        happened += live(tmp_path / str(seed), seed, monkeypatch)
    assert {"success", "killed", "CustomerlyUnavailable", "LockLostError"} <= set(happened)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_state")
def test_whatever_happens_in_a_thousand_histories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(1_000, 2_000):  # the same ones each time: none fails for whoever happens to draw it
        live(tmp_path / str(seed), seed, monkeypatch)
