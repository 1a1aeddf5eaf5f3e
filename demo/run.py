"""Export made-up contacts with a real Airflow run, and show what came of it: ``make demo``."""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

from local import EXPORT, REPOSITORY, airflow_environment, emulator, run_quietly

if TYPE_CHECKING:
    from pathlib import Path

DAG_ID = "customerly_contacts_export"
USERS, LEADS = 5000, 500

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
    shutil.rmtree(EXPORT, ignore_errors=True)
    print(f"Starting a local Customerly with {USERS:,} users and {LEADS:,} leads ...", flush=True)
    with emulator(USERS, LEADS) as connection:
        environment = airflow_environment(**connection)
        print("Preparing Airflow in .demo ...", flush=True)
        run_quietly(environment, "db", "migrate")
        print(f"Running the DAG {DAG_ID} ...", flush=True)
        started = time.monotonic()
        run_quietly(environment, "dags", "test", DAG_ID)
        print(f"The run succeeded after {time.monotonic() - started:.0f} s.\n")
    for contact_type in ("users", "leads"):
        tell(contact_type, newest_manifest(EXPORT / contact_type))
    for title, snippet in (("pandas", PANDAS), ("DuckDB", DUCKDB)):
        show(title, snippet.format(path=EXPORT.relative_to(REPOSITORY)))
    print(f"The files are in {EXPORT}. Next: 'make demo-ui' shows the same in Airflow's web interface.")


def newest_manifest(folder: Path) -> dict[str, Any]:
    """Read the newest commit of a dataset."""
    manifest: dict[str, Any] = json.loads(max((folder / "_manifests").glob("*.json")).read_text())
    return manifest


def tell(contact_type: str, manifest: dict[str, Any]) -> None:
    """Print what a manifest says."""
    files, proof = manifest["files"], manifest["certificate"]
    print(f"{contact_type}: {manifest['rows']:,} rows, {len(manifest['schema'])} columns, ", end="")
    print(f"{len(files)} file(s), {sum(file['bytes'] for file in files):,} bytes")
    print(f"  last_update from {manifest['low']} to {manifest['high']}")
    print(f"  verdict: {proof['verdict']}" + (f" ({proof['reason']})" if proof.get("reason") else ""))
    print(
        f"  proof: {proof['windows']} windows, {proof['links']} links, {proof['bridges']} bridges, ", end=""
    )
    print(f"{proof['duplicates']} rows seen twice and folded\n")


def show(title: str, snippet: str) -> None:
    """Print a snippet, and what it prints when it runs."""
    print(f"With {title}:\n")
    print("\n".join(f"    {line}".rstrip() for line in snippet.splitlines()), "\n", flush=True)
    exec(snippet, {})
    print()


if __name__ == "__main__":
    main()
