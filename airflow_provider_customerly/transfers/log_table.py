"""Optional tables in the warehouse that log the runs and rejects of syncs."""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from datetime import timezone
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.transfers.sql_names import check_table_name, quoted
from airflow_provider_customerly.transfers.sql_session import drivers_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from airflow.providers.common.sql.hooks.sql import DbApiHook

    from airflow_provider_customerly.sync import Reject, RunRecord

_RUNS = {
    "run": "name",
    "sync_name": "name",
    "contact_type": "name",
    "started_at": "time",
    "finished_at": "time",
    "outcome": "name",
    "rows_read": "count",
    "new": "count",
    "changed": "count",
    "again": "count",
    "unchanged": "count",
    "invalid": "count",
    "still_refused": "count",
    "vanished": "count",
    "sent": "count",
    "refused": "count",
    "vanished_handled": "count",
    "error": "name",
}
_REJECTS = {
    "run": "name",
    "sync_name": "name",
    "refused_in": "name",
    "source_row": "count",
    "email": "text",
    "reason": "name",
    "field": "text",
    "message": "text",
}
# SQL Server takes 2,100 values per statement, fewer than any other database.
_ROWS_AT_ONCE = 100


class LogTable:
    """Two tables: ``table`` has a row for each run, and ``<table>_rejects`` one for each reject.

    Times are UTC. The rejects hold email addresses. For a reject from an earlier run, ``refused_in`` is that
    run, and ``source_row`` is its position in the source of that run.

    :param table: name, with its schema if needed.
    :raises ValueError: ``table`` is not the name of a table.
    """

    def __init__(self, hook: DbApiHook, table: str) -> None:
        self._hook = hook
        self._name = check_table_name(table)
        self._tables = (
            (quoted(table, hook), _RUNS),
            (quoted(_with_suffix(table, "_rejects"), hook), _REJECTS),
        )

    def prepare(self) -> None:
        """Check that runs can be written, and create missing tables.

        :raises RuntimeError: a table is missing and cannot be created, lacks a column, or is not writable.
            The driver's own errors when it cannot connect are not caught.
        """
        for table, columns in self._tables:
            if self._failure_of(*self._probes(table, columns)) is None:
                continue
            # This connects, so connection errors are raised here.
            cannot_create = self._failure_of(self._creation(table, columns))
            # Another task may have created it at the same moment.
            cannot_write = self._failure_of(*self._probes(table, columns))
            if cannot_write is not None:
                raise RuntimeError(
                    f"Table {table} of log_table is missing and cannot be created, lacks one of the columns "
                    f"{', '.join(columns)}, or is not writable. Allow the user of the connection to create "
                    "it, or create it yourself and grant INSERT, SELECT and DELETE."
                ) from (cannot_create or cannot_write)

    def report(self, record: RunRecord, rejects: Iterable[Reject]) -> None:
        """Write a run and its rejects in one transaction, replacing existing rows of this run.

        :raises RuntimeError: the database refused it.
        """
        (runs, _), (rejected, _) = self._tables
        of_run = f" WHERE {self._column('run')} = {self._hook.placeholder}"
        try:
            with self._transaction() as cursor:
                for table in (runs, rejected):
                    cursor.execute(f"DELETE FROM {table}{of_run}", (record.run,))  # noqa: S608
                self._insert(cursor, runs, _RUNS, iter([_run_row(record)]))
                self._insert(cursor, rejected, _REJECTS, (_reject_row(record, one) for one in rejects))
        except Exception as error:
            # The text of a driver's error may quote values.
            raise RuntimeError(
                f"Could not write run {record.run} to {self._name} or its rejects table: the database raised "
                f"{type(error).__name__}. The files under the sync's state have the same information."
            ) from None

    def _probes(self, table: str, columns: Mapping[str, str]) -> tuple[str, str]:
        """Return statements that change nothing, and fail if writing would."""
        names = self._names(columns)
        return (
            f"INSERT INTO {table} ({names}) SELECT {names} FROM {table} WHERE 1 = 0",  # noqa: S608
            f"DELETE FROM {table} WHERE 1 = 0",  # noqa: S608
        )

    def _creation(self, table: str, columns: Mapping[str, str]) -> str:
        with closing(self._hook.get_conn()) as connection:
            is_mysql = drivers_of(connection) & {"MySQLdb", "mysql", "pymysql"}
        # MySQL converts TIMESTAMP between time zones, and its character set may lack characters.
        times, end = ("DATETIME(6)", " CHARACTER SET utf8mb4") if is_mysql else ("TIMESTAMP", "")
        types = {"time": times, "count": "BIGINT", "name": "VARCHAR(255)", "text": "TEXT"}
        typed = ", ".join(f"{self._column(name)} {types[kind]}" for name, kind in columns.items())
        return f"CREATE TABLE {table} ({typed}){end}"

    def _column(self, name: str) -> str:
        return self._hook.dialect.escape_word(name)

    def _names(self, columns: Mapping[str, str]) -> str:
        return ", ".join(map(self._column, columns))

    def _failure_of(self, *statements: str) -> Exception | None:
        try:
            with self._transaction() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        except Exception as error:
            return error
        return None

    def _insert(
        self, cursor: Any, table: str, columns: Mapping[str, str], rows: Iterator[Sequence[Any]]
    ) -> None:
        marks = f"({', '.join([self._hook.placeholder] * len(columns))})"
        while chunk := list(islice(rows, _ROWS_AT_ONCE)):
            values = ", ".join([marks] * len(chunk))
            statement = f"INSERT INTO {table} ({self._names(columns)}) VALUES {values}"  # noqa: S608
            cursor.execute(statement, tuple(chain.from_iterable(chunk)))

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Yield a cursor, and commit at the end, or roll back on an error."""
        with closing(self._hook.get_conn()) as connection:
            if is_duckdb := "duckdb" in drivers_of(connection):
                connection.begin()
            elif self._hook.supports_autocommit:
                self._hook.set_autocommit(connection, False)
            # DuckDB's cursors are separate connections, each with its own transactions.
            cursor = connection if is_duckdb else connection.cursor()
            try:
                yield cursor
                connection.commit()
            except BaseException:
                # Not every driver rolls back on close. A broken connection has nothing to roll back.
                with suppress(Exception):
                    connection.rollback()
                raise


def _with_suffix(table: str, suffix: str) -> str:
    return f"{table[:-1]}{suffix}{table[-1]}" if table[-1] in '"`]' else f"{table}{suffix}"


def _run_row(record: RunRecord) -> tuple[Any, ...]:
    known = {
        "started_at": _utc(record.started_at),
        "finished_at": _utc(record.finished_at),
        **{name: record.counts[name] for name, kind in _RUNS.items() if kind == "count"},
    }
    return tuple(known[name] if name in known else getattr(record, name) for name in _RUNS)


def _reject_row(record: RunRecord, reject: Reject) -> tuple[Any, ...]:
    return (
        record.run,
        record.sync_name,
        reject.run,
        reject.row,
        _storable(reject.email),
        reject.reason,
        _storable(reject.field),
        _storable(reject.message),
    )


def _utc(moment: datetime) -> str:
    """Format a time as text, which every driver takes; SQLite has no other type for it."""
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(sep=" ")


def _storable(text: str | None) -> str | None:
    """Replace characters of malformed emails that PostgreSQL cannot store or no driver can send."""
    return text and text.encode(errors="replace").decode().replace("\0", "\ufffd")
