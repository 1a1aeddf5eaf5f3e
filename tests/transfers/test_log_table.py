"""Runs and rejects in tables of real databases."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from airflow_provider_customerly.sync import Reject, RunRecord
from airflow_provider_customerly.sync.counts import Counts
from airflow_provider_customerly.transfers.log_table import LogTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from databases import Database

RECORD = RunRecord(
    run="20261123T020000-7f3a",
    sync_name="nightly",
    contact_type="users",
    outcome="rejects",
    error=None,
    owner="dag/run/task/-1",
    started_at=datetime(2026, 11, 23, 3, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=1))),
    finished_at=datetime(2026, 11, 23, 2, 5, tzinfo=timezone.utc),
    counts=Counts(
        rows_read=9, new=1, changed=2, again=1, unchanged=2, invalid=2, still_refused=1, sent=3
    ).to_dict(),
    rejects="rejects/20261123T020000-7f3a.parquet",
    plan=None,
    ledger_sequence=4,
    contacts=6,
    fields=["email"],
    requests=1,
    versions={},
)


def reject(row: int, **changes: Any) -> Reject:
    email = f"ada{row}@northwind.test"
    return Reject(RECORD.run, row, email, "00", "refused", "attributes.plan", "No such plan")._replace(
        **changes
    )


@pytest.fixture
def log_table(database: Database) -> LogTable:
    table = LogTable(database.hook, "sync_log")
    table.prepare()
    return table


def moments(database: Database) -> tuple[Any, Any]:
    [times] = database.query("select started_at, finished_at from sync_log")
    return tuple(datetime.fromisoformat(time) if isinstance(time, str) else time for time in times)


def test_a_run_and_its_rejects_are_written(database: Database, log_table: LogTable) -> None:
    log_table.report(RECORD, iter([reject(2), reject(3, run="20261122T020000-11aa", field=None)]))
    assert database.query(
        "select run, sync_name, contact_type, outcome, rows_read, new, changed, again, unchanged, invalid, "
        "still_refused, vanished, sent, refused, vanished_handled, error from sync_log"
    ) == [(RECORD.run, "nightly", "users", "rejects", 9, 1, 2, 1, 2, 2, 1, 0, 3, 0, 0, None)]
    assert moments(database) == (datetime(2026, 11, 23, 2, 0, 0, 250_000), datetime(2026, 11, 23, 2, 5))
    assert database.query(
        "select run, sync_name, refused_in, source_row, email, reason, field, message "
        "from sync_log_rejects order by source_row"
    ) == [
        (
            RECORD.run,
            "nightly",
            RECORD.run,
            2,
            "ada2@northwind.test",
            "refused",
            "attributes.plan",
            "No such plan",
        ),
        (
            RECORD.run,
            "nightly",
            "20261122T020000-11aa",
            3,
            "ada3@northwind.test",
            "refused",
            None,
            "No such plan",
        ),
    ]


def test_more_rejects_than_one_statement_takes(database: Database, log_table: LogTable) -> None:
    log_table.report(RECORD, (reject(row) for row in range(1, 1_235)))
    counted = "select count(*), count(distinct email), min(source_row), max(source_row) from sync_log_rejects"
    assert database.query(counted) == [(1_234, 1_234, 1, 1_234)]


def test_the_same_run_again_replaces_what_it_wrote(database: Database, log_table: LogTable) -> None:
    other = msgspec.structs.replace(RECORD, run="20261122T020000-11aa")
    log_table.report(other, iter([reject(1)]))
    log_table.report(RECORD, iter([reject(1), reject(2)]))
    log_table.report(msgspec.structs.replace(RECORD, outcome="success"), iter([reject(5)]))
    assert sorted(database.query("select run, outcome from sync_log")) == [
        (other.run, "rejects"),
        (RECORD.run, "success"),
    ]
    assert sorted(database.query("select run, source_row from sync_log_rejects")) == [
        (other.run, 1),
        (RECORD.run, 5),
    ]


def test_a_report_that_breaks_off_changes_nothing(database: Database, log_table: LogTable) -> None:
    log_table.report(RECORD, iter([reject(1)]))

    def breaking_off() -> Iterator[Reject]:
        yield from map(reject, range(2, 500))
        raise OSError("The rejects of ada1@northwind.test cannot be read")

    with pytest.raises(
        RuntimeError, match=f"Could not write run {RECORD.run} to sync_log.*OSError"
    ) as failure:
        log_table.report(msgspec.structs.replace(RECORD, outcome="success"), breaking_off())
    assert "northwind" not in str(failure.value)
    assert failure.value.__cause__ is None
    assert failure.value.__suppress_context__
    assert database.query("select outcome from sync_log") == [("rejects",)]
    assert database.query("select source_row from sync_log_rejects") == [(1,)]


def test_odd_text_is_kept_as_far_as_can_be(database: Database, log_table: LogTable) -> None:
    odd = "ad\0a 😀 'x' %s ? \ud800;--@northwind.test" + "x" * 1_000
    log_table.report(RECORD, iter([reject(1, email=odd), reject(2, email=None)]))
    assert database.query("select email from sync_log_rejects order by source_row") == [
        (odd.replace("\0", "\ufffd").replace("\ud800", "?"),),
        (None,),
    ]


def test_no_row_is_logged(
    database: Database,
    log_table: LogTable,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    log_table.report(RECORD, iter([reject(1)]))
    database.execute("drop table sync_log_rejects")
    with pytest.raises(RuntimeError):
        log_table.report(RECORD, iter([reject(1)]))
    assert "northwind" not in caplog.text + "".join(capfd.readouterr())


def test_tables_that_are_there_are_kept(database: Database, log_table: LogTable) -> None:
    log_table.report(RECORD, iter([reject(1)]))
    log_table.prepare()
    LogTable(database.hook, "sync_log").prepare()
    assert database.query("select count(*) from sync_log") == [(1,)]
    assert database.query("select count(*) from sync_log_rejects") == [(1,)]


def test_only_the_table_that_is_missing_is_created(database: Database, log_table: LogTable) -> None:
    log_table.report(RECORD, iter([reject(1)]))
    database.execute("drop table sync_log_rejects")
    log_table.prepare()
    assert database.query("select count(*) from sync_log") == [(1,)]
    assert database.query("select count(*) from sync_log_rejects") == [(0,)]


def test_a_table_of_another_kind_is_refused_and_left_alone(database: Database) -> None:
    database.execute("create table sync_log (email varchar(200))")
    database.insert("sync_log", [("ada@northwind.test",)])
    with pytest.raises(RuntimeError, match=r"Table sync_log of log_table is missing.* run, sync_name,"):
        LogTable(database.hook, "sync_log").prepare()
    assert database.query("select email from sync_log") == [("ada@northwind.test",)]


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_user_who_may_only_write_needs_no_right_to_create(database: Database) -> None:
    role = f"writer_{database.query('select current_schema()')[0][0]}"
    LogTable(database.hook, "sync_log").prepare()
    try:
        database.execute(
            f"create role {role}",
            f"grant usage on schema {role.removeprefix('writer_')} to {role}",
            f"grant select, insert, delete on sync_log, sync_log_rejects to {role}",
        )
        hook = database.hook
        hook.options = f"-c search_path={role.removeprefix('writer_')} -c role={role}"
        hook.connection.extra = "{}"
        table = LogTable(hook, "sync_log")
        table.prepare()
        table.report(RECORD, iter([reject(1)]))
        assert database.query("select count(*) from sync_log_rejects") == [(1,)]
        database.execute(f"revoke insert on sync_log_rejects from {role}")
        with pytest.raises(RuntimeError, match="Table sync_log_rejects of log_table is missing") as failure:
            table.prepare()
        assert "permission denied" in str(failure.value.__cause__)
    finally:
        database.execute(f"drop owned by {role}", f"drop role {role}")


def test_an_exact_name_with_its_schema(database: Database) -> None:
    schema = {"sqlite": "main", "duckdb": "main"}.get(database.engine) or (
        database.connection["schema"]
        if database.engine == "mariadb"
        else database.query("select current_schema()")[0][0]
    )
    table = LogTable(database.hook, f'{schema}."Sync log"')
    table.prepare()
    table.report(RECORD, iter([reject(1)]))
    quote = "`" if database.engine == "mariadb" else '"'
    assert database.query(f"select count(*) from {schema}.{quote}Sync log_rejects{quote}") == [(1,)]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ["sync_log; drop table contacts", "", "sync log"])
def test_what_is_no_name_of_a_table_is_refused(database: Database, name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a table"):
        LogTable(database.hook, name)


def test_a_database_that_is_away_is_told_as_the_driver_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.postgres.hooks.postgres import PostgresHook
    from psycopg import OperationalError

    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "postgres://postgres@127.0.0.1:1/postgres")
    with pytest.raises(OperationalError):
        LogTable(PostgresHook("warehouse"), "sync_log").prepare()
