from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from airflow_provider_customerly.emulator import Emulator

if TYPE_CHECKING:
    from pathlib import Path

EXPORT = r"""
import re, sys
from pathlib import Path
from airflow_provider_customerly.client import Client
from airflow_provider_customerly.export import export_snapshot
token, url, path = sys.argv[1:]
with Client(token, url) as client:
    result = export_snapshot(client, path, "users", snapshot_date="2026-11-24", row_group_size=5000)
print(result["rows"], re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
"""
"""It does not ask getrusage, which counts what the process was before it became this program: a copy of this
one, with all that earlier tests and the emulator's contacts have left in its memory."""
ALLOWED_KB = 40 * 1024
"""Far below what 55,000 contacts take, as records (5 KB each) or as Arrow (0.6 KB) with what else is held."""


def peak_kb(users: int, path: Path) -> int:
    with Emulator(users=users, leads=0) as emulator:
        command = [sys.executable, "-c", EXPORT, emulator.token, emulator.url, str(path)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows, peak = map(int, printed.split())
    assert rows == users
    return peak


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is told by /proc on Linux")
def test_memory_does_not_grow_with_the_list(tmp_path: Path) -> None:
    few = peak_kb(5_000, tmp_path / "few")
    many = peak_kb(60_000, tmp_path / "many")
    assert many - few < ALLOWED_KB
