"""What syncs did, in tables of the warehouse, for those who want it there."""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from datetime import timezone
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.transfers.sql_names import check_table_name, quoted
from airflow_provider_customerly.transfers.sql_source import drivers_of

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
# SQL Server takes 2,100 values with a statement, fewer than any other.
_ROWS_AT_ONCE = 100


class LogTable:
    """Two tables: one row for each run in ``table``, one for each reject in ``<table>_rejects``.

    Times are UTC. The rejects hold email addresses. A reject that was met again says in ``refused_in`` which
    earlier run it comes from, and ``source_row`` is its position in that one's source.

    :param table: name, with its schema where needed.
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
        """Make sure that runs can be written: create the tables that are missing.

        :raises RuntimeError: they are missing and cannot be created, lack a column, or cannot be written to.
            What the driver raises when it cannot connect is let through.
        """
        for table, columns in self._tables:
            if self._failure_of(*self._probes(table, columns)) is None:
                continue
            # Asking for the driver lets an error of connecting through.
            cannot_create = self._failure_of(self._creation(table, columns))
            # Another task may have created it at the same moment.
            cannot_write = self._failure_of(*self._probes(table, columns))
            if cannot_write is not None:
                raise RuntimeError(
                    f"Table {table} of log_table cannot be used: it is missing and cannot be created, lacks "
                    f"one of the columns {', '.join(columns)}, or must not be written to. Let the user of "
                    "the connection create it, or create it by hand and allow to insert, select and delete."
                ) from (cannot_create or cannot_write)

    def report(self, record: RunRecord, rejects: Iterable[Reject]) -> None:
        """Write a run and its rejects in one transaction, in place of what is there for this run.

        :raises RuntimeError: the database did not take it.
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
            # The text of a driver's error may quote what it was given.
            raise RuntimeError(
                f"Run {record.run} could not be written to {self._name} or its rejects table: the database "
                f"answered with {type(error).__name__}. The files under the sync's state have it."
            ) from None

    def _probes(self, table: str, columns: Mapping[str, str]) -> tuple[str, str]:
        """Statements that change nothing and fail where writing would."""
        names = self._names(columns)
        return (
            f"INSERT INTO {table} ({names}) SELECT {names} FROM {table} WHERE 1 = 0",  # noqa: S608
            f"DELETE FROM {table} WHERE 1 = 0",  # noqa: S608
        )

    def _creation(self, table: str, columns: Mapping[str, str]) -> str:
        with closing(self._hook.get_conn()) as connection:
            is_mysql = drivers_of(connection) & {"MySQLdb", "mysql", "pymysql"}
        # TIMESTAMP is moved between time zones there, and the character set may know too few characters.
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
        """Give a cursor; what it did is committed at the end, or rolled back on an error."""
        with closing(self._hook.get_conn()) as connection:
            if is_duckdb := "duckdb" in drivers_of(connection):
                connection.begin()
            elif self._hook.supports_autocommit:
                self._hook.set_autocommit(connection, False)
            # DuckDB's cursors are connections of their own, each with its own transactions.
            cursor = connection if is_duckdb else connection.cursor()
            try:
                yield cursor
                connection.commit()
            except BaseException:
                # Closing alone does not do it everywhere; on a broken connection there is nothing to undo.
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
    """Write a moment as text, which every driver takes; that of SQLite has no other way to keep it."""
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(sep=" ")


def _storable(text: str | None) -> str | None:
    """Replace what PostgreSQL does not store, or no driver sends: a malformed email may have it."""
    return text and text.encode(errors="replace").decode().replace("\0", "\ufffd")
