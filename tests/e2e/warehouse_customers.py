"""A warehouse with the table `customers` that the example DAG of the sync reads."""

import json
from typing import Any

from databases import Database

from airflow_provider_customerly.emulator import Emulator

CUSTOMERS = 300
KNOWN = 20
_COLUMNS = (
    "customer_id varchar(20), email varchar(254), name varchar(100), plan varchar(20), seats integer, "
    "internal_note varchar(100)"
)


def add_customers(database: Database, emulator: Emulator) -> None:
    """Make the table: some rows are users of Customerly already, one of each kind is invalid or refused."""
    rows = [
        (f"c-{n}", f"customer{n}@warehouse.test", f"Customer {n}", "team", n % 40 + 1, "not for Customerly")
        for n in range(CUSTOMERS)
    ]
    users = [user for user in page_of_users(emulator) if user.get("user_id")]
    for n, user in enumerate(users[:KNOWN]):
        rows[n] = (user["user_id"], user["email"], *rows[n][2:])
    rows[200] = ("c-200", "customer(at)warehouse.test", *rows[200][2:])
    rows[201] = (users[KNOWN]["user_id"], *rows[201][1:])  # which Customerly knows under another email
    database.execute(f"create table customers ({_COLUMNS})")
    database.insert("customers", rows)


def warehouse_connection(database: Database) -> dict[str, str]:
    """Environment with the connection of the example DAGs to a database."""
    return {"AIRFLOW_CONN_WAREHOUSE_DEFAULT": json.dumps(database.connection)}


def page_of_users(emulator: Emulator) -> list[dict[str, Any]]:
    users: list[dict[str, Any]] = json.loads(emulator.store.page("users", 0, 100, "last_update", "asc"))
    return users
