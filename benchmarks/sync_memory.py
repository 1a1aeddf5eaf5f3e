"""Shows that a sync's memory is that of its ledger: `python benchmarks/sync_memory.py --rows 1000000`.

Syncs a small and a large table for three nights (all rows new, none changed, one in a hundred changed), each
night in a process of its own, and compares the most memory that the third night ever held.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from typing import NamedTuple

import warehouse
from warehouse import TOKEN

NIGHTS = ("all new", "unchanged", "1 % changed")


class Figures(NamedTuple):
    """What one night took: rows sent, peak memory in MB, seconds."""

    sent: int
    megabytes: float
    seconds: float


def night(url: str, folder: str) -> Figures:
    """Sync as the operator does."""
    from airflow_provider_customerly.client import Client
    from airflow_provider_customerly.sync import Options, sync_contacts
    from airflow_provider_customerly.transfers.sql_source import SqlSource

    started = time.perf_counter()
    with (
        SqlSource(warehouse.CONN_ID, table="customers").open() as source,
        Client(TOKEN, url) as client,
    ):
        result = sync_contacts(client, source, f"{folder}/state", "nightly", Options(batch_size=100))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    megabytes = peak / 2**20 if sys.platform == "darwin" else peak / 2**10
    return Figures(int(result["sent"]), megabytes, time.perf_counter() - started)


def peak_of(rows: int, port: int) -> float:
    """Run three nights, print their figures, and give the peak of the third."""
    with tempfile.TemporaryDirectory() as folder, warehouse.emulator(port) as url:
        warehouse.environment(folder)
        warehouse.make_table(folder, rows)
        for name in NIGHTS:
            if name == "1 % changed":
                warehouse.change(folder, 100)
            figures = warehouse.in_own_process(night, url, folder)
            print(f"  {rows:9,} rows  {name:11}  {figures.sent:9,} sent", end="")
            print(f"  {figures.megabytes:6.0f} MB at most  {figures.seconds:6.1f} s", flush=True)
    return float(figures.megabytes)


def main() -> None:
    """Compare the peaks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--port", type=int, default=8696)
    arguments = parser.parse_args()
    few = peak_of(arguments.few, arguments.port)
    many = peak_of(arguments.rows, arguments.port)
    print(f"  {many - few:+.0f} MB for {arguments.rows - arguments.few:,} more rows")


if __name__ == "__main__":
    main()
