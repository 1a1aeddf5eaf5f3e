"""Writers of one dataset, paused at any step and continued in any order, on the real code and a real store.

Each writer runs in a thread of its own, of which only one moves at a time: a seeded scheduler decides which
one does its next step with the store, and which step fails, is killed, or is done though its answer is lost.
The store's clock is simulated, so that it may be as coarse as S3's. The rules come from a model that was run
tens of thousands of times; here they hold the implementation.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import re
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_customerly.export.read import open_commit
from airflow_provider_customerly.storage import CommitConflictError, Dataset, FileEntry, Location, Manifest
from airflow_provider_customerly.storage.location import Found
from airflow_provider_customerly.storage.manifest import RETIRED
from airflow_provider_customerly.storage.removal import STAGING_LASTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_customerly.storage import Write

NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
SCHEMA = pa.schema([("writer", pa.string()), ("seen", pa.int64())])
DAYS = ("2026-11-22", "2026-11-23", "2026-11-23")
READS = ("scan", "read", "open", "exists")
WRITES = ("create", "write_atomic", "create_exclusive", "copy", "move", "delete")
STEPS = (*READS, *WRITES, "remove_folder")


class LostAnswerError(OSError):
    """What a store's library raises when a request times out."""


class Timeout(BaseException):
    """What Airflow stops a task with that runs out of time."""


class Killed(BaseException):
    """Stands for SIGKILL: nothing that the writer does from then on reaches the store."""


class Runner(threading.Thread):
    """A writer or reader that moves only when it is told to."""

    def __init__(self, name: str, work: Callable[[], Any], faults: float = 0.0) -> None:
        super().__init__(name=name, daemon=True)
        self.work, self.faults = work, faults
        self.run_id = ""
        self.is_dead = self.is_done = False
        self.has_created = False
        """It heard that its manifest was created;"""
        self.has_failed = False
        """a step of it failed before that."""
        self.outcome: Any = None
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.start()

    def run(self) -> None:
        self._go.acquire()
        try:
            self.outcome = self.work()
        except BaseException as error:
            self.outcome = error
        self.is_done = True
        self._stopped.release()

    def move(self) -> None:
        """Let it do its next step."""
        self._go.release()
        self._stopped.acquire()

    def pause(self) -> None:
        """Wait for the next move; called by the thread itself."""
        self._stopped.release()
        self._go.acquire()
        if self.is_dead:
            raise Killed


def current() -> Runner:
    thread = threading.current_thread()
    assert isinstance(thread, Runner)
    return thread


class Simulation:
    def __init__(self, location: Location, seed: int, patch: pytest.MonkeyPatch) -> None:
        self.location, self.dataset = location, Dataset(location)
        self.draw = random.Random(seed)
        self.coarseness = self.draw.choice((1, 1, 4, 50))
        self.clock = 1_000_000
        self.files: dict[str, tuple[int, int]] = {}
        """Path to when it was written, by the store's clock and by the exact one."""
        self.late: list[Callable[[], Any]] = []
        """Requests that nobody waits for any more, and that the store has yet to do."""
        self.seen = 0
        """Stands for the API: whoever reads it later reads something newer."""
        self.commits: dict[int, Manifest] = {}
        """Every commit that ever was the newest,"""
        self.tables: dict[int, list[dict[str, Any]]] = {0: []}
        """and the rows of its table."""
        self._manifests: dict[tuple[str, int], Manifest | None] = {}
        for name in STEPS:
            patch.setattr(Location, name, self._stepped(name, getattr(Location, name)))
        patch.setattr(os, "fsync", lambda handle: None)  # no power is cut here

    def run(self) -> None:
        """Let writers and readers run in a random order, then one clean run for each day."""
        left, alive = self.draw.choice((3, 4, 6)), list[Runner]()
        while alive or left:
            if left and (not alive or self.draw.random() < 0.15):
                left -= 1
                alive.append(self._start(left))
            if self.late and self.draw.random() < 0.1:
                self._arrive()
            # Some stand still for long.
            runner = alive[-1] if self.draw.random() < 0.6 else self.draw.choice(alive)
            runner.is_dead |= bool(runner.faults) and self.draw.random() < 0.01
            runner.move()
            self.check()
            if runner.is_done:
                alive.remove(runner)
                self._check_outcome(runner)
        while self.late:
            self._arrive()
        self._end()

    def run_around(self, step: int) -> bool:
        """Let one writer stand still at a step while another one runs; false if it ended before that."""
        self._run_clean(DAYS[-1])
        first, second = (
            Runner(name, functools.partial(self._write, DAYS[-1])) for name in ("first", "second")
        )
        self._move(first, step)
        stood_still = not first.is_done
        for runner in (second, first):
            self._move(runner)
            self._check_outcome(runner)
        assert isinstance(second.outcome, Manifest)
        self._end()
        return stood_still

    def _move(self, runner: Runner, most: int = 10_000) -> None:
        for _ in range(most):
            if runner.is_done:
                return
            runner.move()
            self.check()

    def _end(self) -> None:
        """Hold that one clean run for each day leaves nothing behind."""
        for day in sorted(set(DAYS)):
            self._run_clean(day)
        leftovers = {path for path in self._there() if "/part-" in path and "/_staging/" not in path}
        assert leftovers == self._named()
        self.clock += self.coarseness * (int(STAGING_LASTS.total_seconds()) + 10)
        self._run_clean(DAYS[-1])
        assert {path for path in self._there() if "/_manifests/0" not in path} == self._named()

    def check(self) -> None:
        """Hold what must be true after every step."""
        for path, manifest in self._living().items():
            lost = [name for name in self._paths(manifest) if name not in self.files]
            assert not lost, f"{path} of {manifest.run} names files that are gone: {lost}"
            if manifest.sequence not in self.commits:
                assert manifest.sequence == len(self.commits) + 1
                self.commits[manifest.sequence] = manifest
                self.tables[manifest.sequence] = self._table(manifest)
                self._check_table(manifest)
            assert manifest == self.commits[manifest.sequence], "two commits have one number"

    def _check_table(self, manifest: Manifest) -> None:
        """Hold that the table is what its writer read, merged with the commit that is the newest."""
        before, table = self.tables[manifest.sequence - 1], self.tables[manifest.sequence]
        if manifest.mode == "unchanged":
            assert table == before
        else:
            assert table[1:] == (before if manifest.mode == "incremental" else [])
            assert table[0]["seen"] > max((row["seen"] for row in before), default=-1), "the table went back"

    def _check_outcome(self, runner: Runner) -> None:
        outcome = runner.outcome
        if isinstance(outcome, CommitConflictError):
            found = re.search(r"_manifests/0*(\d+)\.json", str(outcome))
            assert found is not None
            assert self.commits[int(found[1])].run != runner.run_id or runner.has_failed
        elif isinstance(outcome, Manifest):
            assert self.commits[outcome.sequence] == outcome, "a commit was reported that nobody saw"
        elif isinstance(outcome, Exception):
            assert runner.has_failed, f"{runner.name} failed though nothing else did"
            assert not runner.has_created, f"{runner.name} is red after its commit"

    def _living(self) -> dict[str, Manifest]:
        living = {}
        for path, (_, written) in self.files.items():
            if "/_manifests/0" in path:
                if (path, written) not in self._manifests:
                    content = self.location.fs.cat_file(path)
                    decoded = None if content == RETIRED else msgspec.json.decode(content, type=Manifest)
                    self._manifests[path, written] = decoded
                if manifest := self._manifests[path, written]:
                    living[path] = manifest
        return living

    def _paths(self, manifest: Manifest) -> list[str]:
        files = [self.location.path(entry.path) for entry in manifest.files]
        return files + [self.dataset.deleted.path(entry.path) for entry in manifest.deleted]

    def _named(self) -> set[str]:
        return {path for manifest in self._living().values() for path in self._paths(manifest)}

    def _there(self) -> set[str]:
        """List what is there, without the steps."""
        roots = (self.location.root, self.dataset.deleted.root)
        there = {path for root in roots for path in self.location.fs.find(root)}
        assert there == set(self.files)
        return there

    def _table(self, manifest: Manifest) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for entry in manifest.files:
            with self.location.fs.open(self.location.path(entry.path), "rb") as stream:
                rows += pq.ParquetFile(stream).read().to_pylist()
        return rows

    def _run_clean(self, day: str) -> None:
        self.clock += 2 * self.coarseness
        runner = Runner(f"last of {day}", functools.partial(self._write, day))
        self._move(runner)
        assert isinstance(runner.outcome, Manifest), runner.outcome
        self.clock += 2 * self.coarseness

    def _start(self, number: int) -> Runner:
        if self.draw.random() < 0.2:
            return Runner(f"reader {number}", self._read)
        faults = self.draw.choice((0, 0, 0.02, 0.1))
        return Runner(f"writer {number}", functools.partial(self._write, self.draw.choice(DAYS)), faults)

    # The steps.

    def _stepped(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def step(location: Location, *arguments: Any) -> Any:
            act = functools.partial(self._act, name, original, location, *arguments)
            runner = threading.current_thread()
            if not isinstance(runner, Runner):
                return act()
            if runner.is_dead:
                raise Killed
            runner.pause()
            fate = self.draw.random() / runner.faults if runner.faults else 1.0
            if fate < 0.2:
                runner.is_dead = True
                raise Killed
            if fate < 1 and name != "remove_folder":
                runner.has_failed |= not runner.has_created
                self._fail(name, fate, act)
            result = act()
            runner.has_created |= name == "create_exclusive"
            return result

        return step

    def _fail(self, name: str, fate: float, act: Callable[[], Any]) -> None:
        """Fail before the step was done, after it, or while it is under way."""
        if name in WRITES and name != "create":
            if fate < 0.6:
                with contextlib.suppress(FileExistsError):
                    act()
            elif fate < 0.8 and not self.location.is_local:
                self.late.append(act)
        raise Timeout if self.draw.random() < 0.3 else LostAnswerError(name)

    def _arrive(self) -> None:
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            self.late.pop(self.draw.randrange(len(self.late)))()
        self.check()

    def _act(self, name: str, original: Callable[..., Any], location: Location, *arguments: Any) -> Any:
        """Do a step, by the simulated clock."""
        self.clock += 1
        now = self.clock // self.coarseness, self.clock
        if name == "move":
            source, target = location.path(arguments[0]), arguments[1].path(arguments[2])
            if source in self.files:  # an object store copies, and deletes in a step of its own
                self.files[target] = self.files.pop(source) if location.is_local else now
        result = original(location, *arguments)
        if name == "scan":
            times = {found: float(self.files[location.path(found)][0]) for found in result}
            return {found: Found(one.size, times[found]) for found, one in result.items()}
        if name in ("create", "write_atomic", "create_exclusive"):
            self.files[location.path(arguments[0])] = now
        elif name == "copy":
            self.files[location.path(arguments[1])] = now
        elif name == "delete":
            self.files.pop(location.path(arguments[0]), None)
        return result

    # What is run.

    def _write(self, day: str) -> Manifest:
        partition = {"snapshot_date": day}
        with self.dataset.begin() as write:
            current().run_id = write.run
            kind = self.draw.choice(("whole", "incremental", "incremental", "unchanged"))
            kind = kind if write.before else "whole"
            if write.before and kind == "unchanged":
                files = [write.copy_part(entry, partition) for entry in write.before.files]
            else:
                self.seen += 1
                rows = [{"writer": current().name, "seen": self.seen}]
                for entry in write.before.files if write.before and kind == "incremental" else ():
                    with self.location.open(entry.path) as stream:
                        rows += pq.ParquetFile(stream).read().to_pylist()
                files = [self._part(write, partition, some) for some in (rows[:1], rows[1:])]
            gone = [self._part(write, partition, [], deleted=True)] if self.draw.random() < 0.3 else []
            committed = write.commit(
                Manifest(
                    run=write.run,
                    mode=kind,
                    partition=partition,
                    files=files,
                    deleted=gone,
                    rows=sum(entry.rows for entry in files),
                    schema=[],
                    started_at=NOON,
                    finished_at=NOON,
                )
            )
        if self.draw.random() < 0.3:  # whatever else runs meanwhile
            with contextlib.suppress(Exception):
                self.dataset.remove_old(self.draw.choice((1, 2, 3)), None, NOON)
        return committed

    def _part(
        self, write: Write, partition: dict[str, str], rows: list[dict[str, Any]], *, deleted: bool = False
    ) -> FileEntry:
        with write.create_part(partition, SCHEMA, deleted=deleted) as part:
            part.write(pa.Table.from_pylist(rows, SCHEMA))
            return part.close()

    def _read(self) -> None:
        def newest() -> Manifest:
            manifest = self.dataset.newest()
            if manifest is None:
                raise EOFError
            return manifest

        with contextlib.suppress(EOFError):
            opened = open_commit(self.location, newest)
            current().pause()
            try:
                opened.to_table()
            except FileNotFoundError:
                if self.location.is_local:  # where files are held
                    raise


def simulate(location: Location, seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        try:
            Simulation(location, seed, patch).run()
        except BaseException:
            print(f"seed {seed} at {location}")
            raise


def test_writers_on_a_disk_commit_one_after_another_whatever_happens(tmp_path: Path) -> None:
    for seed in range(30):
        simulate(Location.of(tmp_path / str(seed)), seed)


def test_writers_on_s3_commit_one_after_another_whatever_happens(s3_location: Location) -> None:
    for seed in range(2):
        simulate(s3_location.join(str(seed)), seed)


def test_a_writer_that_stands_still_at_any_step_harms_no_other(tmp_path: Path) -> None:
    stood_still = 0
    for step in range(1, 36):
        with pytest.MonkeyPatch.context() as patch:
            simulation = Simulation(Location.of(tmp_path / str(step)), step, patch)
            stood_still += simulation.run_around(step)
    assert stood_still > 20


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 1400, 100))
def test_many_writers_on_a_disk(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + 100):
        simulate(Location.of(tmp_path / str(seed)), seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 1040, 10))
def test_many_writers_on_s3(s3_location: Location, first: int) -> None:
    for seed in range(first, first + 10):
        simulate(s3_location.join(str(seed)), seed)
