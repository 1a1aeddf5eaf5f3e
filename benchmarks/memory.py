"""Shows that an export's memory does not grow with the list: `python benchmarks/memory.py --users 1000000`.

Exports a small and a large list from an emulator, each in a process of its own, and compares the most memory
that either ever held.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.export import export_snapshot
from airflow_provider_customerly.storage import Location

TOKEN = "benchmark"


def measured(url: str, concurrency: int, results: object) -> None:
    """Export all users and report rows and peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder, Client(TOKEN, url, max_concurrency=concurrency) as client:
        result = export_snapshot(client, Location.of(folder), "users", snapshot_date="2026-01-01")
    assert result["verdict"] == "complete"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    megabytes = peak / 2**20 if sys.platform == "darwin" else peak / 2**10
    results.put((result["rows"], megabytes, result["seconds"]))  # type: ignore[attr-defined]


def peak_of(users: int, concurrency: int, port: int) -> float:
    """Start an emulator, export from it, and print and give the peak memory in MB."""
    command = [sys.executable, "-m", "airflow_provider_customerly.emulator", "--port", str(port)]
    options = ["--users", str(users), "--leads", "0", "--token", TOKEN]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as emulator:
        assert emulator.stdout is not None
        if not any("Ready" in line for line in emulator.stdout):
            sys.exit("The emulator did not start: choose another --port.")
        url = f"http://127.0.0.1:{port}/v1"
        process = context.Process(target=measured, args=(url, concurrency, results))
        process.start()
        rows, megabytes, seconds = results.get()
        process.join()
        emulator.terminate()
    assert rows == users
    print(f"  {rows:9,} users  {megabytes:6.0f} MB at most  {seconds:6.1f} s")
    return float(megabytes)


def main() -> None:
    """Compare the peaks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--port", type=int, default=8698)
    arguments = parser.parse_args()
    few = peak_of(arguments.few, arguments.concurrency, arguments.port)
    many = peak_of(arguments.users, arguments.concurrency, arguments.port)
    print(f"  {many - few:+.0f} MB for {arguments.users - arguments.few:,} more users")


if __name__ == "__main__":
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    main()
