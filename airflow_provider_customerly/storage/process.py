"""Identify this process, and check whether another one on this machine is still running."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec


class Process(msgspec.Struct, frozen=True):
    """A process, identified beyond doubt.

    A process id alone may be reused. Together with the start time it is unique within one boot of a machine
    and one process namespace (containers may share a host name, but never a namespace). Where the system does
    not report these (``space`` is empty), nothing is known about other processes.
    """

    host: str
    space: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> Process:
        """Return the calling process."""
        pid = os.getpid()
        return cls(socket.gethostname(), _space(), pid, _started(pid))

    def is_here(self) -> bool:
        """Return whether the process is known to be from this machine, running or not."""
        return bool(self.space) and (self.host, self.space) == (socket.gethostname(), _space())

    def is_gone(self) -> bool:
        """Return whether the process is known to have ended; False for one on another machine."""
        return self.is_here() and _started(self.pid) != self.started


def _space() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The second field, the command name, may contain spaces and parentheses.
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]
