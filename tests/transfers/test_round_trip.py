"""What a sync writes, an export reads back as what it was in the warehouse."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from airflow_provider_customerly.export import read_contacts
from airflow_provider_customerly.transfers.customerly_to_parquet import CustomerlyToParquetOperator
from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

if TYPE_CHECKING:
    from pathlib import Path

    from databases import Database

pytestmark = [pytest.mark.emulator(users=0, leads=0), pytest.mark.usefixtures("connect")]

TYPES = {"born": "date", "seats": "int64", "spent": "float64", "trial": "bool", "seen": "timestamp"}


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
@pytest.mark.parametrize("timezone", [None, "UTC", "Europe/Rome", "America/New_York", "Pacific/Kiritimati"])
def test_dates_keep_their_day_and_what_was_emptied_is_null(
    database: Database, tmp_path: Path, timezone: str | None
) -> None:
    sql = (
        "select 'a@x.test' as email, date '1990-05-17' as born, 7 as seats, 1.5 as spent, true as trial, "
        "timestamptz '2024-06-03 12:00+02' as seen union all select 'b@x.test', null, null, null, null, null"
    )
    SqlToCustomerlyOperator(
        task_id="sync",
        sql_conn_id=database.conn_id,
        sql=sql,
        state_path=str(tmp_path / "state"),
        sync_name="customers",
        timezone=timezone,
        null_as_empty=True,
    ).execute({})
    result = CustomerlyToParquetOperator(
        task_id="export",
        path=tmp_path / "crm",
        snapshot_date="2026-11-23",
        attributes=TYPES,
        max_coercion_failures=0,
    ).execute({})
    assert result["misfits"] == {}
    table = read_contacts(tmp_path / "crm", "users").to_table(columns=["email", *TYPES])
    rows = {row.pop("email"): row for row in table.to_pylist()}
    assert rows["a@x.test"]["born"] == date(1990, 5, 17)
    assert str(rows["a@x.test"]["seen"]) == "2024-06-03 10:00:00+00:00"
    assert [rows["a@x.test"][name] for name in ("seats", "spent", "trial")] == [7, 1.5, True]
    assert set(rows["b@x.test"].values()) == {None}


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_one_date_beyond_python_rejects_its_row_and_the_others_arrive(
    database: Database, tmp_path: Path
) -> None:
    sql = (
        "select 'c' || n || '@x.test' as email, case n when 7 then 'infinity' when 8 then '0044-03-15 BC' "
        "else '2024-06-03' end::date as renewal from generate_series(1, 20) n order by n"
    )
    result = SqlToCustomerlyOperator(
        task_id="sync",
        sql_conn_id=database.conn_id,
        sql=sql,
        state_path=str(tmp_path),
        sync_name="customers",
        max_rejects=2,
        chunk_size=5,
    ).execute({})
    assert (result["rows_read"], result["sent"], result["invalid"]) == (20, 18, 2)
    rejects = pq.read_table(tmp_path / "customers" / result["rejects"]).to_pylist()
    assert [(one["row"], one["reason"], one["field"]) for one in rejects] == [
        (7, "bad_value", "attributes.renewal"),
        (8, "bad_value", "attributes.renewal"),
    ]
