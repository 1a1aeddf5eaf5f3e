"""Shows what comparing with an export costs: `python -m benchmarks.compare_memory --rows 1000000`.

Writes an export and a warehouse table with the same contacts. Then, each in a process of its own: syncs them
for the first time with `skip_equal`, so that all are looked up and none is sent; changes one in a hundred;
plans without and with the export.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from datetime import datetime, timezone
from typing import NamedTuple

import pyarrow as pa

from benchmarks import warehouse
from benchmarks.project import TOKEN
from benchmarks.warehouse import COLUMNS

URL = "http://127.0.0.1:9/v1"
"""Nobody answers there: nothing is sent."""
OWN = ("email", "user_id", "name")


class Figures(NamedTuple):
    """What one step took: rows that are to be sent, peak memory in MB, seconds."""

    to_send: int
    megabytes: float
    seconds: float


def export(folder: str, rows: int) -> None:
    """Write an export with the rows of the warehouse."""
    from airflow_provider_customerly.export import contact_schema
    from airflow_provider_customerly.storage import Column, Dataset, Location, Manifest

    schema, now = contact_schema("users"), datetime.now(timezone.utc)
    partition = {"snapshot_date": "2026-11-26"}
    with Dataset(Location.of(f"{folder}/export").join("users")).begin() as write:
        with write.create_part(partition, schema) as part:
            for start in range(0, rows, 5_000):
                numbers = range(start, min(rows, start + 5_000))
                part.write(pa.Table.from_pylist([_contact(n, now) for n in numbers], schema))
            file = part.close()
        write.commit(
            Manifest(
                run=write.run,
                mode="snapshot",
                contact_type="users",
                partition=partition,
                files=[file],
                rows=rows,
                schema=[Column(field.name, str(field.type)) for field in schema],
                source=URL,
                started_at=now,
                finished_at=now,
            )
        )


def step(folder: str, name: str) -> Figures:
    """Sync or plan as the operator does."""
    from airflow_provider_customerly.client import Client
    from airflow_provider_customerly.sync import Options, plan_contacts, sync_contacts
    from airflow_provider_customerly.transfers.sql_source import SqlSource

    began = time.perf_counter()
    compared = f"{folder}/export" if name != "plan without it" else None
    with SqlSource(warehouse.CONN_ID, table="customers").open() as source, Client(TOKEN, URL) as client:
        work = sync_contacts if name == "first sync" else plan_contacts
        options = Options(skip_equal=compared is not None)
        result = work(client, source, f"{folder}/state", "nightly", options, export=compared)
    to_send = result["new"] + result["changed"] + result["again"]
    return Figures(to_send, warehouse.peak(), time.perf_counter() - began)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        warehouse.environment(folder)
        warehouse.make_table(folder, rows)
        warehouse.in_own_process(export, folder, rows)
        for name in ("first sync", "plan without it", "plan with it"):
            figures = warehouse.in_own_process(step, folder, name)
            print(f"  {rows:9,} contacts  {name:15}  {figures.to_send:9,} to send", end="")
            print(f"  {figures.megabytes:6.0f} MB at most  {figures.seconds:6.1f} s", flush=True)
            if name == "first sync":
                warehouse.change(folder, 100)


def _contact(n: int, now: datetime) -> dict[str, object]:
    row = dict(zip(COLUMNS, warehouse.row(n), strict=True))
    attributes = {name: value for name, value in row.items() if name not in OWN}
    own = {name: row[name] for name in OWN}
    return {"crmhero_user_id": n + 1, "last_update": now, **own, "attributes": json.dumps(attributes)}


if __name__ == "__main__":
    main()
