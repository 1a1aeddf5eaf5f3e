"""Shows what a night of few changes costs among many contacts: `python -m benchmarks.incremental`.

Merges some changed contacts into a small table and into a large one, then runs again without changes, each
in a process of its own. Prints the most memory each held, and its CPU beside that of reading and writing the
same table with pyarrow alone. Quote the ratios, not the times.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import ExportOptions, export_contacts
from airflow_provider_customerly.export.columns import FIELDS
from airflow_provider_customerly.export.convert import Converter
from airflow_provider_customerly.export.writer import PartWriter
from airflow_provider_customerly.reading.records import RecordDecoder
from airflow_provider_customerly.storage import Column, Dataset, Location, Manifest
from benchmarks.warehouse import peak

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_customerly.emulator.store import Store

DAYS = ("2026-11-22", "2026-11-23", "2026-11-24")
PAGE = 100


class Figures(NamedTuple):
    """What one party took: CPU seconds, peak memory in MB, and what it returned."""

    cpu: float
    megabytes: float
    result: dict[str, Any]


def batches(store: Store, converter: Converter, decoder: Any) -> Iterator[pa.RecordBatch]:
    """Read all users from the emulator's store, without HTTP."""
    records: list[Any] = []
    for page in range(-(-store.count("users") // PAGE)):
        records += decoder.decode(store.page("users", page, PAGE))
        if len(records) >= 5 * PAGE:
            yield converter.convert(records)
            records = []
    yield converter.convert(records)


def start(emulator: Emulator, path: str) -> None:
    """Commit the table of the first night: a million contacts over HTTP would take minutes."""
    started = datetime.now(timezone.utc)
    options = ExportOptions.of({"contact_type": "users", "snapshot_date": DAYS[0]})
    decoder = RecordDecoder(FIELDS["users"])
    converter = Converter(options.chosen, decoder)
    partition = {"snapshot_date": DAYS[0]}
    with (
        Dataset(Location.of(path).join("users")).begin() as write,
        PartWriter(write, partition, options.chosen.schema) as writer,
    ):
        for batch in batches(emulator.store, converter, decoder):
            writer.add(batch)
        files = writer.finish({})
        write.commit(
            Manifest(
                run=write.run,
                mode="snapshot",
                contact_type="users",
                partition=partition,
                files=files,
                rows=writer.rows,
                schema=[Column(field.name, str(field.type)) for field in options.chosen.schema],
                low=writer.low,
                high=writer.high,
                watermark=writer.high,
                refreshed_at=started,
                settings=options.settings(None),
                certificate={"verdict": "complete", "reason": None},
                source=emulator.url,
                started_at=started,
                finished_at=started,
            )
        )


def night(url: str, token: str, path: str, day: str) -> dict[str, Any]:
    """Export what changed, as the operator does."""
    with Client(token, url) as client:
        return export_contacts(client, path, "users", mode="incremental", snapshot_date=day)


def pyarrow_alone(path: str, day: str) -> dict[str, Any]:
    """Read the table and write it, as one would without this package."""
    table = pq.read_table(f"{path}/users/snapshot_date={day}")
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(table, f"{folder}/users.parquet", compression="zstd")
    return {"rows": table.num_rows}


def measured(run: Callable[..., dict[str, Any]], *arguments: Any) -> Figures:
    """Run one party; what it imports is not counted as CPU, but as memory."""
    begun = time.process_time()
    result = run(*arguments)
    cpu = time.process_time() - begun
    return Figures(cpu, peak(), result)


def in_own_process(run: Callable[..., dict[str, Any]], *arguments: Any) -> Figures:
    """Run one party in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measured, run, *arguments).result()


def compare(users: int, changes: int) -> float:
    """Print the figures of both nights and of pyarrow alone; return the peak of the first night."""
    with Emulator(users=users, leads=0) as emulator, tempfile.TemporaryDirectory() as path:
        start(emulator, path)
        emulator.store.churn(changes, {"update": 1})
        parties = {
            f"{changes:,} changes": in_own_process(night, emulator.url, emulator.token, path, DAYS[1]),
            "no changes": in_own_process(night, emulator.url, emulator.token, path, DAYS[2]),
            "pyarrow alone": in_own_process(pyarrow_alone, path, DAYS[1]),
        }
        print(f"{users:,} users:")
        for name, figures in parties.items():
            print(f"  {name:15} {figures.cpu:7.2f} s of CPU  {figures.megabytes:6.0f} MB at most")
        changed, unchanged, alone = parties.values()
        with_changes, without = changed.cpu / alone.cpu, unchanged.cpu / alone.cpu
        print(f"  CPU / pyarrow alone: {with_changes:.2f}, without changes {without:.2f}")
        assert changed.result["changes"]["changed"] > changes * 0.6  # some twice
        commits = Dataset(Location.of(path).join("users")).commits()
        copied = [[entry.sha256 for entry in commit.files] for commit in commits[1:]]
        print(f"  Without changes, files were copied: {copied[0] == copied[1]}")
        return changed.megabytes


def main() -> None:
    """Compare a small and a large table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--changes", type=int, default=1_000)
    arguments = parser.parse_args()
    few = compare(arguments.few, arguments.changes)
    many = compare(arguments.users, arguments.changes)
    print(f"{many - few:+.0f} MB for {arguments.users - arguments.few:,} more users")


if __name__ == "__main__":
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    main()
