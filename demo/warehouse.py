"""A SQLite warehouse of made-up customers: Customerly knows some already, and a few rows are wrong."""

from __future__ import annotations

import itertools
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CUSTOMERS = 2_000
FIELD_MAPPING = {"customer_id": "user_id", "internal_note": None}
"""As in the example DAGs; other columns go to fields and attributes of their own names."""
_KNOWN = 200
_PLANS = ("free", "team", "business")


class CustomerRows:
    """The customers, as a sync reads them."""

    def __init__(self, warehouse: sqlite3.Connection) -> None:
        self._cursor = warehouse.execute("select * from customers")
        self.columns = [column[0] for column in self._cursor.description]

    def __iter__(self) -> Iterator[list[tuple[Any, ...]]]:
        while rows := self._cursor.fetchmany(1_000):
            yield rows


def make_warehouse(file: Path, connection: str) -> None:
    """Fill a new database.

    :param connection: Airflow's connection to Customerly, some of whose users are customers too.
    """
    known = _users_with_ids(connection)
    rows = [_customer(n) for n in range(CUSTOMERS)]
    for n, user in enumerate(known[:-1]):
        rows[n] = (user["user_id"], user["email"], *rows[n][2:])
    rows[500] = ("c-500", None, *rows[500][2:])
    rows[501] = ("c-501", "eve(at)warehouse.test", *rows[501][2:])
    rows[502] = ("c-502", rows[503][1].upper(), *rows[502][2:])
    rows[504] = (*rows[504][:3], "x" * 200, *rows[504][4:])
    rows[505] = (known[-1]["user_id"], *rows[505][1:])  # which Customerly knows under another email
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(
            "create table customers (customer_id text, email text, name text, plan text, seats integer, "
            "signed_up_at integer, internal_note text)"
        )
        database.executemany("insert into customers values (?, ?, ?, ?, ?, ?, ?)", rows)


def change_ten(file: Path) -> None:
    """Upgrade ten customers."""
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(
            "update customers set plan = 'enterprise', seats = seats + 100 where customer_id in "
            "(select customer_id from customers where customer_id like 'c-1%' order by customer_id limit 10)"
        )


def change_two_hundred(file: Path) -> None:
    """Upgrade more customers than a plan may touch without a person who approves it."""
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(
            "update customers set plan = 'enterprise', seats = seats + 100 "
            "where customer_id like 'c-8__' or customer_id like 'c-9__'"
        )


def _users_with_ids(connection: str) -> list[dict[str, Any]]:
    fields = json.loads(connection)
    with Client(fields["password"], fields["host"]) as client:
        pages = (json.loads(bytes(client.fetch_page("users", page, 100))) for page in itertools.count())
        users = (user for page in pages for user in page if user.get("user_id") and user["email"])
        return list(itertools.islice(users, _KNOWN))


def _customer(n: int) -> tuple[Any, ...]:
    return (
        f"c-{n}",
        f"customer{n}@warehouse.test",
        f"Customer {n}",
        _PLANS[n % len(_PLANS)],
        n % 40 + 1,
        1_700_000_000 + 3_600 * n,
        "not for Customerly",
    )
