"""Rows of real databases, as each driver gives them."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
from contextlib import closing, suppress
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from databases import Database
from sql_drivers import HOOKS

from airflow_provider_customerly.transfers.sql_session import drivers_of
from airflow_provider_customerly.transfers.sql_source import SqlSource
from airflow_provider_customerly.values.unsendable import Unreadable, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NEEDS_MYSQLCLIENT = pytest.mark.skipif(
    importlib.util.find_spec("MySQLdb") is None, reason="mysqlclient, which needs a compiler, is absent"
)
MYSQLCLIENT = pytest.param("MySQLdb", id="mysqlclient", marks=NEEDS_MYSQLCLIENT)
# The drivers that the hooks choose, then the others.
DRIVERS = [
    pytest.param("sqlite", "sqlite3", id="sqlite"),
    pytest.param("duckdb", "duckdb", id="duckdb"),
    pytest.param("postgres", "psycopg", id="psycopg"),
    pytest.param("postgres", "psycopg2", id="psycopg2"),
    pytest.param("mariadb", "mysql", id="mysql-connector"),
    pytest.param("mariadb", "pymysql", id="pymysql"),
    pytest.param("mariadb", "MySQLdb", id="mysqlclient", marks=NEEDS_MYSQLCLIENT),
]
with_each_driver = pytest.mark.parametrize(("database", "driver"), DRIVERS, indirect=["database"])
with_one_driver_in_the_quick_lane = pytest.mark.parametrize(
    ("database", "driver"),
    [
        DRIVERS[0],
        *(pytest.param(*one.values, id=one.id, marks=[*one.marks, pytest.mark.slow]) for one in DRIVERS[1:]),
    ],
    indirect=["database"],
)


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


@with_one_driver_in_the_quick_lane
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
        "# it's the cleaning\ndelete from contacts",
        "/* a /* nested */ one */ ; drop table contacts",
        "insert into contacts values ('a', 1) returning seats",
        "create table other (a integer)",
        "drop table contacts",
    ],
)
def test_a_statement_that_can_be_no_query_is_refused_before_it_is_sent(sql: str) -> None:
    with pytest.raises(ValueError, match="must be a query, and is"):
        SqlSource("warehouse", sql=sql)


@pytest.mark.parametrize(
    "sql",
    [
        "with deleted as (select 1 as a) select a from deleted",
        "with updates as (select 1 as a), drops as (select * from updates) select a from drops",
        '-- it\'s for the "old" ones; delete is elsewhere\nselect 1',
        "/* don't; drop table contacts */ select 1",
        "select 1 -- it's; done",
        "\ufeffselect 1",
        "\ufeff-- saved by an editor\nselect 1;",
    ],
)
@with_each_driver
def test_a_query_is_for_the_database_to_judge(database: Database, driver: str, sql: str) -> None:
    assert read(source_of(database, driver, sql=sql))[1] == [[(1,)]]


@pytest.mark.parametrize("sql", ["/* delete /* */ select 1", "/* a */ /* update", "(select 1)", "values (1)"])
def test_a_query_that_cannot_be_taken_apart_is_sent(sql: str) -> None:
    assert SqlSource("warehouse", sql=sql).sql == sql


WRITING = {
    "sqlite": "with old as (select 1) delete from contacts returning seats",
    "duckdb": "with old as (select 1) delete from contacts returning seats",
    "postgres": "with old as (delete from contacts returning seats) select * from old",
    "mariadb": "select empty_contacts()",
}


@with_each_driver
def test_the_database_refuses_to_write(contacts: Database, driver: str) -> None:
    if contacts.engine == "mariadb":
        contacts.execute(
            "create function empty_contacts() returns integer begin delete from contacts; return 1; end"
        )
    with pytest.raises(Exception, match=r"(?i)read.?only|DECLARE CURSOR must not"):
        read(source_of(contacts, driver, sql=WRITING[contacts.engine]))
    for second in ("delete from contacts", "drop table contacts"):
        with suppress(Exception):  # some drivers refuse two statements, some run the first
            read(source_of(contacts, driver, sql=f"select 1; {second}"))
    assert contacts.query("select count(*) from contacts") == [(25,)]


@pytest.mark.parametrize("start", ["\ufeff", "\n\ufeff", " \ufeff ", "-- contacts\n\ufeff"])
def test_a_byte_order_mark_before_a_query_is_not_sent(start: str) -> None:
    sent = SqlSource("warehouse", sql=f"{start}select '\ufeff';").statement
    assert sent == start.replace("\ufeff", "") + "select '\ufeff'"


@pytest.mark.parametrize("sql", ["", " ;\n", "-- nothing", "/* nothing; */ ;"])
def test_an_empty_query_is_refused(sql: str) -> None:
    with pytest.raises(ValueError, match="sql is empty"):
        SqlSource("warehouse", sql=sql)


with_postgres = pytest.mark.parametrize("database", ["postgres"], indirect=True)
with_mariadb = pytest.mark.parametrize("database", ["mariadb"], indirect=True)
with_each_postgres_driver = pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
with_each_mysql_driver = pytest.mark.parametrize("driver", ["mysql", "pymysql", MYSQLCLIENT])


def kinds_of(values: Sequence[Any]) -> list[str]:
    return ["unreadable" if isinstance(value, Unreadable) else str(value) for value in values]


@with_postgres
@with_each_postgres_driver
def test_a_function_that_writes_is_refused_by_the_database(contacts: Database, driver: str) -> None:
    contacts.execute(
        "create function take() returns integer language sql as "
        "$$ insert into contacts values ('bob@northwind.test', 99) returning seats $$"
    )
    with pytest.raises(Exception, match="read-only transaction"):
        read(source_of(contacts, driver, sql="select take()"))
    assert contacts.query("select count(*) from contacts") == [(25,)]


@with_postgres
@with_each_postgres_driver
@pytest.mark.parametrize(
    "odd",
    [
        "'infinity'::timestamptz",
        "'-infinity'::timestamp",
        "'infinity'::date",
        "'0044-03-15 BC'::date",
        "'0044-03-15 BC'::timestamptz",
        "'12000-01-01'::timestamp",
    ],
)
def test_a_date_that_python_does_not_have_is_one_value_not_the_end(
    database: Database, driver: str, odd: str
) -> None:
    good = f"'2024-06-03'::{odd.rpartition('::')[2]}"
    sql = f"select 1 as n, {odd} as d union all select 2, {good} union all select 3, null order by n"
    _, [rows] = read(source_of(database, driver, sql=sql))
    assert [kind[:10] for kind in kinds_of([value for _, value in rows])] == [
        "unreadable",
        "2024-06-03",
        "None",
    ]


@with_postgres
@with_each_postgres_driver
def test_odd_values_within_arrays_ranges_and_json(database: Database, driver: str) -> None:
    deep = "'" + "[" * 3_000 + "]" * 3_000 + "'::jsonb"
    sql = f"select array['infinity'::date], tsrange('0044-03-15 BC', 'infinity'), {deep}, 7 as good"
    _, [[row]] = read(source_of(database, driver, sql=sql))
    assert row[-1] == 7
    assert {refusal(value).reason for value in row[:-1]} <= {"bad_value", "nested_value"}


@with_postgres
@with_each_postgres_driver
@pytest.mark.parametrize("style", ["German", "SQL,DMY", "Postgres,MDY"])
def test_dates_are_read_whatever_style_the_server_prefers(
    database: Database, driver: str, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.connection["extra"]["options"] += f" -c datestyle={style}"
    for name, value in database.environment.items():
        monkeypatch.setenv(name, value)
    sql = "select timestamptz '2024-06-03 12:00+02', date '2024-06-03', timestamp '2024-06-03 12:00'"
    _, [[row]] = read(source_of(database, driver, sql=sql))
    noon = datetime(2024, 6, 3, 12)
    assert row == (noon.replace(hour=10, tzinfo=timezone.utc), noon.date(), noon)


@with_postgres
@with_each_postgres_driver
@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_text_is_text_whatever_encoding_the_client_was_told(
    database: Database, driver: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.connection["extra"]["options"] += f" -c client_encoding={encoding}"
    for name, value in database.environment.items():
        monkeypatch.setenv(name, value)
    _, [[row]] = read(source_of(database, driver, sql="select 'Zoë'::text, 'Ω'::varchar, array['ë']"))
    assert row == ("Zoë", "Ω", ["ë"])


@pytest.fixture
def without_encoding(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database that keeps text as bytes and does not know what they mean."""
    name = f"customerly_{uuid4().hex}"
    with closing(database.hook.get_conn()) as connection:
        connection.autocommit = True
        connection.execute(f"create database {name} encoding 'SQL_ASCII' locale 'C' template template0")
        try:
            ascii_only = {**database.connection, "schema": name, "extra": {"options": ""}}
            monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(ascii_only))
            yield Database(database.engine, ascii_only)
        finally:
            connection.execute(f"drop database {name} with (force)")


@with_postgres
@with_each_postgres_driver
def test_bytes_that_are_no_text_are_one_value_not_the_end(without_encoding: Database, driver: str) -> None:
    without_encoding.execute(
        "create table notes (n integer, note text, code char(4))",
        "insert into notes values (1, E'Zo\\xc3\\xab', 'a'), (2, E'Zo\\xeb', 'b'), (3, 'Zoe', 'c')",
    )
    sql = "select note, array[note] as notes, code from notes order by n"
    _, [rows] = read(source_of(without_encoding, driver, sql=sql))
    assert rows[0] == ("Zoë", ["Zoë"], "a")
    assert rows[1][0] == b"Zo\xeb"
    assert rows[2] == ("Zoe", ["Zoe"], "c")


@with_postgres
@with_each_postgres_driver
def test_arrays_of_a_type_of_their_own_are_lists(database: Database, driver: str) -> None:
    database.execute(
        "create type tier as enum ('gold', 'silver')",
        "create domain label as varchar(20) check (value <> '')",
    )
    sql = "select array['gold', null]::tier[], array['a,b']::label[], 'gold'::tier, 'x'::label"
    _, [[row]] = read(source_of(database, driver, sql=sql))
    assert row == (["gold", None], ["a,b"], "gold", "x")


@with_each_driver
def test_a_text_of_fixed_length_is_not_padded(database: Database, driver: str) -> None:
    database.execute("create table codes (code char(8))")
    database.insert("codes", [("pro",)])
    assert read(source_of(database, driver, table="codes"))[1] == [[("pro",)]]


@with_mariadb
@with_each_mysql_driver
def test_a_timestamp_of_mysql_is_the_instant_that_was_stored(database: Database, driver: str) -> None:
    database.execute(
        "create table payments (paid_at timestamp null, local_time datetime, due date)",
        "set time_zone = '+05:30'",
        "insert into payments values ('2024-06-03 17:30:00', '2024-06-03 14:00:00', '2024-06-03')",
        "insert into payments values (null, null, null)",
    )
    _, [rows] = read(source_of(database, driver, sql="select paid_at, local_time, due from payments"))
    noon = datetime(2024, 6, 3, 12, tzinfo=timezone.utc)
    assert rows == [(noon, datetime(2024, 6, 3, 14), date(2024, 6, 3)), (None, None, None)]
    _, [[row]] = read(source_of(database, driver, sql="select max(paid_at) from payments"))
    assert row == (noon,)


@with_mariadb
@with_each_mysql_driver
def test_a_date_of_zeros_is_none_and_one_that_does_not_exist_is_refused(
    database: Database, driver: str
) -> None:
    database.execute(
        "create table dates (n integer, d date, dt datetime, ts timestamp null)",
        "set sql_mode = ''",
        "insert into dates values (1, '0000-00-00', '0000-00-00', '0000-00-00')",
        "insert into dates values (2, '2024-02-00', '2024-00-01 10:00', null), (3, '2024-06-03', null, null)",
    )
    _, [rows] = read(source_of(database, driver, sql="select d, dt, ts from dates order by n"))
    assert [kinds_of(row) for row in rows] == [
        ["None", "None", "None"],
        ["unreadable", "unreadable", "None"],
        ["2024-06-03", "None", "None"],
    ]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_bytes_that_sqlite_keeps_as_text_are_one_value_not_the_end(database: Database) -> None:
    sql = "select cast(x'5a6feb' as text) as note union all select 'Zoë' union all select 7"
    assert read(source_of(database, sql=sql))[1] == [[("Zo\udceb",), ("Zoë",), (7,)]]


@pytest.mark.parametrize("database", ["duckdb"], indirect=True)
def test_times_of_duckdb_that_python_does_not_have_are_unreadable(database: Database) -> None:
    sql = (
        "select 'infinity'::timestamp as t union all select '12000-01-01'::timestamp "
        "union all select '2024-06-03'::timestamp union all select null"
    )
    _, [rows] = read(source_of(database, sql=sql))
    assert kinds_of([value for (value,) in rows]) == ["unreadable"] * 2 + ["2024-06-03 00:00:00", "None"]
    sql = "select '-infinity'::{0} union all select '{1}'::{0}"
    for kind in ("date", "timestamp", "timestamptz"):
        _, [rows] = read(source_of(database, sql=sql.format(kind, "2024-06-03")))
        assert kinds_of([value for (value,) in rows])[0] == "unreadable"
        assert rows[1][0].year == 2024


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
        ({"table": "contacts", "parameters": [1]}, "parameters only work with sql"),
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
