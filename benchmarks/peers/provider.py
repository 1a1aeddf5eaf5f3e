"""This package, called as its operators call it."""

from __future__ import annotations

import json
import os
import sys
from datetime import date
from typing import Any

import common
import pandas as pd  # noqa: F401  # pyarrow brings it along with its first table
import pyarrow.dataset as ds  # noqa: F401  # an export brings it along with the files of the one before

from airflow_provider_customerly.client import Client

CONN_ID = "warehouse"


def export(task: common.Task) -> None:
    """Export to Parquet."""
    from airflow_provider_customerly.export import export_contacts

    options = {"snapshot_date": date.today(), "mode": task.options.get("mode", "snapshot")}
    concurrency = task.options["concurrency"]
    with (
        common.measured(task) as reported,
        Client(common.TOKEN, task.url, max_concurrency=concurrency) as client,
    ):
        result = export_contacts(client, task.folder / "export", "users", **options)
        reported["verdict"] = result["verdict"]


def sync(task: common.Task) -> None:
    """Sync the table."""
    os.environ["AIRFLOW_HOME"] = str(task.folder / "airflow")
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    host = str(task.folder / "warehouse.sqlite")
    os.environ["AIRFLOW_CONN_WAREHOUSE"] = json.dumps({"conn_type": "sqlite", "host": host})
    import airflow.sdk

    from airflow_provider_customerly.sync import Options, SyncRejectsError, sync_contacts
    from airflow_provider_customerly.transfers.sql_source import SqlSource

    airflow.sdk.BaseHook.get_connection(CONN_ID).get_hook()  # type: ignore[no-untyped-call]
    concurrency = task.options["concurrency"]
    options = Options(batch_size=task.options["batch"], max_concurrency=concurrency)
    result: dict[str, Any]
    with (
        common.measured(task) as reported,
        SqlSource(CONN_ID, table="customers").open() as source,
        Client(common.TOKEN, task.url, max_concurrency=concurrency) as client,
    ):
        try:
            result = sync_contacts(client, source, task.folder / "state", "nightly", options)
        except SyncRejectsError as error:
            result = error.result
            reported["noticed"] = result["refused"]
            raise
        reported["noticed"] = result["refused"]


if __name__ == "__main__":
    todo = common.task()
    try:
        (export if todo.what == "export" else sync)(todo)
    except Exception as problem:
        sys.exit(f"{type(problem).__name__}: {str(problem)[:500]}")
