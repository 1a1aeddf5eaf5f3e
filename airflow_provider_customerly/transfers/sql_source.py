"""The rows of a query, read through any Airflow SQL hook without ever holding all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException
from airflow.providers.common.sql.hooks.sql import DbApiHook

from airflow_provider_customerly.hooks.lookup import find_connection
from airflow_provider_customerly.transfers.sql_names import check_table_name, quoted
from airflow_provider_customerly.transfers.sql_session import drivers_of, open_cursor, repairs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Rows:
    """The rows of an open query, to be read once: iterating gives them in lists of tuples.

    :param columns: as the database names them; a name may occur more than once.
    """

    def __init__(
        self,
        columns: tuple[str, ...],
        chunks: Iterator[Sequence[Any]],
        repairs: Mapping[int, Callable[[Any], Any]],
    ) -> None:
        self.columns = columns
        self._chunks = chunks
        self._repairs = repairs

    def __iter__(self) -> Iterator[list[tuple[Any, ...]]]:
        for chunk in self._chunks:
            if isinstance(chunk[0], Mapping):
                raise ValueError(
                    "The cursor of the connection gives dictionaries, which lose columns of the same name. "
                    "Remove the cursor setting from the extra field of the connection."
                )
            yield [self._repaired(row) for row in chunk] if self._repairs else list(map(tuple, chunk))

    def _repaired(self, row: Sequence[Any]) -> tuple[Any, ...]:
        values = list(row)
        for position, repair in self._repairs.items():
            values[position] = repair(values[position])
        return tuple(values)


class SqlSource:
    """The rows of a query, read in chunks through any Airflow SQL hook.

    Where the driver can, the result stays on the server and is fetched as it is read. Nothing is committed,
    and PostgreSQL, MySQL, MariaDB, SQLite and DuckDB are told to refuse whatever writes. In MySQL and MariaDB
    the session is in UTC, so that a TIMESTAMP is the instant that was stored.

    :param sql_conn_id: Airflow connection of any type whose hook is a ``DbApiHook``.
    :param sql: one query; a semicolon at its end does no harm.
    :param table: a table or view to read whole, instead of ``sql``: ``contacts``, ``crm.contacts`` or, for
        names that need it, ``crm."Contacts 2"``.
    :param parameters: values for the placeholders in ``sql``, in the style of the driver.
    :param chunk_size: most rows in a chunk.
    :raises ValueError: an argument is invalid; the message names it.
    """

    def __init__(
        self,
        sql_conn_id: str,
        *,
        sql: str | None = None,
        table: str | None = None,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        chunk_size: int = 10_000,
    ) -> None:
        if (sql is None) == (table is None):
            raise ValueError("Set either sql or table: rows come from one query or one whole table.")
        if parameters and sql is None:
            raise ValueError("parameters only work with sql, because a table has no placeholders.")
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be 1 or more. It is {chunk_size}.")
        self.sql_conn_id = sql_conn_id
        self.sql = None if sql is None else check_query(sql)
        self.table = None if table is None else check_table_name(table)
        self.parameters = parameters if isinstance(parameters, Mapping) else tuple(parameters or ())
        self.chunk_size = chunk_size

    @classmethod
    def of(cls, arguments: Any) -> SqlSource:
        """Return the source that an operator's arguments name."""
        return cls(
            arguments.sql_conn_id or "",
            sql=arguments.sql,
            table=arguments.table,
            parameters=arguments.parameters,
            chunk_size=arguments.chunk_size,
        )

    @cached_property
    def hook(self) -> DbApiHook:
        """The hook of the connection.

        :raises ValueError: there is no such connection, or its type has no installed hook that speaks SQL.
        """
        return sql_hook(self.sql_conn_id)

    @property
    def statement(self) -> str:
        """The query as it is sent."""
        return self.sql or f"SELECT * FROM {quoted(self.table or '', self.hook)}"  # noqa: S608 (a checked name)

    @contextmanager
    def open(self) -> Iterator[Rows]:
        """Run the query and give its rows; cursor and connection are closed with the last one, or at the end.

        :raises ValueError: the statement gives no rows. What the driver raises is let through.
        """
        connection = self.hook.get_conn()
        cursor = None
        try:
            cursor = open_cursor(connection)
            self._execute(cursor)
            # A cursor of psycopg2 that stays on the server tells its columns only with the first rows.
            first = cursor.fetchmany(self.chunk_size) if _tells_columns_late(cursor) else None
            if cursor.description is None:
                raise ValueError("The statement in sql gives no rows. Write a query: SELECT ... FROM ...")
            columns = tuple(column[0] for column in cursor.description)
            chunks = _chunks(cursor, connection, self.chunk_size, first)
            yield Rows(columns, chunks, repairs_of(connection, cursor))
        finally:
            _close(cursor, connection)

    def _execute(self, cursor: Any) -> None:
        sql = self.statement
        # Given parameters, even none, many drivers take each % in the text for a placeholder.
        cursor.execute(sql, self.parameters) if self.parameters else cursor.execute(sql)


def sql_hook(conn_id: str) -> DbApiHook:
    """Return the hook of a connection to a database.

    :raises ValueError: there is no such connection, or its type has no installed hook that speaks SQL.
    """
    connection = find_connection(conn_id, "for the database")
    of_type = f"Connection {conn_id!r} is of type {connection.conn_type!r}"
    try:
        hook = connection.get_hook()  # type: ignore[no-untyped-call]
    except (AirflowException, ImportError) as error:
        raise ValueError(
            f"{of_type}, for which no hook is installed: install the provider package of that database."
        ) from error
    if not isinstance(hook, DbApiHook):
        raise ValueError(f"{of_type}, which does not speak SQL. Name a connection to a database.")
    return hook


_WRITES = {"INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "TRUNCATE", "CREATE", "ALTER", "DROP", "GRANT"}
_BLANK = re.compile(r"(?:[\s;\ufeff]+|--[^\n]*|#[^\n]*)*")
_COMMENT = re.compile(r"/\*|\*/")


def check_query(sql: str) -> str:
    """Return the query without a byte order mark before it and semicolons at its end.

    What it does is for the database to judge. Only a first word with which no query begins anywhere is
    refused here, before anything is sent.
    """
    word = _first_word(sql)
    if word == "":
        raise ValueError("sql is empty; if it is a template, check the variable it is rendered from.")
    if word in _WRITES:
        raise ValueError(f"sql must be a query, and is {word}: run that in a task of its own.")
    start = _BLANK.match(sql).end()  # type: ignore[union-attr]
    return sql[:start].replace("\ufeff", "") + sql[start:].rstrip("; \t\r\n")


def _first_word(sql: str) -> str | None:
    """Return the first word or sign behind blanks and comments, "" if there is none.

    Comments may be nested, as in PostgreSQL. None if they do not end when they are read so.
    """
    rest = sql[_BLANK.match(sql).end() :]  # type: ignore[union-attr]
    while rest.startswith("/*"):
        depth = 0
        for mark in _COMMENT.finditer(rest):
            depth += 1 if mark[0] == "/*" else -1
            if depth == 0:
                rest = rest[mark.end() :]
                rest = rest[_BLANK.match(rest).end() :]  # type: ignore[union-attr]
                break
        else:
            return None
    return re.match(r"\w*|.", rest)[0].upper() or rest[:1]  # type: ignore[index]


def _tells_columns_late(cursor: Any) -> bool:
    return cursor.description is None and getattr(cursor, "name", None) is not None


def _close(cursor: Any, connection: Any) -> None:
    # MySQLdb reads all the rows still to come before it closes a cursor, unless the connection is gone.
    both = [connection, cursor] if "MySQLdb" in drivers_of(connection) else [cursor, connection]
    for one in filter(None, both):
        # Some drivers refuse to close a cursor with rows unread, or after an error: what matters is that
        # the connection is closed too, and that this hides no failure of the query.
        with suppress(Exception):
            one.close()


def _chunks(cursor: Any, connection: Any, size: int, first: Sequence[Any] | None) -> Iterator[Sequence[Any]]:
    chunk = cursor.fetchmany(size) if first is None else first
    while chunk:
        yield chunk
        chunk = cursor.fetchmany(size)
    # Not only at the end of the work on the rows: until then, others could not change the table.
    _close(cursor, connection)
