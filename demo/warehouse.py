"""A SQLite warehouse of made-up customers: Customerly knows some already, and a few rows are wrong."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CUSTOMERS = 2_000
_PLANS = ("free", "team", "business")


def make_warehouse(file: Path, known: Sequence[dict[str, Any]]) -> None:
    """Fill a new database.

    :param known: some of Customerly's users, who are customers too.
    """
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
