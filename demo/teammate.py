"""Somebody who works in Customerly itself, and what happened before ``make demo-ui`` begins."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest.mock import patch

from warehouse import FIELD_MAPPING, CustomerRows, change_two_hundred

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.export import export_snapshot
from airflow_provider_customerly.sync import Options, apply, sync_contacts

if TYPE_CHECKING:
    from pathlib import Path

EDITED = "customer900@warehouse.test"
APPROVED = "customers_approved"
"""The sync of the example DAG with an approval."""


def edit_customer(connection: str, email: str) -> None:
    """Change a customer in Customerly, as a teammate would."""
    with Client(*access(connection)) as client:
        client.upsert_contacts("users", [{"email": email, "attributes": {"plan": "lifetime"}}])


def access(connection: str) -> tuple[str, str]:
    """Return the token and the address of a connection."""
    fields = json.loads(connection)
    return fields["password"], fields["host"]


def live_through_the_days_before(connection: str, warehouse: Path, state: Path, export: Path) -> None:
    """Sync the customers, let the teammate edit one in Customerly, export, and change some in the warehouse.

    So the first plan shows what Customerly holds, and an edit that it would overwrite.
    """
    options = Options(field_mapping=FIELD_MAPPING, tags=["warehouse"], max_rejects=0.01)
    with Client(*access(connection)) as client:
        # An export counts as later than a delivery only if a minute lies between: too long to wait here.
        a_day_ago = SimpleNamespace(time=lambda: time.time() - 86_400, monotonic=time.monotonic)
        with closing(sqlite3.connect(warehouse)) as database, patch.object(apply, "time", a_day_ago):
            sync_contacts(client, CustomerRows(database), state, APPROVED, options)
        time.sleep(
            2
        )  # times count in seconds: the edit must be later than the sync, and the export than both
        edit_customer(connection, EDITED)
        # Airflow's first run may be that of yesterday, and no export goes back in time.
        day = datetime.now(timezone.utc).date() - timedelta(days=2)
        export_snapshot(client, export, "users", snapshot_date=day.isoformat())
    change_two_hundred(warehouse)
