"""Compares a sync with what else brings a table to an API every night: `python benchmarks/sync.py`.

All read the same SQLite table and write to an emulator, each party in a process of its own, in one run: the
plain loop reads rows from a cursor and posts them by 50 with `requests`; dlt runs a pipeline to a custom
destination that does the same. Both send every row each night, and neither notices a row that is refused.
dlt takes part where it is installed (`pip install --group bench`). Three nights: all rows new, none changed,
one in a hundred changed. Quote the ratios, not the times.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sqlite3
import statistics
import tempfile
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import requests
import warehouse
from warehouse import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BATCH = 50
NIGHTS = ("all new", "unchanged", "1 % changed")


class Figures(NamedTuple):
    """What one party needed for one night: rows sent, wall seconds, CPU seconds."""

    sent: int
    wall: float
    cpu: float


def contact(row: dict[str, Any]) -> dict[str, Any]:
    """Map a row as everybody does."""
    own = {name: row.pop(name) for name in ("email", "user_id", "name")}
    return {**own, "attributes": row}


def rows(folder: str) -> Iterator[dict[str, Any]]:
    """Read the table."""
    cursor = sqlite3.connect(warehouse.database(folder)).execute("select * from customers")
    names = [column[0] for column in cursor.description]
    while some := cursor.fetchmany(10_000):
        for row in some:
            yield dict(zip(names, row, strict=True))


def post(session: requests.Session, url: str, some: list[dict[str, Any]]) -> int:
    """Post a batch."""
    answer = session.post(f"{url}/users", json={"users": [contact(row) for row in some]})
    answer.raise_for_status()
    return int(answer.json()["data"]["inserted"])


def authorized() -> requests.Session:
    """Give a session with the token."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {TOKEN}"
    return session


def plain(url: str, folder: str) -> int:
    """Post every row."""
    session, sent = authorized(), 0
    waiting: list[dict[str, Any]] = []
    for row in rows(folder):
        waiting.append(row)
        if len(waiting) == BATCH:
            sent += post(session, url, waiting)
            waiting = []
    return sent + (post(session, url, waiting) if waiting else 0)


def with_dlt(url: str, folder: str) -> int:
    """Run a pipeline of dlt to a custom destination."""
    import dlt  # type: ignore[import-not-found, unused-ignore]

    session, sent = authorized(), []

    @dlt.destination(batch_size=BATCH, name="customerly", loader_parallelism_strategy="sequential")  # type: ignore[untyped-decorator, unused-ignore]
    def customerly(items: list[dict[str, Any]], table: Any) -> None:
        sent.append(post(session, url, items))

    pipeline = dlt.pipeline("customers", destination=customerly(), pipelines_dir=f"{folder}/dlt")
    pipeline.run(dlt.resource(rows(folder), name="customers"), write_disposition="replace")
    return sum(sent)


def provider(url: str, folder: str, concurrency: int) -> int:
    """Sync as the operator does."""
    from airflow_provider_customerly.client import Client
    from airflow_provider_customerly.sync import Options, sync_contacts
    from airflow_provider_customerly.transfers.sql_source import SqlSource

    options = Options(batch_size=BATCH, max_concurrency=concurrency)
    with (
        SqlSource(warehouse.CONN_ID, table="customers").open() as source,
        Client(TOKEN, url, max_concurrency=concurrency) as client,
    ):
        return int(sync_contacts(client, source, f"{folder}/state", "nightly", options)["sent"])


def night(run: Callable[[str, str], int], url: str, folder: str) -> Figures:
    """Let one party work for one night, imports and all but their time."""
    if run is with_dlt:
        import dlt  # noqa: F401
    elif run is not plain:
        import airflow.sdk

        import airflow_provider_customerly.sync
        import airflow_provider_customerly.transfers.sql_source  # noqa: F401

        airflow.sdk.BaseHook.get_connection(warehouse.CONN_ID).get_hook()  # type: ignore[no-untyped-call]
    wall, cpu = time.perf_counter(), time.process_time()
    sent = run(url, folder)
    return Figures(sent, time.perf_counter() - wall, time.process_time() - cpu)


def nights(run: Callable[[str, str], int], count: int, latency: float, port: int) -> list[Figures]:
    """Let one party work for three nights on a project of its own."""
    with tempfile.TemporaryDirectory() as folder, warehouse.emulator(port, latency) as url:
        warehouse.environment(folder)
        warehouse.make_table(folder, count)
        figures = []
        for name in NIGHTS:
            if name == "1 % changed":
                warehouse.change(folder, 100)
            figures.append(warehouse.in_own_process(night, run, url, folder))
        assert figures[0].sent == count
        return figures


def compare(parties: dict[str, Callable[[str, str], int]], count: int, latency: float, rounds: int) -> None:
    """Print all parties' figures, the median of some rounds, and their ratios."""
    runs: dict[str, list[list[Figures]]] = {name: [] for name in parties}
    for _ in range(rounds):
        for name, run in parties.items():
            runs[name].append(nights(run, count, latency, 8697))
    for index, what in enumerate(NIGHTS):
        print(f"  {what}")
        median: dict[str, tuple[float, float]] = {}
        for name, found in runs.items():
            wall = statistics.median(one[index].wall for one in found)
            cpu = statistics.median(one[index].cpu for one in found)
            median[name] = wall, cpu
            sent = found[0][index].sent
            print(f"    {name:12} {sent:7,} sent  {wall:7.2f} s  {count / cpu:9,.0f} rows per CPU second")
        ours = median.pop("provider")
        for name, (wall, cpu) in median.items():
            faster, share = wall / ours[0], ours[1] / cpu
            print(f"    provider / {name}: {faster:.2f} times as fast, {share:.2f} of the CPU")


def main() -> None:
    """Compare at no answer time and at 80 ms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=4, help="of the provider; the others have none")
    parser.add_argument("--rounds", type=int, default=1, help="of which the median counts")
    parser.add_argument("--latency", type=float, nargs="*", default=[0.0, 0.08], help="answer times, seconds")
    arguments = parser.parse_args()
    parties: dict[str, Callable[[str, str], int]] = {"plain loop": plain}
    if importlib.util.find_spec("dlt"):
        os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
        parties["dlt"] = with_dlt
    else:
        print("dlt is not installed and takes no part: pip install --group bench")
    parties["provider"] = partial(provider, concurrency=arguments.concurrency)
    for latency in arguments.latency:
        print(f"{arguments.rows:,} rows, {latency * 1000:.0f} ms, concurrency {arguments.concurrency}:")
        compare(parties, arguments.rows, latency, arguments.rounds)


if __name__ == "__main__":
    main()
