"""Tell by how much reading a query raises the peak of this process's memory over reading a short one.

Arguments: connection, driver of HOOKS or "-", short query, long query.
"""

import json
import resource
import sys

from sql_drivers import HOOKS

from airflow_provider_customerly.transfers.sql_source import SqlSource


def peak(conn_id: str, driver: str, sql: str) -> tuple[int, int]:
    source = SqlSource(conn_id, sql=sql, chunk_size=1_000)
    if driver in HOOKS:
        source.hook = HOOKS[driver](conn_id)
    with source.open() as rows:
        count = sum(len(chunk) for chunk in rows)
    return count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


conn_id, driver, short, long = sys.argv[1:]
_, before = peak(conn_id, driver, short)
count, after = peak(conn_id, driver, long)
kilobytes = 1024 if sys.platform == "darwin" else 1
print(json.dumps({"rows": count, "megabytes": (after - before) / kilobytes / 1024}))
