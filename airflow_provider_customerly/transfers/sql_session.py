"""Set up each database driver so that rows stream, nothing is written, and each value is right.

A value that a driver cannot return, such as a date before the year 1, becomes an ``Unreadable``, and its row
is rejected. By default, the driver would stop the whole read or return another value instead.
"""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from importlib import import_module
from operator import methodcaller
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow_provider_customerly.values.unsendable import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_NO_VALUE = Unreadable(
    "A value that the database's driver cannot read, such as a date that is infinite or before the year 1: "
    "convert it in the query, or make it NULL."
)


def drivers_of(connection: Any) -> set[str]:
    """Name the top-level modules of a connection's class and its bases; a proxy shows those behind it."""
    return {base.__module__.partition(".")[0].lstrip("_") for base in connection.__class__.__mro__}


def open_cursor(connection: Any) -> Any:
    """Open a cursor for one query that only reads, with its result left on the server where that is possible.

    Its class is named, so that one set on the connection, which may give dictionaries, does not count.
    """
    drivers = drivers_of(connection)
    if "psycopg2" in drivers:
        return _with_psycopg2(connection)
    if "psycopg" in drivers:
        return _with_psycopg(connection)
    if mysql := drivers & {"MySQLdb", "pymysql", "mysql"}:
        return _with_mysql(connection, mysql)
    if "sqlite3" in drivers:
        # Bytes that are no UTF-8 become signs that no encoding has, and are refused with their row.
        connection.text_factory = methodcaller("decode", "utf-8", "surrogateescape")
        connection.execute("pragma query_only = on")
    cursor = connection.cursor()
    if "duckdb" in drivers:
        with suppress(Exception):  # unknown to old releases
            cursor.execute("begin transaction read only")
    return cursor


def repairs_of(connection: Any, cursor: Any) -> Mapping[int, Callable[[Any], Any]]:
    """Return what makes the values of some columns right, by the column's position."""
    drivers = drivers_of(connection)
    if drivers & {"MySQLdb", "pymysql", "mysql"}:
        by_type = {_MYSQL_TIMESTAMP: _instant_of_mysql, **dict.fromkeys(_MYSQL_DATES, _date_of_mysql)}
        kinds = [column[1] for column in cursor.description]
        return {at: by_type[kind] for at, kind in enumerate(kinds) if kind in by_type}
    if "duckdb" in drivers:
        kinds = [str(column[1]).upper() for column in cursor.description]
        return {at: _time_of_duckdb for at, kind in enumerate(kinds) if kind.startswith(("DATE", "TIME"))}
    return {}


# PostgreSQL

_POSTGRES = (
    "set transaction read only",
    "set local datestyle to 'ISO'",
    "set local intervalstyle to 'postgres'",
)
_OWN_TYPES = (
    "select typname, oid, typarray from pg_catalog.pg_type "
    "where oid >= 16384 and typarray <> 0 and typtype in ('b', 'd', 'e')"
)
"""Types of the database's own, such as enums: drivers do not know their arrays."""


def _prepare_postgres(connection: Any, cursor: Any, statements: Sequence[str]) -> list[Any]:
    """Begin a transaction that only reads, and return the database's own types.

    A server that only speaks PostgreSQL's protocol may know less: it is read as it is.
    """
    try:
        for statement in statements:
            cursor.execute(statement)
        cursor.execute(_OWN_TYPES)
        return list(cursor.fetchall())
    except Exception:
        connection.rollback()
        return []


_MAY_FAIL = {
    1082: 1182,  # date
    1083: 1183,  # time
    1266: 1270,  # timetz
    1114: 1115,  # timestamp
    1184: 1185,  # timestamptz
    1186: 1187,  # interval
    114: 199,  # json
    3802: 3807,  # jsonb
    3912: 3913,  # daterange
    3908: 3909,  # tsrange
    3910: 3911,  # tstzrange
    4535: 6155,  # datemultirange
    4533: 6152,  # tsmultirange
    4534: 6153,  # tstzmultirange
}
"""Types with values that a driver may fail to read, and their arrays; each PostgreSQL has these numbers."""
_TEXTS = {25: 1009, 1043: 1015, 19: 1003}  # text, varchar, name
_PADDED, _PADDED_ARRAY = 1042, 1014  # char(n)


def _with_psycopg(connection: Any) -> Any:
    rows = import_module("psycopg.rows").tuple_row
    knows_encoding = connection.info.parameter_status("server_encoding") != "SQL_ASCII"
    connection.autocommit = False
    own_types = _prepare_postgres(
        connection,
        connection.cursor(row_factory=rows),
        (*_POSTGRES, "set local client_encoding to 'UTF8'") if knows_encoding else _POSTGRES,
    )
    cursor = connection.cursor(f"customerly_{uuid4().hex}", row_factory=rows)
    for number in _MAY_FAIL:
        _repair_psycopg(cursor, number, lambda load: lambda data: _or_unreadable(load, data))
    if not knows_encoding:
        for number in _TEXTS:
            _repair_psycopg(cursor, number, lambda load: lambda data: _text(load(data)))
    _repair_psycopg(cursor, _PADDED, lambda load: lambda data: _unpadded(_text(load(data))))
    for name, number, array in own_types:
        import_module("psycopg.types").TypeInfo(name, number, array).register(cursor)
    return cursor


def _repair_psycopg(
    cursor: Any, number: int, repair: Callable[[Callable[[Any], Any]], Callable[[Any], Any]]
) -> None:
    """Put a loader around that of a type, for this cursor."""
    found = cursor.adapters.get_loader(number, import_module("psycopg.pq").Format.TEXT)
    base = import_module("psycopg.adapt").Loader

    class Repaired(base):  # type: ignore[misc,valid-type]
        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            self._load = repair(found(oid, context).load)

        def load(self, data: Any) -> Any:
            return self._load(data)

    if found is not None:
        cursor.adapters.register_loader(number, Repaired)


def _with_psycopg2(connection: Any) -> Any:
    extensions = import_module("psycopg2.extensions")
    knows_encoding = connection.get_parameter_status("server_encoding") != "SQL_ASCII"
    connection.autocommit = False
    # One sign for each byte, put together in `text`: bytes that are no UTF-8 would end the reading.
    connection.set_client_encoding("UTF8" if knows_encoding else "LATIN1")
    own_types = _prepare_postgres(connection, connection.cursor(cursor_factory=extensions.cursor), _POSTGRES)
    cursor = connection.cursor(f"customerly_{uuid4().hex}", cursor_factory=extensions.cursor)

    def register(number: int, array: int, cast: Callable[[Any, Any], Any]) -> None:
        caster = extensions.new_type((number,), f"CUSTOMERLY_{number}", cast)
        extensions.register_type(caster, cursor)
        extensions.register_type(extensions.new_array_type((array,), f"CUSTOMERLY_{array}", caster), cursor)

    def text(value: Any, _: Any) -> Any:
        return value if knows_encoding or value is None else _text(value.encode("latin-1"))

    for number, array in _MAY_FAIL.items():
        if (found := extensions.string_types.get(number)) is not None:
            register(number, array, _cast_of_psycopg2(found))
    register(_PADDED, _PADDED_ARRAY, lambda value, cursor: _unpadded(text(value, cursor)))
    for number, array in {**_TEXTS, **{number: array for _, number, array in own_types}}.items():
        register(number, array, text)
    return cursor


def _cast_of_psycopg2(found: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def cast(value: Any, cursor: Any) -> Any:
        if value in ("infinity", "-infinity"):  # the driver takes them for the years 9999 and 1
            return _NO_VALUE
        return _or_unreadable(lambda text: found(text, cursor), value)

    return cast


# MySQL and MariaDB

_MYSQL_TIMESTAMP = 7
_MYSQL_DATES = (10, 12, 14)
_IN_UTC = "set session time_zone = '+00:00'"
_MYSQL = (_IN_UTC, "set session transaction read only")


def _with_mysql(connection: Any, drivers: set[str]) -> Any:
    # The base class of mysqlclient's connection is of a module named _mysql.
    driver = next((one for one in ("MySQLdb", "pymysql") if one in drivers), "mysql")
    cursor_class = None
    if driver == "mysql":
        connection.converter_class = _converter_of_mysql_connector(connection.converter_class)
    else:
        connection.set_character_set("utf8mb4")
        cursor_class = import_module(f"{driver}.cursors").SSCursor
    if driver == "MySQLdb":
        found = connection.converter
        kept = {kind: _kept(found[kind]) for kind in (_MYSQL_TIMESTAMP, *_MYSQL_DATES) if kind in found}
        connection.converter = {**found, **kept}
    for statement in _MYSQL:
        cursor = connection.cursor()
        with suppress(Exception):  # unknown to a server that only speaks MySQL's protocol
            cursor.execute(statement)
        cursor.close()
    return connection.cursor(cursor_class) if cursor_class else connection.cursor()


def _converter_of_mysql_connector(base: Any) -> Any:
    """Let the converter say when a date does not exist: it takes each for null."""

    class Converter(base):  # type: ignore[misc]
        def _date_to_python(self, value: Any, dsc: Any = None) -> Any:
            return _date_of_mysql(base._date_to_python(value, dsc) or value)

        def _datetime_to_python(self, value: Any, dsc: Any = None) -> Any:
            return _date_of_mysql(base._datetime_to_python(value, dsc) or value)

        _timestamp_to_python = _datetime_to_python

    return Converter


def _kept(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let a converter of mysqlclient give a date that does not exist as its text, instead of None."""
    return lambda text: convert(text) or text


def _date_of_mysql(value: Any) -> Any:
    """Take the date of all zeros for none, as MySQL does; refuse others that do not exist."""
    if isinstance(value, bytes | bytearray):
        value = bytes(value).decode("ascii", "replace")
    if isinstance(value, str):
        return None if value.startswith("0000-00-00") else _NO_VALUE
    return value


def _instant_of_mysql(value: Any) -> Any:
    """Take a TIMESTAMP for the instant that it is: the session is in UTC."""
    value = _date_of_mysql(value)
    return value.replace(tzinfo=dt.timezone.utc) if isinstance(value, dt.datetime) else value


# DuckDB


_INFINITIES_OF_DUCKDB = (dt.datetime.max, dt.datetime.min, dt.date.min)


def _time_of_duckdb(value: Any) -> Any:
    """Refuse what the driver gives for infinity, and the text that it gives for times beyond Python's.

    A date that is infinite comes as the last day of the year 9999, which is a usual date in its own right.
    """
    return _NO_VALUE if isinstance(value, str) or value in _INFINITIES_OF_DUCKDB else value


# All of them


def _or_unreadable(load: Callable[[Any], Any], data: Any) -> Any:
    try:
        return load(data)
    except Exception:  # whatever the driver raises is about this one value
        return _NO_VALUE


def _text(data: Any) -> Any:
    """Return the text that bytes are; bytes that are no UTF-8 stay, and are refused with their row."""
    try:
        return bytes(data).decode() if isinstance(data, bytes | memoryview) else data
    except UnicodeDecodeError:
        return bytes(data)


def _unpadded(value: Any) -> Any:
    """Drop the blanks with which a char(n) is filled: they mean nothing to the database either."""
    return value.rstrip(" ") if isinstance(value, str) else value
