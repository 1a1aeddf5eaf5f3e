"""Run one tool on one task in its own process, and report the cost and the outcome."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.parties import PEERS, exported

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.parties import Party
    from benchmarks.project import Project


class Run(msgspec.Struct, kw_only=True):
    """What one run of one party took.

    `cpu` and `wall` are those of the work, without starting Python and importing; `memory` is of the process.
    """

    party: str
    exit: int | None
    """None: it was stopped, because it took too long."""
    wall: float = 0.0
    cpu: float = 0.0
    megabytes: float = 0.0
    requests: int = 0
    peak: int = 0
    """Most requests that were in flight at a time."""
    rows: int = 0
    """Contacts in the output, or rows that the project accepted."""
    lost: int = 0
    """Contacts that were there all the time and are not in the output."""
    twice: int = 0
    """Contacts that are in the output more than once."""
    refused: int = 0
    """Rows that the project was to refuse."""
    noticed: int | None = None
    """How many of them the party reported; None if it reports none."""
    said: str = ""
    """The end of what a failed run said."""


def run(
    party: Party, what: str, project: Project, folder: Path, python: str, limit: float, **more: Any
) -> Run:
    """Let one party work.

    :param limit: seconds until it is stopped.
    :param more: options for the script besides the party's own.
    """
    (folder / "report.json").unlink(missing_ok=True)
    script = PEERS / f"{party.script}.py"
    command = [python, str(script), what, project.url, str(folder), json.dumps({**party.options, **more})]
    log = folder / "log.txt"
    quiet = {**os.environ, "NO_PROXY": "127.0.0.1", "PYTHONWARNINGS": "ignore"}
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=quiet)
        stop = threading.Timer(max(1.0, limit), process.kill)
        stop.start()
        started = time.monotonic()
        _, status, usage = os.wait4(process.pid, 0)
        stop.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
    found = Run(party=party.name, exit=None if process.returncode == -9 else process.returncode)
    found.wall, found.cpu = time.monotonic() - started, usage.ru_utime + usage.ru_stime
    if (folder / "report.json").exists():
        report = json.loads((folder / "report.json").read_text())
        found.wall, found.cpu, found.megabytes = report["wall"], report["cpu"], report["megabytes"]
        found.noticed = report.get("noticed")
    if found.exit:
        found.said = " ".join(log.read_text(errors="replace").split())[-200:]
    stats = project.stats()
    found.requests, found.peak = stats["requests"], stats["in_flight_peak"]
    found.rows = stats["contacts_accepted"]
    return found


def compare_output(found: Run, folder: Path, before: set[int], after: set[int]) -> None:
    """Note what an export has and lacks, by the contacts that there were before and after."""
    try:
        ids = exported(folder)
    except Exception as error:  # a file cut short is no output
        found.said = found.said or f"its output cannot be read: {type(error).__name__}"
        ids = []
    found.rows, found.twice = len(ids), len(ids) - len(set(ids))
    found.lost = len((before & after) - set(ids))
