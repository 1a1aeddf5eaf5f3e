"""Which process this is, and whether another one on this machine still lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec


class Process(msgspec.Struct, frozen=True):
    """A process, named so that no other one is ever mistaken for it.

    A process id alone is reused. With the time the process started it is unique within one boot of one
    machine and one process namespace (containers may share a host name, never that). Where the system does
    not tell (`space` is empty), nothing is known about other processes.
    """

    host: str
    space: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> Process:
        """Describe the process that calls."""
        pid = os.getpid()
        return cls(socket.gethostname(), _space(), pid, _started(pid))

    def is_gone(self) -> bool:
        """Tell whether the process is known to have ended; False for one on another machine."""
        if not self.space or (self.host, self.space) != (socket.gethostname(), _space()):
            return False
        return _started(self.pid) != self.started


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
    # The second field, the command's name, may hold spaces and brackets.
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]
