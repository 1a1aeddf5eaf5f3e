"""The project that all parties work on: one emulator in a process of its own, and a table in SQLite."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.reading import start_reading
from benchmarks import warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "benchmark"
BULK_SHARE = 0.125
"""Share of contacts in groups of 2 to 1,500 with one `last_update`, as bulk imports leave them."""


class Project:
    """An emulator that runs; parties follow one another, and each finds it as it was in the beginning."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.url = f"{address}/v1"

    def prepare(
        self, *, latency: float = 0.0, faults: dict[str, float] | None = None, changes: float = 0.0
    ) -> None:
        """Put everything back, and set what the next party meets.

        :param latency: seconds that an answer takes.
        :param faults: their rates.
        :param changes: of contacts, a second.
        """
        self._post("__churn", {"per_second": 0.0})
        self._post("__reset", {"data": True})
        self._post("__faults", {"rates": faults or {}, "latency": latency})
        self._post("__churn", {"per_second": changes})

    def calm(self) -> None:
        """Stop changes, faults and waiting."""
        self._post("__churn", {"per_second": 0.0})
        self._post("__faults", {"rates": {}, "latency": 0.0})

    def stats(self) -> dict[str, Any]:
        """Return what was asked and answered since `prepare`."""
        with urllib.request.urlopen(f"{self._address}/__stats") as answer:
            return json.load(answer)["data"]  # type: ignore[no-any-return]

    def contacts(self) -> list[dict[str, Any]]:
        """Return the ids, emails and user ids of all users, while nothing changes."""
        with Client(TOKEN, self.url, max_concurrency=8) as client:
            reading = start_reading(client, "users", ("crmhero_user_id", "email", "user_id"))
            return [
                {"id": int(one.crmhero_user_id), "email": one.email, "user_id": one.user_id}
                for records in reading
                for one in records
            ]

    def _post(self, path: str, body: dict[str, Any]) -> None:
        request = urllib.request.Request(f"{self._address}/{path}", json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request):
            pass


@contextlib.contextmanager
def project(users: int) -> Iterator[Project]:
    """Serve some users in a process of its own."""
    command = [sys.executable, "-m", "airflow_provider_customerly.emulator", "--port", "0", "--token", TOKEN]
    options = ["--users", str(users), "--leads", "0", "--bulk-share", str(BULK_SHARE)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = ""
            for line in process.stdout:
                url = line.split()[1] if line.startswith("URL") else url
                if "Ready" in line:
                    break
            else:
                raise RuntimeError("The emulator did not start.")
            yield Project(url.removesuffix("/v1"))
        finally:
            process.terminate()


def make_table(folder: Path, rows: int, taken: list[dict[str, Any]] | None = None) -> None:
    """Make the table `customers`.

    :param taken: contacts whose user ids are given to other emails, which Customerly refuses.
    """
    warehouse.make_table(str(folder), rows)
    for number, contact in enumerate(taken or []):
        user_id = contact["user_id"].replace("'", "''")
        statement = f"update customers set user_id = '{user_id}' where email = 'c{number}@shop.test'"
        warehouse.execute(str(folder), statement)
