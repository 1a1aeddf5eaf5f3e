"""Nights of incremental exports, read by engines that know nothing of this package.

Contacts change, appear and vanish between and during the nights; runs fail at the API and at the store, and
are tried again. Whatever an engine finds in the newest day's folder is the truth, and earlier days stay as
they were.
"""

from __future__ import annotations

import random
import shutil
import time
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest
from nights import Ticking, increment

from airflow_provider_customerly.client import CustomerlyUnavailable
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.storage import Location

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa

DAY = 86_400
WEIGHTS = {"update": 0.7, "create": 0.18, "delete": 0.12}
STORE_CALLS = ("create", "move", "create_exclusive", "delete", "copy", "scan")


class Contact(NamedTuple):
    last_update: str
    name: str | None
    email: str | None


Table = dict[int, Contact]


def contacts(rows: list[dict[str, Any]]) -> Table:
    found = {
        row["crmhero_user_id"]: Contact(f"{row['last_update']:%Y-%m-%d %H:%M:%S}", row["name"], row["email"])
        for row in rows
    }
    assert len(found) == len(rows), "a contact is there twice"
    return found


COLUMNS = ["crmhero_user_id", "last_update", "name", "email"]


def by_pyarrow(users: Path, day: str) -> list[dict[str, Any]]:
    found: pa.Table = ds.dataset(users, partitioning="hive").to_table(filter=ds.field("snapshot_date") == day)
    return found.select(COLUMNS).to_pylist()


def by_pandas(users: Path, day: str) -> list[dict[str, Any]]:
    frame = pd.read_parquet(users, filters=[("snapshot_date", "=", day)], dtype_backend="pyarrow")
    return frame[COLUMNS].astype(object).where(frame[COLUMNS].notna(), None).to_dict("records")


def by_polars(users: Path, day: str) -> list[dict[str, Any]]:
    frame = pl.scan_parquet(f"{users}/**/*.parquet", hive_partitioning=True, try_parse_hive_dates=False)
    return frame.filter(pl.col("snapshot_date") == day).select(COLUMNS).collect().to_dicts()


def by_duckdb(users: Path, day: str, glob: str) -> list[dict[str, Any]]:
    table = "read_parquet(?, hive_partitioning = true)"
    query = f"select {', '.join(COLUMNS)} from {table} where snapshot_date = ?"
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        return connection.sql(query, params=[f"{users}/{glob}", day]).to_arrow_table().to_pylist()


READERS: dict[str, Callable[[Path, str], list[dict[str, Any]]]] = {
    "pyarrow": by_pyarrow,
    "pandas": by_pandas,
    "polars": by_polars,
    "duckdb, any depth": lambda users, day: by_duckdb(users, day, "**/*.parquet"),
    "duckdb, by day": lambda users, day: by_duckdb(users, day, "snapshot_date=*/*.parquet"),
}


class LostAnswerError(OSError):
    """What a store's library raises when a request times out."""


@contextmanager
def failing_store(call: str, at: int, *, after: bool) -> Iterator[None]:
    """Let the so-manieth call of the store fail, once it was done or before, and all calls after it."""
    counted = 0

    def failing(original: Callable[..., Any], name: str) -> Callable[..., Any]:
        def act(*arguments: Any) -> Any:
            nonlocal counted
            counted += name == call
            is_first = counted == at and name == call
            if counted >= at:
                if after and is_first:
                    original(*arguments)
                raise LostAnswerError(name)
            return original(*arguments)

        return act

    with pytest.MonkeyPatch.context() as patch:
        for name in STORE_CALLS:
            patch.setattr(Location, name, failing(getattr(Location, name), name))
        yield


class Nights:
    """Runs the nights and knows the truth."""

    def __init__(self, emulator: Emulator, path: Path, clock: Ticking, seed: int) -> None:
        self.emulator, self.path, self.clock = emulator, path, clock
        self.draw = random.Random(seed)
        self.tables: dict[str, Table] = {}
        """Each day's table, as it was when the day was over."""
        self.refreshed = 0
        """How many changes had happened when all contacts were last read."""
        self.failed = {"at the API": 0, "at the store": 0}

    def run(self, night: int) -> None:
        store = self.emulator.store
        self.clock.now += DAY
        day = f"{date(2026, 10, 1) + timedelta(days=night)}"
        options = {"owner": f"night {night}", "full_refresh": night % 7 == 6, "row_group_size": 150}
        store.churn(self.draw.randrange(60), WEIGHTS)
        self.emulator.churn.per_request = 0.5
        for _ in range(self.draw.choice((0, 1, 1, 2))):
            self.fail(day, **options)
        increment(self.emulator, self.path, day, **options)
        self.emulator.churn.per_request = 0
        for _ in range(2):
            self.fail(day, **options)
        # The day's last run sees what changed during the others.
        assert increment(self.emulator, self.path, day, **options)["verdict"] == "complete"
        if options["full_refresh"]:
            self.refreshed = len(store.journal)
        self.check(day)

    def fail(self, day: str, **options: Any) -> None:
        """Let a run fail at the API or at the store, if it comes so far."""
        if self.draw.random() < 0.3:
            self.emulator.faults.plan([None] * self.draw.randrange(7) + ["down"] * 500)
            with suppress(CustomerlyUnavailable):
                increment(self.emulator, self.path, day, retry_budget=0, **options)
                self.failed["at the API"] -= 1
            self.failed["at the API"] += 1
            self.emulator.faults.clear()
        else:
            call, after = self.draw.choice(STORE_CALLS), self.draw.random() < 0.5
            with failing_store(call, self.draw.randrange(1, 5), after=after), suppress(LostAnswerError):
                increment(self.emulator, self.path, day, **options)
                self.failed["at the store"] -= 1
            self.failed["at the store"] += 1

    def check(self, day: str) -> None:
        users, store = self.path / "users", self.emulator.store
        found = {name: contacts(read(users, day)) for name, read in READERS.items()}
        table = found["pyarrow"]
        assert {name: other for name, other in found.items() if other != table} == {}
        truth = {
            key: Contact(record["last_update"], record["name"], record["email"])
            for key, record in store.truth("users").items()
        }
        deleted = {change.contact_id for change in store.journal[self.refreshed :] if change.kind == "delete"}
        assert {key: contact for key, contact in table.items() if key not in deleted} == truth
        self.tables[day] = table
        self.check_days()

    def check_days(self) -> None:
        """Hold that each day's folder is that day's table, and that nothing else is found."""
        users = self.path / "users"
        assert {day: contacts(by_pyarrow(users, day)) for day in self.tables} == self.tables
        counted = duckdb.sql(
            f"select snapshot_date::text, count(*) from read_parquet('{users}/**/*.parquet', "
            "hive_partitioning = true) group by 1"
        )
        assert dict(counted.fetchall()) == {day: len(table) for day, table in self.tables.items()}


@contextmanager
def nights(path: Path, count: int, seed: int) -> Iterator[Nights]:
    clock = Ticking(int(time.time()) - (count + 2) * DAY)
    with Emulator(users=400, leads=20, seed=seed, churn_weights=WEIGHTS, clock=clock) as emulator:
        ran = Nights(emulator, path, clock, seed)
        for night in range(count):
            ran.run(night)
        yield ran


def test_plain_readers_find_the_truth_in_the_newest_folder(tmp_path: Path) -> None:
    with nights(tmp_path, 4, seed=1) as ran:
        assert min(ran.failed.values()) > 0


@pytest.mark.slow
def test_plain_readers_find_the_truth_on_each_of_thirty_nights(tmp_path: Path) -> None:
    with nights(tmp_path, 30, seed=2) as ran:
        assert min(ran.failed.values()) > 5


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("java"), reason="Spark runs on Java")
def test_spark_finds_the_days_and_their_tables(tmp_path: Path) -> None:
    sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed")
    with nights(tmp_path, 8, seed=4) as ran:
        tables = ran.tables
    config = {
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    }
    spark = sql.SparkSession.builder.master("local[1]").config(map=config).getOrCreate()
    try:
        frame = spark.read.parquet(str(tmp_path / "users"))
        stamp = "date_format(last_update, 'yyyy-MM-dd HH:mm:ss') as stamp"
        rows = frame.selectExpr("snapshot_date", "crmhero_user_id", stamp, "name", "email").collect()
    finally:
        spark.stop()
    assert len(rows) == sum(map(len, tables.values()))
    found: dict[str, Table] = {day: {} for day in tables}
    for row in rows:
        found[row.snapshot_date][row.crmhero_user_id] = Contact(row.stamp, row.name, row.email)
    assert found == tables
