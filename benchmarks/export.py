"""Compares an export with the plain loop that connectors commonly use: `python benchmarks/export.py`.

Both read the same list from an emulator, each party in a process of its own, in one run. The plain loop pages
with `requests`, keeps all rows, and writes them with pandas. Quote the ratios, not the times.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import pandas as pd
import requests

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.export import export_snapshot
from airflow_provider_customerly.storage import Location

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "benchmark"


def plain(url: str, folder: str, concurrency: int) -> int:
    """Page until a short page, then write everything with pandas."""
    rows: list[dict[str, object]] = []
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {TOKEN}"
    for page in range(1_000_000):
        query = {"page": page, "per_page": 100, "sort": "last_update", "sort_direction": "asc"}
        found = session.get(f"{url}/users/list", params=query).json()["data"]["users"]
        rows += found
        if len(found) < 100:
            break
    frame = pd.DataFrame(rows)
    frame["attributes"] = frame["attributes"].map(json.dumps)
    frame.to_parquet(f"{folder}/users.parquet")
    return len(rows)


def provider(url: str, folder: str, concurrency: int) -> int:
    """Export as the operator does."""
    with Client(TOKEN, url, max_concurrency=concurrency) as client:
        result = export_snapshot(client, Location.of(folder), "users", snapshot_date="2026-01-01")
    assert result["verdict"] == "complete"
    return int(result["rows"])


def measured(run: Callable[[str, str, int], int], url: str, concurrency: int, results: object) -> None:
    """Run one party and report rows, wall and CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        rows = run(url, folder, concurrency)
        results.put((rows, time.perf_counter() - wall, time.process_time() - cpu))  # type: ignore[attr-defined]


def in_own_process(
    run: Callable[[str, str, int], int], url: str, concurrency: int
) -> tuple[int, float, float]:
    """Run one party in a process of its own."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=measured, args=(run, url, concurrency, results))
    process.start()
    outcome: tuple[int, float, float] = results.get()
    process.join()
    return outcome


def compare(users: int, latency: float, concurrency: int, port: int) -> None:
    """Start an emulator and print both parties' figures and their ratios."""
    command = [sys.executable, "-m", "airflow_provider_customerly.emulator", "--port", str(port)]
    options = ["--users", str(users), "--leads", "0", "--latency", str(latency), "--token", TOKEN]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as emulator:
        assert emulator.stdout is not None
        while "Ready" not in emulator.stdout.readline():
            pass
        url = f"http://127.0.0.1:{port}/v1"
        a = in_own_process(plain, url, 1)
        b = in_own_process(provider, url, concurrency)
        emulator.terminate()
    assert a[0] == b[0] == users
    for name, (rows, wall, cpu) in (("plain loop", a), ("provider", b)):
        print(f"  {name:10}  {wall:7.2f} s  {rows / cpu:9,.0f} rows per CPU second")
    print(f"  provider / plain loop: {a[1] / b[1]:.2f} times as fast, {b[2] / a[2]:.2f} of the CPU")


def main() -> None:
    """Compare at no answer time and at 80 ms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--port", type=int, default=8699)
    arguments = parser.parse_args()
    for latency in (0.0, 0.08):
        print(f"{arguments.users:,} users, {latency * 1000:.0f} ms, concurrency {arguments.concurrency}:")
        compare(arguments.users, latency, arguments.concurrency, arguments.port)


if __name__ == "__main__":
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    main()
