"""Compares an export with the plain loop that connectors commonly use: `python benchmarks/export.py`.

All read the same list from an emulator, each party in a process of its own, in one run. The plain loop pages
with `requests`, keeps all rows, and writes them with pandas: with 50 contacts a page as connectors do it, and
with 100, the most that any is known to ask for. Quote the ratios, not the times.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
import requests

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.export import export_snapshot
from airflow_provider_customerly.storage import Location

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "benchmark"


class Figures(NamedTuple):
    """What one party needed: rows, wall seconds, CPU seconds."""

    rows: int
    wall: float
    cpu: float


def plain(url: str, folder: str, per_page: int) -> int:
    """Page until a short page, then write everything with pandas."""
    rows: list[dict[str, object]] = []
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {TOKEN}"
    for page in range(1_000_000):
        query = {"page": page, "per_page": per_page, "sort": "last_update", "sort_direction": "asc"}
        found = session.get(f"{url}/users/list", params=query).json()["data"]["users"]
        rows += found
        if len(found) < per_page:
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


def measured(run: Callable[[str, str], int], url: str, results: object) -> None:
    """Run one party and report its figures."""
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        rows = run(url, folder)
        figures = Figures(rows, time.perf_counter() - wall, time.process_time() - cpu)
    results.put(figures)  # type: ignore[attr-defined]


def in_own_process(run: Callable[[str, str], int], url: str) -> Figures:
    """Run one party in a process of its own."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=measured, args=(run, url, results))
    process.start()
    figures: Figures = results.get()
    process.join()
    return figures


@contextlib.contextmanager
def emulator(users: int, latency: float) -> Iterator[str]:
    """Serve users in a process of its own; gives the base URL once every page was rendered."""
    command = [sys.executable, "-m", "airflow_provider_customerly.emulator", "--port", "8699"]
    options = ["--users", str(users), "--leads", "0", "--latency", str(latency), "--token", TOKEN]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if not any("Ready" in line for line in process.stdout):
            sys.exit("The emulator did not start: choose another --port.")
        url = "http://127.0.0.1:8699/v1"
        with Client(TOKEN, url, max_concurrency=32) as client:
            assert sum(map(len, client.read_contacts("users"))) == users
        yield url
        process.terminate()


def compare(users: int, latency: float, concurrency: int, rounds: int) -> None:
    """Print all parties' figures, the median of some rounds, and their ratios."""
    parties: dict[str, Callable[[str, str], int]] = {
        "plain loop, 50 a page": partial(plain, per_page=50),
        "plain loop, 100 a page": partial(plain, per_page=100),
        "provider": partial(provider, concurrency=concurrency),
    }
    runs: dict[str, list[Figures]] = {name: [] for name in parties}
    with emulator(users, latency) as url:
        for _ in range(rounds):
            for name, run in parties.items():
                runs[name].append(in_own_process(run, url))
    assert all(figures.rows == users for found in runs.values() for figures in found)
    walls = {name: statistics.median(figures.wall for figures in found) for name, found in runs.items()}
    cpus = {name: statistics.median(figures.cpu for figures in found) for name, found in runs.items()}
    for name in parties:
        print(f"  {name:22}  {walls[name]:7.2f} s  {users / cpus[name]:9,.0f} rows per CPU second")
    for name in list(parties)[:2]:
        faster, share = walls[name] / walls["provider"], cpus["provider"] / cpus[name]
        print(f"  provider / {name}: {faster:.2f} times as fast, {share:.2f} of the CPU")


def main() -> None:
    """Compare at no answer time and at 80 ms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1, help="of which the median counts")
    parser.add_argument("--latency", type=float, nargs="*", default=[0.0, 0.08], help="answer times, seconds")
    arguments = parser.parse_args()
    for latency in arguments.latency:
        print(f"{arguments.users:,} users, {latency * 1000:.0f} ms, concurrency {arguments.concurrency}:")
        compare(arguments.users, latency, arguments.concurrency, arguments.rounds)


if __name__ == "__main__":
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    main()
