"""Measure by how much reading a query raises the peak of this process's memory over reading a short one.

Arguments: connection, driver of HOOKS or "-", short query, long query.
"""

import json
import re
import resource
import sys
from pathlib import Path

from sql_drivers import HOOKS

from airflow_provider_customerly.transfers.sql_source import SqlSource


def peak_megabytes() -> float:
    # What getrusage tells on Linux includes the peak of the process that started this one.
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def read(conn_id: str, driver: str, sql: str) -> tuple[int, float]:
    source = SqlSource(conn_id, sql=sql, chunk_size=1_000)
    if driver in HOOKS:
        source.hook = HOOKS[driver](conn_id)
    with source.open() as rows:
        count = sum(len(chunk) for chunk in rows)
    return count, peak_megabytes()


conn_id, driver, short, long = sys.argv[1:]
_, before = read(conn_id, driver, short)
count, after = read(conn_id, driver, long)
print(json.dumps({"rows": count, "megabytes": after - before}))
