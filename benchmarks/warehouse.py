"""A warehouse table in SQLite, and functions in processes of their own."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import resource
import sqlite3
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

CONN_ID = "warehouse"
COLUMNS = (
    "email",
    "user_id",
    "name",
    "plan",
    "seats",
    "spent",
    "city_name",
    "signed_up_at",
    "segment",
    "score",
)


def environment(folder: str) -> None:
    """Set what Airflow reads at its first import, here and in processes that are started from here."""
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    os.environ["AIRFLOW_HOME"] = f"{folder}/airflow"
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    os.environ["AIRFLOW_CONN_WAREHOUSE"] = json.dumps({"conn_type": "sqlite", "host": database(folder)})


def database(folder: str) -> str:
    """Return the path of the database."""
    return f"{folder}/warehouse.sqlite"


def make_table(folder: str, rows: int) -> None:
    """Make the table `customers`."""
    with contextlib.closing(sqlite3.connect(database(folder))) as connection:
        connection.execute("drop table if exists customers")
        connection.execute(f"create table customers ({', '.join(COLUMNS)})")
        marks = ", ".join("?" * len(COLUMNS))
        connection.executemany(f"insert into customers values ({marks})", map(row, range(rows)))
        connection.commit()


def change(folder: str, one_in: int) -> None:
    """Change one row in so many."""
    with contextlib.closing(sqlite3.connect(database(folder))) as connection:
        connection.execute("update customers set score = score + 1 where rowid % ? = 0", (one_in,))
        connection.commit()


def execute(folder: str, statement: str) -> None:
    """Run a statement."""
    with contextlib.closing(sqlite3.connect(database(folder))) as connection:
        connection.execute(statement)
        connection.commit()


def in_own_process(run: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process of its own and give what it returns."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, *arguments).result()


def peak() -> float:
    """Return the most memory that this process held, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says includes the process that this one was started by
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 2**10  # type: ignore[index]
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10


def row(n: int) -> tuple[Any, ...]:
    """Return a row of the table."""
    plan, city = ("free", "team", "pro")[n % 3], ("Dublin", "Rome", "Porto", "Lyon")[n % 4]
    signed_up = 1_700_000_000 + n
    return (f"c{n}@shop.test", f"id-{n}", f"Customer {n}", plan, n % 50, n / 4, city, signed_up, n % 9, n)
