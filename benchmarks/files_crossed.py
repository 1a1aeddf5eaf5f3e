"""Counts the files of the package that one contact and one row cross: `python -m benchmarks.files_crossed`.

Exports one contact and syncs one row as Airflow does, from the operator to the answer of an emulator, and
notes by a profile hook in which files a function ran. What a first run imports is not counted.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import warehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

ROW = "insert into customers (email, name) values ('ada@rows.test', 'Ada')"


@contextlib.contextmanager
def crossed() -> Iterator[Counter[str]]:
    """Count the calls of functions, by file of the package."""
    import airflow_provider_customerly

    package = str(Path(airflow_provider_customerly.__file__).parent)
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(package):
            calls[str(Path(frame.f_code.co_filename).relative_to(package))] += 1

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def count(run: Callable[[int], object]) -> list[str]:
    """Return the files that the second of two runs crosses."""
    run(1)
    with crossed() as calls:
        run(2)
    return sorted(name for name in calls if not name.startswith("emulator/"))


def exported(folder: str) -> list[str]:
    """Export one contact, on two days."""
    from airflow_provider_customerly.transfers.customerly_to_parquet import CustomerlyToParquetOperator

    def run(day: int) -> object:
        operator = CustomerlyToParquetOperator(
            task_id="export", path=f"{folder}/crm", mode="incremental", snapshot_date=f"2026-11-{day:02}"
        )
        return operator.execute({})

    return count(run)


def synced(folder: str) -> list[str]:
    """Sync one row, changed between the runs."""
    from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

    def run(number: int) -> object:
        warehouse.execute(folder, f"update customers set name = 'Ada {number}'")
        operator = SqlToCustomerlyOperator(
            task_id="sync",
            sql_conn_id=warehouse.CONN_ID,
            sql="select email, name from customers",
            state_path=f"{folder}/state",
        )
        return operator.execute({})

    return count(run)


def main() -> None:
    """Print both counts, and the files."""
    with tempfile.TemporaryDirectory() as folder:
        warehouse.environment(folder)
        os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
        from airflow_provider_customerly.emulator import Emulator

        warehouse.make_table(folder, 0)
        warehouse.execute(folder, ROW)
        with Emulator(users=1, leads=0) as emulator:
            os.environ["AIRFLOW_CONN_CUSTOMERLY_DEFAULT"] = emulator.airflow_connection
            for what, found in (("contact", exported(folder)), ("row", synced(folder))):
                packages = Counter(name.partition("/")[0] for name in found)
                parts = ", ".join(f"{number} of {package}" for package, number in packages.items())
                print(f"One {what} crosses {len(found)} files: {parts}")
                print(*(f"  {name}" for name in found), sep="\n")


if __name__ == "__main__":
    main()
