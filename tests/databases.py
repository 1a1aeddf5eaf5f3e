"""Real databases for tests: each test gets an empty one, with an Airflow connection to it.

The fixture ``database`` runs a test once for each engine:

    def test_something(database: Database) -> None:
        database.execute("create table contacts (email varchar(200), seats integer)")
        database.insert("contacts", [("ada@northwind.test", 14)])
        SqlToSomethingOperator(sql_conn_id=database.conn_id, table="contacts", ...).execute({})
        assert database.query("select count(*) from contacts") == [(1,)]

``@pytest.mark.parametrize("database", ["sqlite", "postgres"], indirect=True)`` picks some of ``ENGINES``, and
``database.engine`` tells which one it is. A DAG run in a process of its own needs ``database.environment``
among its variables. Write SQL that all engines know.

PostgreSQL and MariaDB are looked for at CUSTOMERLY_TEST_POSTGRES and CUSTOMERLY_TEST_MARIADB, Airflow
connection URIs; `.ci/services.sh` starts them at the defaults. Without them their tests are skipped.
"""

from __future__ import annotations

import json
import os
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from airflow.providers.common.sql.hooks.sql import DbApiHook

ENGINES = ("sqlite", "postgres", "mariadb", "duckdb")
POSTGRES = os.environ.get("CUSTOMERLY_TEST_POSTGRES", "postgres://postgres@127.0.0.1:5432/postgres")
MARIADB = os.environ.get("CUSTOMERLY_TEST_MARIADB", "mysql://root@127.0.0.1:3306/")
ANSWERS_WITHIN = 300
"""Seconds: one that is not there refuses at once, and one that is late is not absent."""


class Database:
    """An empty database that is gone after the test.

    :param engine: one of ``ENGINES``.
    :param connection: the Airflow connection, which has the id ``conn_id``.
    """

    conn_id = "warehouse"

    def __init__(self, engine: str, connection: dict[str, Any]) -> None:
        self.engine = engine
        self.connection = connection

    @property
    def environment(self) -> dict[str, str]:
        """What makes the connection known to Airflow in another process."""
        return {f"AIRFLOW_CONN_{self.conn_id.upper()}": json.dumps(self.connection)}

    @property
    def hook(self) -> DbApiHook:
        from airflow.sdk import BaseHook

        return BaseHook.get_connection(self.conn_id).get_hook()

    def execute(self, *statements: str) -> None:
        """Run statements and commit them."""
        with closing(self.hook.get_conn()) as connection, closing(connection.cursor()) as cursor:
            for statement in statements:
                cursor.execute(statement)
            connection.commit()

    def insert(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows that give every column of the table."""
        hook = self.hook
        values = ", ".join([hook.placeholder] * len(rows[0]))
        with closing(hook.get_conn()) as connection, closing(connection.cursor()) as cursor:
            cursor.executemany(f"insert into {table} values ({values})", [tuple(row) for row in rows])
            connection.commit()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with closing(self.hook.get_conn()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(sql)
            return [tuple(row) for row in cursor.fetchall()]


@contextmanager
def _sqlite(folder: Path) -> Iterator[dict[str, Any]]:
    yield {"conn_type": "sqlite", "host": str(folder / "warehouse.sqlite")}


@contextmanager
def _duckdb(folder: Path) -> Iterator[dict[str, Any]]:
    yield {"conn_type": "duckdb", "host": str(folder / "warehouse.duckdb")}


@contextmanager
def _postgres(folder: Path) -> Iterator[dict[str, Any]]:
    import psycopg

    server = _from_uri(POSTGRES)
    schema = f"customerly_{uuid4().hex}"
    with _reached("PostgreSQL", "CUSTOMERLY_TEST_POSTGRES", server, psycopg.OperationalError):
        connection = psycopg.connect(
            host=server["host"],
            port=server["port"],
            user=server["login"],
            password=server["password"],
            dbname=server["schema"],
            connect_timeout=ANSWERS_WITHIN,
            autocommit=True,
        )
    with closing(connection):
        connection.execute(f"create schema {schema}")
        try:
            yield {**server, "extra": {**server["extra"], "options": f"-c search_path={schema}"}}
        finally:
            connection.execute(f"drop schema {schema} cascade")


@contextmanager
def _mariadb(folder: Path) -> Iterator[dict[str, Any]]:
    import pymysql

    server = _from_uri(MARIADB)
    schema = f"customerly_{uuid4().hex}"
    with _reached("MariaDB", "CUSTOMERLY_TEST_MARIADB", server, pymysql.OperationalError):
        connection = pymysql.connect(
            host=server["host"],
            port=server["port"],
            user=server["login"],
            password=server["password"] or "",
            connect_timeout=ANSWERS_WITHIN,
        )
    with closing(connection), closing(connection.cursor()) as cursor:
        cursor.execute(f"create database {schema} character set utf8mb4")
        try:
            # The other driver of the hook, mysqlclient, needs a compiler.
            client = {"client": "mysql-connector-python"}
            yield {**server, "schema": schema, "extra": {**client, **server["extra"]}}
        finally:
            cursor.execute(f"drop database {schema}")


_MAKERS = {"sqlite": _sqlite, "postgres": _postgres, "mariadb": _mariadb, "duckdb": _duckdb}


@pytest.fixture(params=ENGINES)
def database(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    with _MAKERS[request.param](tmp_path) as connection:
        made = Database(request.param, connection)
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


def _from_uri(uri: str) -> dict[str, Any]:
    parts = urlsplit(uri)
    return {
        "conn_type": parts.scheme,
        "host": parts.hostname,
        "port": parts.port,
        "login": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "schema": parts.path.strip("/"),
        "extra": dict(parse_qsl(parts.query)),
    }


@contextmanager
def _reached(what: str, variable: str, server: dict[str, Any], unreached: type[Exception]) -> Iterator[None]:
    try:
        yield
    except unreached as error:
        pytest.skip(
            f"needs service {what}, which does not answer at {server['host']}:{server['port']} ({variable}): "
            f"{type(error).__name__}"
        )
