"""An export that is stopped at any write leaves a whole table, and the next one leaves no trace of it.

Stopped means: the process is killed, the task runs out of time, or the store's answer is lost, before or
after the store did what it was asked to do. Each write of a run is stopped in turn.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import pyarrow.parquet as pq
import pytest

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import export_contacts, read_contacts
from airflow_provider_customerly.storage import CommitConflictError, Dataset, Location

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WRITES = ("create", "write_atomic", "create_exclusive", "copy", "move", "delete")
LOADED_ONCE = ["pytest", "airflow_provider_customerly.emulator", "airflow_provider_customerly.export"]
"""What the processes that are killed share; they could not find this file before they know where to look."""
FIRST, SECOND = "2026-11-22", "2026-11-23"

How = Literal["lost", "timeout", "kill"]
Table = dict[int, tuple[str, Any]]


class LostAnswerError(OSError):
    """What a store's library raises when a request times out."""


class TaskTimeout(BaseException):
    """What Airflow raises in a task that runs out of time."""


@contextmanager
def stopped_at(number: int, how: How, *, after: bool) -> Iterator[list[str]]:
    """Stop at a write, before it is done or after; gives the writes that began."""

    def stop(name: str) -> None:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise TaskTimeout if how == "timeout" else LostAnswerError(name)

    with interrupted_at(number, stop, after=after) as begun:
        yield begun


@contextmanager
def interrupted_at(number: int, act: Callable[[str], None], *, after: bool = False) -> Iterator[list[str]]:
    """Do something at a write, before it is done or after; gives the writes that began."""
    begun: list[str] = []

    def stopping(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def write(*arguments: Any) -> Any:
            begun.append(name)
            if len(begun) != number:
                return original(*arguments)
            if not after:
                act(name)
            result = original(*arguments)
            if after:
                act(name)
            return result

        return write

    with pytest.MonkeyPatch.context() as patch:
        for name in WRITES:
            patch.setattr(Location, name, stopping(name, getattr(Location, name)))
        yield begun


def run(token: str, url: str, path: str, mode: str, day: str = SECOND) -> dict[str, Any]:
    with Client(token, url, retry_budget=5) as client:
        return export_contacts(client, path, "users", mode=mode, snapshot_date=day, owner="nightly")


def run_stopped(token: str, url: str, path: str, mode: str, number: int, how: How, after: bool) -> bool:
    """Return whether the run came this far; after the commit, a lost answer stops nothing."""
    with stopped_at(number, how, after=after) as begun:
        try:
            run(token, url, path, mode)
        except (LostAnswerError, TaskTimeout):
            return True
        return len(begun) >= number


def run_in_a_process(environment: dict[str, str], *arguments: Any) -> None:
    """Exit with 0 unless it is killed before."""
    os.environ |= environment  # the server that these processes are forked from may be older than S3's
    run_stopped(*arguments)
    os._exit(0)


def killed(*arguments: Any) -> bool:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(LOADED_ONCE)
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    process = processes.Process(target=run_in_a_process, args=(environment, *arguments))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


class Nights:
    """A day that is over, a day that was exported once, and changes since."""

    def __init__(self, emulator: Emulator, location: Location, mode: str) -> None:
        self.emulator, self.location, self.mode = emulator, location, mode
        self.arguments = (emulator.token, emulator.url, str(location), mode)
        self.first = self.export(FIRST)
        self.change()
        self.newest = self.export(SECOND)

    def export(self, day: str) -> Table:
        run(*self.arguments, day)
        return self.read()

    def change(self) -> None:
        self.emulator.store.churn(10, {"update": 0.7, "create": 0.3})

    def read(self) -> Table:
        columns = ["crmhero_user_id", "last_update", "web_session"]
        rows = read_contacts(self.location, "users").to_table(columns=columns).to_pylist()
        found = {
            row["crmhero_user_id"]: (f"{row['last_update']:%Y-%m-%d %H:%M:%S}", row["web_session"])
            for row in rows
        }
        assert len(found) == len(rows)
        return found

    def truth(self) -> Table:
        truth = self.emulator.store.truth("users")
        return {key: (record["last_update"], record["web_session"]) for key, record in truth.items()}

    def check(self) -> None:
        """Hold that a reader finds a whole table, and the day before as it was."""
        found = self.read()
        assert found in (self.newest, self.truth())
        self.newest = found
        assert self.folder(FIRST) == set(self.first)

    def folder(self, day: str) -> set[int]:
        """Read a day's folder as an engine does that knows no manifests."""
        ids: list[int] = []
        for name in self.location.list(f"users/snapshot_date={day}"):
            with self.location.open(name) as stream:
                ids += pq.read_table(stream, columns=["crmhero_user_id"])["crmhero_user_id"].to_pylist()
        assert len(ids) == len(set(ids))
        return set(ids)

    def wait_for_the_clock(self) -> None:
        """Wait until what is written is younger than all that is there: S3 counts seconds."""
        users = self.location.join("users")
        newest, deadline = max(found.modified or 0 for found in users.scan().values()), time.monotonic() + 30
        while time.monotonic() < deadline:
            self.location.write_atomic("clock", b"")
            if (self.location.scan()["clock"].modified or 0) > newest:
                return
            time.sleep(0.05)
        raise TimeoutError

    def check_clean(self) -> None:
        """Hold that one more run leaves exactly the files that the manifests name."""
        self.wait_for_the_clock()
        self.newest = self.export(SECOND)
        assert self.newest == self.truth()
        assert self.folder(SECOND) == set(self.newest)
        dataset = Dataset(self.location.join("users"))
        named = {entry.path for commit in dataset.commits() for entry in commit.files}
        there = {name for name in dataset.location.list() if name.endswith(".parquet")}
        assert there == named


def stop_at_each_write(location: Location, mode: str, how: How, *, after: bool) -> int:
    """Stop one run after another at its next write, until a run comes to its end; return how many were."""
    with Emulator(users=120, leads=0) as emulator:
        nights = Nights(emulator, location, mode)
        stop = killed if how == "kill" else run_stopped
        number = 0
        while True:
            nights.change()
            if not stop(*nights.arguments, number + 1, how, after):
                break
            number += 1
            nights.check()
            if number % 3 == 0:
                nights.check_clean()
        nights.check_clean()
        return number


@pytest.mark.parametrize("mode", ["snapshot", "incremental"])
@pytest.mark.parametrize(("how", "after"), [("lost", True), ("timeout", False)])
def test_a_run_that_is_stopped_at_any_write_of_a_disk(
    tmp_path: Path, mode: str, how: How, after: bool
) -> None:

    assert stop_at_each_write(Location.of(tmp_path), mode, how, after=after) >= 6


@pytest.mark.slow
def test_a_process_that_is_killed_at_any_write(tmp_path: Path) -> None:
    assert stop_at_each_write(Location.of(tmp_path), "incremental", "kill", after=True) >= 6


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["snapshot", "incremental"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("how", ["lost", "timeout", "kill"])
def test_a_run_that_is_stopped_at_any_write(location: Location, mode: str, how: How, after: bool) -> None:
    assert stop_at_each_write(location, mode, how, after=after) >= 6


@pytest.mark.parametrize("mode", ["snapshot", "incremental"])
def test_a_run_that_another_one_overtakes_at_any_write(tmp_path: Path, mode: str) -> None:
    overtaken, number, writes = 0, 0, ["the first"]
    with Emulator(users=120, leads=0) as emulator:
        nights = Nights(emulator, Location.of(tmp_path), mode)

        def run_another(name: str) -> None:
            nights.change()
            nights.export(SECOND)

        while len(writes) > number:
            number += 1
            with interrupted_at(number, run_another) as writes:
                try:
                    run(*nights.arguments)
                except CommitConflictError:
                    overtaken += 1
            # The one that began first has not seen what the other one has.
            assert nights.read() == nights.truth()
            nights.change()
            nights.check_clean()
    assert overtaken >= 3
