"""A sync that goes on for long, and a warehouse that has other things to do meanwhile."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from airflow_provider_customerly.storage import lock
from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

if TYPE_CHECKING:
    from pathlib import Path

    from databases import Database

    from airflow_provider_customerly.emulator import Emulator


pytestmark = [pytest.mark.emulator(users=0, leads=0), pytest.mark.usefixtures("connect")]


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_query_may_take_longer_than_a_lease_lasts(
    database: Database, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LASTS", timedelta(seconds=2))
    monkeypatch.setattr(lock, "RENEW_EVERY", timedelta(seconds=0.1))
    # To the first row, and between one chunk and the next.
    sql = "select n || '@shop.test' as email from generate_series(1, 2) n, lateral pg_sleep(2 + n * 0.5)"
    operator = SqlToCustomerlyOperator(
        task_id="sync", sql_conn_id=database.conn_id, sql=sql, state_path=str(tmp_path), chunk_size=1
    )
    assert operator.execute({})["sent"] == 2


@pytest.mark.parametrize(
    ("database", "change"),
    [
        ("postgres", ["set lock_timeout = '2s'", "truncate customers"]),
        ("mariadb", ["set lock_wait_timeout = 2", "alter table customers add column note integer"]),
        ("sqlite", ["delete from customers"]),
    ],
    indirect=["database"],
)
def test_the_table_can_be_changed_while_its_rows_are_sent(
    database: Database,
    emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: list[str],
) -> None:
    class Changes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "POST /users: 200" in record.getMessage():
                client_log.removeHandler(self)
                database.execute(*change)

    database.execute("create table customers (email varchar(200), seats integer)")
    database.insert("customers", [(f"c{n}@shop.test", n) for n in range(100)])
    client_log = logging.getLogger("airflow_provider_customerly.client.session")
    monkeypatch.setattr(client_log, "level", logging.DEBUG)
    monkeypatch.setattr(client_log, "handlers", [Changes()])
    operator = SqlToCustomerlyOperator(
        task_id="sync", sql_conn_id=database.conn_id, table="customers", state_path=str(tmp_path)
    )
    assert operator.execute({})["sent"] == 100
    assert client_log.handlers == []
