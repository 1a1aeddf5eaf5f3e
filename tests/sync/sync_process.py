"""A sync in a process of its own, which may kill itself at a chosen step of its work."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_customerly.client import Client, CustomerlyUnavailable
from airflow_provider_customerly.storage import LockedError
from airflow_provider_customerly.sync import Options, SyncRejectsError, sync_contacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from multiprocessing.synchronize import Barrier

_context = multiprocessing.get_context("forkserver")
_STEPS = {"open": 0, "os.rename": 1, "os.link": 1, "os.remove": 0}
"""What Python reports before it touches a file, with the argument that names the file."""


@dataclass(frozen=True)
class Rows:
    """A source in memory."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    chunk: int = 1_000

    def __iter__(self) -> Iterator[Sequence[Sequence[Any]]]:
        for start in range(0, len(self.rows), self.chunk):
            yield self.rows[start : start + self.chunk]


class Kill(NamedTuple):
    """When a process kills itself: before the n-th step of a kind, such as `os.rename journal`."""

    kind: str
    n: int


class Job(NamedTuple):
    """One run of a sync."""

    url: str
    token: str
    path: str
    source: Rows
    options: Options
    kill: Kill | None = None
    name: str = "nightly"
    export: str | None = None


class Run:
    """A run under way."""

    def __init__(self, process: BaseProcess, told: Connection, barrier: Barrier | None) -> None:
        self._process = process
        self._barrier = barrier  # is gone once nobody here holds it
        self._told = told
        self.steps: dict[str, int] = {}

    @property
    def pid(self) -> int | None:
        """Number of the process."""
        return self._process.pid

    def result(self, kill_after: float | None = None) -> dict[str, Any] | None:
        """Wait for the end and give the result; None if the process was killed.

        :param kill_after: seconds to kill it after.
        """
        if kill_after is not None and not self._told.poll(kill_after):
            self._process.kill()
        try:
            result, self.steps = self._told.recv()
        except EOFError:
            result = None
        self._process.join()
        assert self._process.exitcode == (-signal.SIGKILL if result is None else 0)
        return result  # type: ignore[no-any-return]


class _Watch:
    """Counts the steps of this process below a folder, by kind."""

    def __init__(self, folder: str, kill: Kill | None) -> None:
        self.steps: Counter[str] = Counter()
        self._folder = folder
        self._kill = kill

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        position = _STEPS.get(event)
        if position is None or not isinstance(arguments[position], str):
            return
        path = arguments[position]
        if not path.startswith(self._folder):
            return
        kind = f"{event} {_place(path[len(self._folder) + 1 :])}"
        self.steps[kind] += 1
        if self._kill == (kind, self.steps[kind]):
            os.kill(os.getpid(), signal.SIGKILL)


def _place(name: str) -> str:
    """Return where a file lies, in the same words in every run: names that a run makes up are left out."""
    folder, _, file = name.rpartition("/")
    folder = re.sub("(?<=/_staging)/.*", "", folder)
    return folder or re.sub(r"^[0-9a-f]{8}$", "trial", re.sub(r"\.tmp-\w+-", "", file))


def start(job: Job, barrier: Barrier | None = None) -> Run:
    """Start a run; its process is made by a fork of one that has imported all, so that it is soon at work.

    :param barrier: what the process waits for before it begins.
    """
    _context.set_forkserver_preload(["airflow_provider_customerly.sync"])
    told, tell = _context.Pipe(duplex=False)
    process = _context.Process(target=_run, args=(job, tell, barrier))
    process.start()
    tell.close()
    return Run(process, told, barrier)


def start_together(*jobs: Job) -> list[Run]:
    """Start runs that begin at the same moment."""
    barrier = _context.Barrier(len(jobs))
    return [start(job, barrier) for job in jobs]


def _run(job: Job, told: Connection, barrier: Barrier | None) -> None:
    """Run a sync, and send how it ended and the steps it took."""
    if barrier is not None:
        barrier.wait()
    watch = _Watch(str(Path(job.path) / job.name), job.kill)
    sys.addaudithook(watch)
    try:
        with Client(job.token, job.url, retry_budget=20, max_concurrency=8) as client:
            result = sync_contacts(client, job.source, job.path, job.name, job.options, export=job.export)
    except SyncRejectsError as error:
        result = error.result
    except (LockedError, CustomerlyUnavailable) as error:
        result = {"outcome": type(error).__name__, "message": str(error)}
    told.send((result, dict(watch.steps)))
