"""Three nights with a real Airflow, a local Customerly and a SQLite warehouse: ``make demo``."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import textwrap
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from local import (
    CONNECTION,
    CUSTOMERLY,
    EXPORT,
    FOLDER,
    REPOSITORY,
    STATE,
    WAREHOUSE,
    airflow_environment,
    emulator,
    run_quietly,
)
from teammate import EDITED, access, edit_customer
from warehouse import CUSTOMERS, FIELD_MAPPING, CustomerRows, change_ten, make_warehouse

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.reconcile import ReconcileOptions, reconcile

USERS, LEADS = 5000, 500
SYNCS = {
    "customers": "customerly_contacts_sync.sync_customers",
    "user scores": "customerly_nightly_scores.sync_users_scores",
    "lead scores": "customerly_nightly_scores.sync_leads_scores",
}
OUTCOMES = {
    "sent": "accepted by Customerly, created and updated alike",
    "unchanged": "not sent: already delivered, not changed since",
    "refused": "sent, and not accepted by Customerly; not sent again until the row changes",
    "invalid": "not sent: the row breaks a rule of Customerly's, or it is not clear which row counts",
}

VERDICTS = {
    "equal": "customers are in Customerly as they are in the warehouse",
    "differing": "differ in a field",
    "only_warehouse": "are only in the warehouse: two rows share an email, and neither was sent",
    "invalid": "break a rule of Customerly's",
    "only_customerly": "contacts are only in Customerly",
}

PROOF = """\
'complete' means: no contact that stayed as it was is missing. Customerly's list moves while it is read, so
each reading overlaps the one before, and contacts that both have link them into one unbroken chain. A gap in
it is read again. A crowd, more contacts with one last_update than fit on a page, is read until the count is
right.
"""

SCORED = "Scores are only of contacts that have an email and have visited: fewer than were exported."

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
    for file in (WAREHOUSE, CUSTOMERLY):
        file.unlink(missing_ok=True)
    FOLDER.mkdir(exist_ok=True)
    print(f"Starting a local Customerly with {USERS:,} users and {LEADS:,} leads ...", flush=True)
    with emulator(USERS, LEADS) as connection:
        print(f"Making a SQLite warehouse with {CUSTOMERS:,} customers ...", flush=True)
        make_warehouse(WAREHOUSE, connection[CONNECTION])
        environment = airflow_environment(**connection)
        print("Preparing Airflow in .demo ...", flush=True)
        run_quietly(environment, "db", "migrate")

        night(environment, "The first night", "nightly_export", "contacts_sync", "nightly_scores")
        tell_exports()
        print(PROOF)
        tell_syncs(*SYNCS)
        print(f"\n{SCORED}")
        tell_rejects(newest_record("customers"))
        print("The contacts are made up, and some have odd names on purpose.\n")
        for title, snippet in (("pandas", PANDAS), ("DuckDB", DUCKDB)):
            show(title, snippet.format(path=EXPORT.relative_to(REPOSITORY)))

        night(environment, "The second night: nothing has changed in the warehouse", "nightly_export",
              "contacts_sync", "nightly_scores")  # fmt: skip
        tell_exports()
        print("There are more users because the first night's sync created some.\n")
        tell_syncs(*SYNCS)

        change_ten(WAREHOUSE)
        night(environment, "The third night: ten customers have changed", "contacts_sync")
        tell_syncs("customers")

        edit_customer(connection[CONNECTION], EDITED)
        night(
            environment, "The morning after: somebody has edited a customer in Customerly", "nightly_export"
        )
        tell_differences(connection[CONNECTION])
    print(f"\nThe files are in {FOLDER}. Next: 'make demo-ui' shows the DAGs in Airflow's web interface.")
    print("It starts over and deletes this export and what the syncs recorded.")


def night(environment: dict[str, str], title: str, *dags: str) -> None:
    """Run some DAGs one after the other."""
    print(f"\n== {title}\n")
    for dag in dags:
        started = time.monotonic()
        print(f"Running the DAG customerly_{dag} ... ", end="", flush=True)
        run_quietly(environment, "dags", "test", f"customerly_{dag}")
        print(f"succeeded after {time.monotonic() - started:.0f} s")
    print()


def newest_manifest(folder: Path) -> dict[str, Any]:
    """Read the newest commit of a dataset."""
    manifest: dict[str, Any] = json.loads(max((folder / "_manifests").glob("*.json")).read_text())
    return manifest


def newest_record(sync: str) -> dict[str, Any]:
    """Read what the last run of a sync did."""
    record: dict[str, Any] = json.loads(max((STATE / SYNCS[sync] / "runs").glob("*.json")).read_text())
    return record


def tell_exports() -> None:
    """Print what the newest manifests say."""
    for contact_type in ("users", "leads"):
        tell_export(contact_type, newest_manifest(EXPORT / contact_type))


def tell_export(contact_type: str, manifest: dict[str, Any]) -> None:
    """Print what a manifest says."""
    files, proof = manifest["files"], manifest["certificate"]
    print(f"exported {contact_type}: {manifest['rows']:,} rows, {len(manifest['schema'])} columns, ", end="")
    print(f"{len(files)} file(s), {sum(file['bytes'] for file in files):,} bytes")
    print(f"  last_update from {manifest['low']} to {manifest['high']}")
    print(f"  verdict: {proof['verdict']}" + (f" ({proof['reason']})" if proof.get("reason") else ""))
    print(f"  proof: {proof['windows']} overlapping readings; gaps read again: {proof['bridges']}; ", end="")
    print(f"crowds counted: {proof['tie_groups']}\n")


def tell_syncs(*syncs: str) -> None:
    """Print what became of the rows of each sync."""
    columns = ("rows_read", *OUTCOMES)
    titles = (*(column.replace("_", " ") for column in columns), "requests")
    print(f"{'synced':12}" + "".join(f"{title:>11}" for title in titles))
    for sync in syncs:
        record = newest_record(sync)
        figures = [*(record["counts"][column] for column in columns), record["requests"]]
        print(f"{sync:12}" + "".join(f"{figure:>11,}" for figure in figures))


def tell_rejects(record: dict[str, Any]) -> None:
    """Print what the outcomes mean, and the rows that were not delivered."""
    print()
    for outcome, meaning in OUTCOMES.items():
        print(f"  {outcome:10} {meaning}")
    rejects = STATE / record["sync_name"] / record["rejects"]
    print("\nThe DAG has succeeded all the same, as its max_rejects allows. The customers that were not")
    print(f"delivered, from {rejects.parent.relative_to(REPOSITORY)}:\n")
    for reject in sorted(pq.read_table(rejects).to_pylist(), key=lambda reject: reject["row"]):
        print(f"  row {reject['row']}, {reject['field'] or 'the whole row'}: {reject['reason']}")
        print(textwrap.fill(reject["message"], 96, initial_indent=" " * 6, subsequent_indent=" " * 6))
    print()


def tell_differences(connection: str) -> None:
    """Compare the warehouse with the newest export, and print what differs."""
    with Client(*access(connection)) as client, closing(sqlite3.connect(WAREHOUSE)) as warehouse:
        rows = CustomerRows(warehouse)
        limits = dict.fromkeys(("max_differing", "max_only_warehouse", "max_invalid"), 1.0)
        options = ReconcileOptions.of({"field_mapping": FIELD_MAPPING, **limits})
        result = reconcile(rows, EXPORT, client.base_url, options, differences=STATE / "reconciled")
    print("The warehouse compared with this export, row by row and field by field:\n")
    for verdict, meaning in VERDICTS.items():
        print(f"  {result[verdict]:>5,} {meaning}")
    print("\nOne customer differs because somebody edited it in Customerly. A sync sends only what changes")
    print("in the warehouse: such edits show only here, and in a plan that compares. Another differs because")
    print("Customerly refused its row. The rows that differ, from the file")
    print(f"{relative(Path(result['differences']))}:\n")
    for one in pq.read_table(result["differences"]).to_pylist():
        if one["kind"] == "differing":
            values = f"{one['in_customerly']} in Customerly, {one['in_warehouse']} in the warehouse"
            print(f"  row {one['row']}, {one['field']}: {values}")
    print()


def relative(path: Path) -> Path:
    """Return a path below this repository as a person would type it."""
    return path.relative_to(REPOSITORY)


def show(title: str, snippet: str) -> None:
    """Print a snippet, and what it prints when it runs."""
    print(f"With {title}:\n")
    print("\n".join(f"    {line}".rstrip() for line in snippet.splitlines()) + "\n", flush=True)
    exec(snippet, {})
    print()


if __name__ == "__main__":
    main()
