"""What every party's script shares. It runs in environments of all kinds, so it needs nothing but Python."""

from __future__ import annotations

import contextlib
import json
import resource
import sqlite3
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "benchmark"


class Task(NamedTuple):
    """What a script is asked to do.

    :param what: `export` or `sync`.
    :param folder: where the table lies and the output goes; the same in a second run.
    :param options: of the party, such as `per_page`.
    """

    what: str
    url: str
    folder: Path
    options: dict[str, Any]


def task() -> Task:
    """Read the task from the command line."""
    what, url, folder, options = sys.argv[1:]
    return Task(what, url, Path(folder), json.loads(options))


@contextlib.contextmanager
def measured(task: Task) -> Iterator[dict[str, Any]]:
    """Note what the work took without the imports; the script adds what it reports, such as refused rows."""
    reported: dict[str, Any] = {}
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield reported
    finally:
        reported |= {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        reported["megabytes"] = _peak()
        (task.folder / "report.json").write_text(json.dumps(reported))


def _peak() -> float:
    """Return the most memory this process held; what the kernel tells at its end may be its parent's."""
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 2**10 for line in status if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def rows(task: Task) -> Iterator[dict[str, Any]]:
    """Read the warehouse's table by a cursor."""
    cursor = sqlite3.connect(task.folder / "warehouse.sqlite").execute("select * from customers")
    names = [column[0] for column in cursor.description]
    while some := cursor.fetchmany(10_000):
        for row in some:
            yield dict(zip(names, row, strict=True))


def contact(row: dict[str, Any]) -> dict[str, Any]:
    """Map a row as everybody does."""
    own = {name: row[name] for name in ("email", "user_id", "name")}
    return {**own, "attributes": {name: value for name, value in row.items() if name not in own}}
