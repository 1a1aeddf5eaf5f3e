"""Rows of real databases, as each driver gives them."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sql_drivers import HOOKS

from airflow_provider_customerly.transfers.sql_source import SqlSource, drivers_of

if TYPE_CHECKING:
    from databases import Database

# The drivers that the hooks choose, then the others.
DRIVERS = [
    pytest.param("sqlite", "sqlite3", id="sqlite"),
    pytest.param("duckdb", "duckdb", id="duckdb"),
    pytest.param("postgres", "psycopg", id="psycopg"),
    pytest.param("postgres", "psycopg2", id="psycopg2"),
    pytest.param("mariadb", "mysql", id="mysql-connector"),
    pytest.param("mariadb", "pymysql", id="pymysql"),
    pytest.param(
        "mariadb",
        "MySQLdb",
        id="mysqlclient",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("MySQLdb") is None,
            reason="mysqlclient, which needs a compiler, is absent",
        ),
    ),
]
with_each_driver = pytest.mark.parametrize(("database", "driver"), DRIVERS, indirect=["database"])


def source_of(database: Database, driver: str = "", **arguments: Any) -> SqlSource:
    source = SqlSource(database.conn_id, **arguments)
    if driver in HOOKS:
        source.hook = HOOKS[driver](database.conn_id)
    return source


def read(source: SqlSource) -> tuple[tuple[str, ...], list[list[tuple[Any, ...]]]]:
    with source.open() as rows:
        return rows.columns, list(rows)


def series(engine: str, count: int) -> str:
    """A query for numbered rows of a thousand letters."""
    return {
        "sqlite": "with recursive n(i) as (select 1 union all select i + 1 from n where i < {count}) "
        "select i, replace(hex(zeroblob(500)), '0', 'x') from n",
        "duckdb": "select i, repeat('x', 1000) from range(1, {count} + 1) n(i)",
        "postgres": "select i, repeat('x', 1000) from generate_series(1, {count}) n(i)",
        "mariadb": "select seq, repeat('x', 1000) from seq_1_to_{count}",
    }[engine].format(count=count)


@pytest.fixture
def contacts(database: Database) -> Database:
    database.execute("create table contacts (email varchar(200), seats integer)")
    database.insert("contacts", [(f"ada{n}@northwind.test", n) for n in range(25)])
    return database


@with_each_driver
def test_rows_come_in_chunks(contacts: Database, driver: str) -> None:
    source = source_of(
        contacts, driver, sql="select seats, email from contacts order by seats;", chunk_size=10
    )
    columns, chunks = read(source)
    assert columns == ("seats", "email")
    assert [len(chunk) for chunk in chunks] == [10, 10, 5]
    assert [row for chunk in chunks for row in chunk] == [(n, f"ada{n}@northwind.test") for n in range(25)]
    assert all(type(row) is tuple for chunk in chunks for row in chunk)


@with_each_driver
def test_the_driver_meant_is_the_one_tried(database: Database, driver: str) -> None:
    connection = source_of(database, driver, sql="select 1").hook.get_conn()
    connection.close()
    assert driver in drivers_of(connection)


@with_each_driver
def test_columns_are_known_when_there_is_no_row(contacts: Database, driver: str) -> None:
    source = source_of(contacts, driver, sql="select email, seats from contacts where seats > 99")
    assert read(source) == (("email", "seats"), [])


@with_each_driver
def test_parameters_reach_the_database_and_no_log(
    contacts: Database, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    mark = source_of(contacts, driver, sql="select 1").hook.placeholder
    sql = f"select seats from contacts where email = {mark}"
    for parameters in (["ada7@northwind.test"], ("ada7@northwind.test",)):
        _, chunks = read(source_of(contacts, driver, sql=sql, parameters=parameters))
        assert chunks == [[(7,)]]
    assert "northwind" not in caplog.text


@with_each_driver
def test_a_percent_sign_is_itself_without_parameters(contacts: Database, driver: str) -> None:
    _, chunks = read(source_of(contacts, driver, sql="select seats from contacts where email like 'ada2_%'"))
    assert sorted(row for chunk in chunks for row in chunk) == [(2,), (20,), (21,), (22,), (23,), (24,)]


def test_named_parameters(contacts: Database) -> None:
    mark = {"sqlite": ":least", "duckdb": "$least"}.get(contacts.engine, "%(least)s")
    source = source_of(
        contacts, sql=f"select seats from contacts where seats >= {mark}", parameters={"least": 24}
    )
    assert read(source) == (("seats",), [[(24,)]])


@with_each_driver
def test_columns_of_the_same_name_are_passed_on(database: Database, driver: str) -> None:
    assert read(source_of(database, driver, sql="select 1 as a, 2 as a")) == (("a", "a"), [[(1, 2)]])


TYPES = {
    "sqlite": {
        "12": 12,
        "1.5": 1.5,
        "'Zoë'": "Zoë",
        "cast('2026-11-23' as text)": "2026-11-23",
        "x'00ff'": b"\x00\xff",
        "null": None,
    },
    "duckdb": {
        "12": 12,
        "cast(1.50 as decimal(10, 2))": Decimal("1.50"),
        "timestamp '2026-11-23 10:30:00'": datetime(2026, 11, 23, 10, 30),
        "date '2026-11-23'": date(2026, 11, 23),
        "true": True,
        "['a', 'b']": ["a", "b"],
        "{'plan': 'pro'}": {"plan": "pro"},
        "null": None,
    },
    "postgres": {
        "12": 12,
        "1.50::numeric(10, 2)": Decimal("1.50"),
        "timestamp '2026-11-23 10:30:00'": datetime(2026, 11, 23, 10, 30),
        "timestamptz '2026-11-23 10:30:00+02'": datetime(2026, 11, 23, 8, 30, tzinfo=timezone.utc),
        "date '2026-11-23'": date(2026, 11, 23),
        "true": True,
        "array['a', null, 'b']": ["a", None, "b"],
        "array[1, 2]": [1, 2],
        """'{"plan": ["pro"]}'::jsonb""": {"plan": ["pro"]},
        "'7d0f0c5e-0d7c-4b6e-8f7e-0d9a4c1b2a3f'::uuid": UUID("7d0f0c5e-0d7c-4b6e-8f7e-0d9a4c1b2a3f"),
        "'Zoë'::text": "Zoë",
        "null::integer": None,
    },
    "mariadb": {
        "12": 12,
        "cast(1.50 as decimal(10, 2))": Decimal("1.50"),
        "timestamp '2026-11-23 10:30:00'": datetime(2026, 11, 23, 10, 30),
        "date '2026-11-23'": date(2026, 11, 23),
        "true": 1,
        "'Zoë'": "Zoë",
        "null": None,
    },
}


def test_values_have_the_types_of_the_driver(database: Database) -> None:
    expected = TYPES[database.engine]
    _, [[row]] = read(source_of(database, sql=f"select {', '.join(expected)}"))
    assert list(row) == list(expected.values())
    assert [type(value) for value in row] == [type(value) for value in expected.values()]


@with_each_driver
def test_memory_stays_bounded(database: Database, driver: str) -> None:
    program = Path(__file__).parent / "peak_memory.py"
    queries = [series(database.engine, 1_000), series(database.engine, 300_000)]
    told = subprocess.run(
        [sys.executable, str(program), database.conn_id, driver, *queries],
        env={**os.environ, **database.environment},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    result = json.loads(told.stdout.splitlines()[-1])
    assert result["rows"] == 300_000
    # The result is 300 MB. DuckDB runs in this process and takes more for itself the busier the machine is.
    assert result["megabytes"] < (150 if database.engine == "duckdb" else 60)


def connections_of(source: SqlSource) -> list[Any]:
    """The connections that the source is going to open."""
    opened: list[Any] = []
    get_conn = source.hook.get_conn

    def remembering() -> Any:
        opened.append(get_conn())
        return opened[-1]

    source.hook.get_conn = remembering
    return opened


def is_closed(connection: Any) -> bool:
    try:
        cursor = connection.cursor()
        cursor.execute("select 1")
    except Exception:
        return True
    return False


@with_each_driver
def test_leaving_early_frees_the_connection(contacts: Database, driver: str) -> None:
    source = source_of(contacts, driver, sql=series(contacts.engine, 100_000), chunk_size=10)
    connections = connections_of(source)
    with pytest.raises(RuntimeError, match="enough"), source.open() as rows:  # noqa: PT012
        assert len(next(iter(rows))) == 10
        raise RuntimeError("enough")
    assert [is_closed(connection) for connection in connections] == [True]


PATIENCE = {"postgres": ["set lock_timeout = '5s'"], "mariadb": ["set lock_wait_timeout = 5"]}


@with_each_driver
def test_a_table_left_early_is_not_locked(contacts: Database, driver: str) -> None:
    contacts.insert("contacts", [("bob@northwind.test", n) for n in range(500)])
    with source_of(contacts, driver, table="contacts", chunk_size=10).open() as rows:
        next(iter(rows))
    contacts.execute(*PATIENCE.get(contacts.engine, []), "drop table contacts")


@with_each_driver
def test_a_table_is_free_once_its_rows_are_read(contacts: Database, driver: str) -> None:
    source = source_of(contacts, driver, table="contacts", chunk_size=10)
    connections = connections_of(source)
    with source.open() as rows:
        assert sum(len(chunk) for chunk in rows) == 25
        contacts.execute(*PATIENCE.get(contacts.engine, []), "drop table contacts")
        assert [is_closed(connection) for connection in connections] == [True]


@with_each_driver
def test_errors_of_the_driver_come_through_and_close_the_connection(database: Database, driver: str) -> None:
    source = source_of(database, driver, sql="select email from nowhere")
    connections = connections_of(source)
    with pytest.raises(Exception, match="nowhere") as failure, source.open():
        pass
    assert failure.type.__module__.partition(".")[0] in (driver, f"_{driver}")
    assert [is_closed(connection) for connection in connections] == [True]


@pytest.mark.parametrize(
    ("database", "sql"),
    [("sqlite", "begin"), ("mariadb", "set @seats = 1")],
    indirect=["database"],
)
def test_a_statement_without_rows_is_refused(database: Database, sql: str) -> None:
    source = source_of(database, sql=sql)
    connections = connections_of(source)
    with pytest.raises(ValueError, match="gives no rows"), source.open():
        pass
    assert [is_closed(connection) for connection in connections] == [True]


@pytest.mark.parametrize(
    "sql",
    [
        "update contacts set seats = 1",
        "-- the cleaning\ndelete from contacts",
        "insert into contacts values ('a', 1) returning seats",
        "with old as (select 1) update contacts set seats = 1",
        "create table other (a integer)",
        "drop table contacts",
    ],
)
def test_a_statement_that_writes_is_refused_before_it_is_sent(sql: str) -> None:
    with pytest.raises(ValueError, match="must be a query, and is"):
        SqlSource("warehouse", sql=sql)


@pytest.mark.parametrize("sql", ["select 1; drop table contacts", "select 1;; -- and\nselect 2"])
def test_several_statements_are_refused(sql: str) -> None:
    with pytest.raises(ValueError, match="must be one query"):
        SqlSource("warehouse", sql=sql)


@pytest.mark.parametrize("sql", ["", " ;\n", "-- nothing", "/* nothing; */ ;"])
def test_an_empty_query_is_refused(sql: str) -> None:
    with pytest.raises(ValueError, match="sql is empty"):
        SqlSource("warehouse", sql=sql)


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_nothing_is_committed(contacts: Database, driver: str) -> None:
    contacts.execute(
        "create function take() returns integer language sql as "
        "$$ insert into contacts values ('bob@northwind.test', 99) returning seats $$"
    )
    assert read(source_of(contacts, driver, sql="select take()")) == (("take",), [[(99,)]])
    assert contacts.query("select count(*) from contacts") == [(25,)]


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_connection_that_commits_by_itself_and_gives_dictionaries(
    contacts: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    contacts.connection["extra"].update(autocommit=True, cursor="dictcursor")
    for name, value in contacts.environment.items():
        monkeypatch.setenv(name, value)
    _, [[row]] = read(source_of(contacts, sql="select email, seats from contacts where seats = 7"))
    assert row == ("ada7@northwind.test", 7)


@pytest.mark.parametrize(
    "query",
    ["select seats from contacts where seats < 1;;\n", "select seats from contacts where seats < 1; -- done"],
)
@with_each_driver
def test_what_follows_the_query_does_no_harm(contacts: Database, driver: str, query: str) -> None:
    assert read(source_of(contacts, driver, sql=query)) == (("seats",), [[(0,)]])


@pytest.mark.parametrize(
    "query",
    [
        "values (1)",
        "(select 1) union all (select 1)",
        "with one as (select 1) select * from one",
        "select ';' from (select 1) one where 'drop; delete' <> ''",
    ],
)
def test_queries_that_do_not_begin_with_select(database: Database, query: str) -> None:
    if database.engine == "sqlite" and query.startswith("("):
        pytest.skip("SQLite knows no parentheses around a query")
    _, [chunk] = read(source_of(database, sql=query))
    assert len(chunk[0]) == 1


def test_a_query_too_long_to_take_apart_is_sent_as_it_is(contacts: Database) -> None:
    numbers = ", ".join(str(n) for n in range(20, 20_000))
    _, [chunk] = read(source_of(contacts, sql=f"select seats from contacts where seats in ({numbers})"))
    assert sorted(chunk) == [(20,), (21,), (22,), (23,), (24,)]


def test_a_table_is_read_whole(contacts: Database) -> None:
    columns, [rows] = read(source_of(contacts, table="contacts"))
    assert columns == ("email", "seats")
    assert len(rows) == 25


def test_a_table_can_be_named_with_its_schema(contacts: Database) -> None:
    schema = {"sqlite": "main", "duckdb": "main", "mariadb": contacts.connection.get("schema")}.get(
        contacts.engine
    ) or contacts.query("select current_schema()")[0][0]
    assert len(read(source_of(contacts, table=f"{schema}.contacts"))[1][0]) == 25
    assert len(read(source_of(contacts, table=f'"{schema}".`contacts`'))[1][0]) == 25


def test_a_name_in_quotes_is_exact(database: Database) -> None:
    quote = "`" if database.engine == "mariadb" else '"'
    database.execute(f"create table {quote}Contacts 2.new{quote} (seats integer)")
    database.insert(f"{quote}Contacts 2.new{quote}", [(3,)])
    for written in ('"Contacts 2.new"', "`Contacts 2.new`", "[Contacts 2.new]"):
        assert read(source_of(database, table=written)) == (("seats",), [[(3,)]])


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_reserved_word_can_be_a_name(database: Database) -> None:
    database.execute('create table "order" (seats integer)')
    assert read(source_of(database, table="order")) == (("seats",), [])


@pytest.mark.parametrize(
    "table",
    [
        "",
        "contacts; drop table contacts",
        "contacts where 1 = 1",
        "contacts c",
        "(select 1)",
        "crm.",
        ".contacts",
        "crm..contacts",
        "2contacts",
        "contacts--",
        'con"tacts',
        '"contacts',
        '"contacts`',
        '""',
        "contacts\n",
    ],
)
def test_what_is_no_name_of_a_table_is_refused(table: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a table"):
        SqlSource("warehouse", table=table)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either sql or table"),
        ({"sql": "select 1", "table": "contacts"}, "either sql or table"),
        ({"table": "contacts", "chunk_size": 0}, "chunk_size must be 1 or more. It is 0"),
        ({"table": "contacts", "parameters": [1]}, "parameters go with sql"),
    ],
)
def test_arguments_that_cannot_be_meant(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SqlSource("warehouse", **arguments)


@pytest.mark.parametrize(
    ("uri", "message"),
    [("http://crm.northwind.test", "does not speak SQL"), ("nosuchdb://host", "no hook is installed")],
)
def test_a_connection_that_is_no_database(uri: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", uri)
    with pytest.raises(ValueError, match=f"Connection 'warehouse' is of type .*{message}"):
        _ = SqlSource("warehouse", sql="select 1").hook


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_hook_whose_cursor_gives_dictionaries_is_refused(database: Database) -> None:
    source = source_of(database, sql="select 1 as a, 2 as a")
    get_conn = source.hook.get_conn

    def giving_dictionaries() -> Any:
        connection = get_conn()
        connection.row_factory = lambda cursor, row: dict(zip(["a", "a"], row, strict=True))
        return connection

    source.hook.get_conn = giving_dictionaries
    with pytest.raises(ValueError, match="gives dictionaries"):
        read(source)
