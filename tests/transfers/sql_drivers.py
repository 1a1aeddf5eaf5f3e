"""Hooks for the drivers that Airflow's own hooks use only without others, or never."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.mysql.hooks.mysql import MySqlHook
from airflow.providers.postgres.hooks.postgres import PostgresHook

if TYPE_CHECKING:
    from airflow.providers.common.sql.hooks.sql import DbApiHook


class Psycopg2Hook(PostgresHook):
    def get_conn(self) -> Any:
        import psycopg2
        import psycopg2.extras

        server = self.connection
        return psycopg2.connect(
            host=server.host,
            port=server.port,
            user=server.login,
            password=server.password,
            dbname=server.schema,
            options=server.extra_dejson["options"],
            cursor_factory=psycopg2.extras.RealDictCursor,
        )


class PyMySqlHook(MySqlHook):
    def get_conn(self) -> Any:
        import pymysql

        server = self.connection
        return pymysql.connect(
            host=server.host,
            port=server.port,
            user=server.login,
            password=server.password or "",
            database=server.schema,
        )


class MysqlclientHook(MySqlHook):
    def get_conn(self) -> Any:
        import MySQLdb

        return MySQLdb.connect(**self._get_conn_config_mysql_client(self.connection))


HOOKS: dict[str, type[DbApiHook]] = {
    "psycopg2": Psycopg2Hook,
    "pymysql": PyMySqlHook,
    "MySQLdb": MysqlclientHook,
}
