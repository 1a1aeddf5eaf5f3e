"""A sync whose state lies on S3, spoken to over HTTP."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from sync_process import Rows

from airflow_provider_customerly.client import Client, CustomerlyUnavailable
from airflow_provider_customerly.sync import Options, apply_plan, plan_contacts, sync_contacts
from airflow_provider_customerly.sync.journal import Journal
from airflow_provider_customerly.sync.keys import keys_of
from airflow_provider_customerly.sync.ledger import Ledger, Status, entries_of
from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

if TYPE_CHECKING:
    from databases import Database
    from places import S3Server

    from airflow_provider_customerly.emulator import Emulator
    from airflow_provider_customerly.storage import Location

COLUMNS = ("email", "seats")


pytestmark = [pytest.mark.emulator(users=0, leads=0), pytest.mark.usefixtures("connect")]


def source(change: int = 0) -> Rows:
    return Rows(COLUMNS, [(f"c{n}@shop.test", n + change) for n in range(120)])


def call(emulator: Emulator, step: Any, what: Any, location: Location) -> dict[str, Any]:
    with Client(emulator.token, emulator.url, retry_budget=0) as client:
        result: dict[str, Any] = step(client, what, location, "nightly", Options(batch_size=20))
        return result


def folders(location: Location) -> list[str]:
    return sorted({name.rpartition("/")[0] for name in location.list()})


def test_a_state_on_s3_remembers_and_leaves_nothing_behind(emulator: Emulator, s3_location: Location) -> None:
    assert call(emulator, sync_contacts, source(), s3_location)["sent"] == 120
    again = call(emulator, sync_contacts, source(), s3_location)
    assert (again["unchanged"], again["requests"]) == (120, 0)
    assert folders(s3_location.join("nightly")) == ["", "ledger/_manifests", "ledger/state=current", "runs"]


def test_an_outage_and_a_dead_runs_journal_on_s3(emulator: Emulator, s3_location: Location) -> None:
    emulator.faults.plan([None, None, "503"])
    with pytest.raises(CustomerlyUnavailable):
        call(emulator, sync_contacts, source(), s3_location)
    emulator.faults.clear()
    state = s3_location.join("nightly")
    salt = json.loads(state.read("sync.json"))["salt"]
    name = hashlib.blake2b(key=bytes.fromhex(salt), digest_size=8, person=b"state").hexdigest()
    dead = Journal(state, "20260101T000000000000Z-00000000", name, Ledger(("email", "attributes.seats")), 100)
    dead.write(entries_of(keys_of([bytes(16)]), 2, Status.VANISHED))
    half = state.create("rejects/20260101T000000000000Z-00000000.parquet")
    half.write(b"PAR1")
    half.close()
    result = call(emulator, sync_contacts, source(), s3_location)
    assert (result["unchanged"], result["sent"]) == (40, 80)
    assert folders(state) == ["", "ledger/_manifests", "ledger/state=current", "rejects", "runs"]


def test_a_plan_on_s3_is_applied(emulator: Emulator, s3_location: Location) -> None:
    plan = call(emulator, plan_contacts, source(), s3_location)
    assert (plan["new"], plan["requests"]) == (120, 0)
    assert call(emulator, apply_plan, plan["plan"], s3_location)["sent"] == 120
    assert call(emulator, sync_contacts, source(), s3_location)["unchanged"] == 120


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_operator_finds_the_state_by_the_connection_in_its_path(
    database: Database, emulator: Emulator, s3_server: S3Server, s3_connection: str
) -> None:
    database.execute("create table customers (email varchar(200), seats integer)")
    database.insert("customers", source().rows)
    arguments: dict[str, Any] = {"task_id": "sync", "sync_name": "nightly", "sql_conn_id": database.conn_id}
    path = f"s3://{s3_connection}@{s3_server.bucket}/operator"
    for sent, unchanged in ((120, 0), (0, 120)):
        operator = SqlToCustomerlyOperator(state_path=path, table="customers", **arguments)
        result = operator.execute({})
        assert (result["sent"], result["unchanged"]) == (sent, unchanged)
        assert result["path"].startswith(f"s3://{s3_server.bucket}/operator/nightly")
