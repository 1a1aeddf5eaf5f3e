"""Three nights with a real Airflow, a local Customerly and a SQLite warehouse: ``make demo``."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from local import (
    CONNECTION,
    EXPORT,
    FOLDER,
    REPOSITORY,
    STATE,
    WAREHOUSE,
    airflow_environment,
    emulator,
    run_quietly,
)
from warehouse import CUSTOMERS, change_ten, make_warehouse

from airflow_provider_customerly.client import Client

if TYPE_CHECKING:
    from pathlib import Path

USERS, LEADS = 5000, 500
KNOWN = 200
SYNCS = {
    "customers": "customerly_contacts_sync.sync_customers",
    "user scores": "customerly_nightly_scores.sync_users_scores",
    "lead scores": "customerly_nightly_scores.sync_leads_scores",
}

PANDAS = """\
from airflow_provider_customerly.export import read_contacts

users = read_contacts("{path}", "users").to_table().to_pandas()
print(users[["name", "email", "country_code", "last_update"]].tail(3).to_string(index=False))"""

DUCKDB = """\
import duckdb
from airflow_provider_customerly.export import read_contacts

users = read_contacts("{path}", "users")
print(duckdb.sql("select country_code, count(*) as n from users group by all order by n desc limit 3"))"""


def main() -> None:
    """Run the demo."""
    os.chdir(REPOSITORY)
    for folder in (EXPORT, STATE):
        shutil.rmtree(folder, ignore_errors=True)
    WAREHOUSE.unlink(missing_ok=True)
    FOLDER.mkdir(exist_ok=True)
    print(f"Starting a local Customerly with {USERS:,} users and {LEADS:,} leads ...", flush=True)
    with emulator(USERS, LEADS) as connection:
        print(f"Making a SQLite warehouse with {CUSTOMERS:,} customers ...", flush=True)
        make_warehouse(WAREHOUSE, some_users(connection, KNOWN))
        environment = airflow_environment(**connection)
        print("Preparing Airflow in .demo ...", flush=True)
        run_quietly(environment, "db", "migrate")

        night(environment, "The first night", "nightly_export", "contacts_sync", "nightly_scores")
        for contact_type in ("users", "leads"):
            tell_export(contact_type, newest_manifest(EXPORT / contact_type))
        tell_syncs(*SYNCS)
        tell_rejects(newest_record("customers"))
        for title, snippet in (("pandas", PANDAS), ("DuckDB", DUCKDB)):
            show(title, snippet.format(path=EXPORT.relative_to(REPOSITORY)))

        night(environment, "The second night: nothing has changed in the warehouse", "nightly_export",
              "contacts_sync", "nightly_scores")  # fmt: skip
        tell_syncs(*SYNCS)

        change_ten(WAREHOUSE)
        night(environment, "The third night: ten customers have changed", "contacts_sync")
        tell_syncs("customers")
    print(f"The files are in {FOLDER}. Next: 'make demo-ui' shows the DAGs in Airflow's web interface.")


def night(environment: dict[str, str], title: str, *dags: str) -> None:
    """Run some DAGs one after the other."""
    print(f"\n== {title}\n")
    for dag in dags:
        started = time.monotonic()
        print(f"Running the DAG customerly_{dag} ... ", end="", flush=True)
        run_quietly(environment, "dags", "test", f"customerly_{dag}")
        print(f"succeeded after {time.monotonic() - started:.0f} s")
    print()


def some_users(connection: dict[str, str], count: int) -> list[dict[str, Any]]:
    """Read a few of Customerly's users who have an id of the project's own."""
    fields = json.loads(connection[CONNECTION])
    with Client(fields["password"], fields["host"]) as client:
        pages = (json.loads(bytes(client.fetch_page("users", page, 100))) for page in itertools.count())
        users = (user for page in pages for user in page if user.get("user_id") and user["email"])
        return list(itertools.islice(users, count))


def newest_manifest(folder: Path) -> dict[str, Any]:
    """Read the newest commit of a dataset."""
    manifest: dict[str, Any] = json.loads(max((folder / "_manifests").glob("*.json")).read_text())
    return manifest


def newest_record(sync: str) -> dict[str, Any]:
    """Read what the last run of a sync did."""
    record: dict[str, Any] = json.loads(max((STATE / SYNCS[sync] / "runs").glob("*.json")).read_text())
    return record


def tell_export(contact_type: str, manifest: dict[str, Any]) -> None:
    """Print what a manifest says."""
    files, proof = manifest["files"], manifest["certificate"]
    print(f"exported {contact_type}: {manifest['rows']:,} rows, {len(manifest['schema'])} columns, ", end="")
    print(f"{len(files)} file(s), {sum(file['bytes'] for file in files):,} bytes")
    print(f"  last_update from {manifest['low']} to {manifest['high']}")
    print(f"  verdict: {proof['verdict']}" + (f" ({proof['reason']})" if proof.get("reason") else ""))
    print(
        f"  proof: {proof['windows']} windows, {proof['links']} links, {proof['bridges']} bridges, ", end=""
    )
    print(f"{proof['duplicates']} rows seen twice and folded\n")


def tell_syncs(*syncs: str) -> None:
    """Print what became of the rows of each sync."""
    columns = ("rows_read", "sent", "unchanged", "refused", "invalid")
    print(f"{'synced':12}" + "".join(f"{column:>11}" for column in (*columns, "requests")))
    for sync in syncs:
        record = newest_record(sync)
        figures = [*(record["counts"][column] for column in columns), record["requests"]]
        print(f"{sync:12}" + "".join(f"{figure:>11,}" for figure in figures))
    print()


def tell_rejects(record: dict[str, Any]) -> None:
    """Print the rows that were not delivered, and why."""
    print("not delivered:")
    for reject in pq.read_table(STATE / record["sync_name"] / record["rejects"]).to_pylist():
        where = f"row {reject['row']}, {reject['field'] or 'the whole row'}"
        print(f"  {where}: {reject['reason']}: {reject['message']}")
    print()


def show(title: str, snippet: str) -> None:
    """Print a snippet, and what it prints when it runs."""
    print(f"With {title}:\n")
    print("\n".join(f"    {line}".rstrip() for line in snippet.splitlines()), "\n", flush=True)
    exec(snippet, {})
    print()


if __name__ == "__main__":
    main()
