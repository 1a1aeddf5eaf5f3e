"""The rows of a query, read through any Airflow SQL hook without ever holding all of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow.providers.common.compat.sdk import AirflowException
from airflow.providers.common.sql.hooks.sql import DbApiHook
from sqlparse.lexer import tokenize
from sqlparse.tokens import DDL, DML, Comment, Punctuation, Whitespace

from airflow_provider_customerly.hooks.lookup import find_connection
from airflow_provider_customerly.transfers.sql_names import check_table_name, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Rows:
    """The rows of an open query, to be read once: iterating gives them in lists of tuples.

    :param columns: as the database names them; a name may occur more than once.
    """

    def __init__(self, columns: tuple[str, ...], chunks: Iterator[Sequence[Any]]) -> None:
        self.columns = columns
        self._chunks = chunks

    def __iter__(self) -> Iterator[list[tuple[Any, ...]]]:
        for chunk in self._chunks:
            if isinstance(chunk[0], Mapping):
                raise ValueError(
                    "The cursor of the connection gives dictionaries, which lose columns of the same name. "
                    "Remove the cursor setting from the extra field of the connection."
                )
            yield [tuple(row) for row in chunk]


class SqlSource:
    """The rows of a query, read in chunks through any Airflow SQL hook.

    Where the driver can, the result stays on the server and is fetched as it is read. Nothing is committed,
    and a statement that evidently writes is refused before it is sent.

    :param sql_conn_id: Airflow connection of any type whose hook is a ``DbApiHook``.
    :param sql: one query; a semicolon at its end does no harm.
    :param table: a table or view to read whole, instead of ``sql``: ``contacts``, ``crm.contacts`` or, for
        names that need it, ``crm."Contacts 2"``.
    :param parameters: values for the placeholders in ``sql``, in the style of the driver.
    :param chunk_size: most rows in a chunk.
    :raises ValueError: an argument cannot be meant; the text names it.
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
            raise ValueError("Give either sql or table: rows come from one query or one whole table.")
        if parameters and sql is None:
            raise ValueError("parameters go with sql: a whole table has no placeholders.")
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be 1 or more. It is {chunk_size}.")
        self.sql_conn_id = sql_conn_id
        self.sql = None if sql is None else _checked_query(sql)
        self.table = None if table is None else check_table_name(table)
        self.parameters = parameters if isinstance(parameters, Mapping) else tuple(parameters or ())
        self.chunk_size = chunk_size

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
            cursor = _open_cursor(connection)
            self._execute(cursor)
            # A cursor of psycopg2 that stays on the server tells its columns only with the first rows.
            first = cursor.fetchmany(self.chunk_size) if _tells_columns_late(cursor) else None
            if cursor.description is None:
                raise ValueError("The statement in sql gives no rows. Write a query: SELECT ... FROM ...")
            columns = tuple(column[0] for column in cursor.description)
            yield Rows(columns, _chunks(cursor, connection, self.chunk_size, first))
        finally:
            _close(cursor, connection)

    def _execute(self, cursor: Any) -> None:
        sql = self.statement
        # Given parameters, even none, many drivers take each % in the text for a placeholder.
        cursor.execute(sql, self.parameters) if self.parameters else cursor.execute(sql)


def sql_hook(conn_id: str) -> DbApiHook:
    """Give the hook of a connection to a database.

    :raises ValueError: there is no such connection, or its type has no installed hook that speaks SQL.
    """
    connection = find_connection(conn_id, "to the database")
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


def drivers_of(connection: Any) -> set[str]:
    """Name the top-level modules of a connection's class and its bases; a proxy shows those behind it."""
    return {base.__module__.partition(".")[0].lstrip("_") for base in connection.__class__.__mro__}


def _checked_query(sql: str) -> str:
    lexed = tokenize(sql)  # type: ignore[no-untyped-call]
    words = [(kind, word) for kind, word in lexed if kind not in Whitespace and kind not in Comment]
    while words and words[-1][1] == ";":
        words.pop()
    if not words:
        raise ValueError("sql is empty; if it is a template, check the variable it is rendered from.")
    if (Punctuation, ";") in words:
        raise ValueError("sql must be one query, and is several statements.")
    verb = _verb(words)
    if verb not in ("SELECT", None):
        raise ValueError(f"sql must be a query, and is {verb}: run that in a task of its own.")
    return sql.rstrip("; \t\r\n")


def _verb(words: list[tuple[Any, str]]) -> str | None:
    """Find what a statement does: behind the parentheses of a WITH, the first verb."""
    depth = 0
    for kind, word in words:
        depth += {"(": 1, ")": -1}.get(word, 0)
        if depth == 0 and (kind in DML or kind in DDL):
            return word.upper()
    return None


def _open_cursor(connection: Any) -> Any:
    """Open a cursor that leaves the result on the server, where the driver needs to be told.

    Its class is named, so that one set on the connection, which may give dictionaries, does not count.
    """
    drivers = drivers_of(connection)
    name = f"customerly_{uuid4().hex}"
    if "psycopg2" in drivers:
        connection.autocommit = False
        return connection.cursor(name, cursor_factory=import_module("psycopg2.extensions").cursor)
    if "psycopg" in drivers:
        connection.autocommit = False
        return connection.cursor(name, row_factory=import_module("psycopg.rows").tuple_row)
    for driver in drivers & {"MySQLdb", "pymysql"}:
        return connection.cursor(import_module(f"{driver}.cursors").SSCursor)
    return connection.cursor()


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
