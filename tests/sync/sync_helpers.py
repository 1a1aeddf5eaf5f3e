"""What the tests of whole syncs share."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from airflow_provider_customerly.client import Client, CustomerlyUnavailable
from airflow_provider_customerly.sync import (
    Options,
    apply_plan,
    plan_contacts,
    plan_undo,
    sync_contacts,
    undo_contacts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from airflow_provider_customerly.emulator import Emulator

COLUMNS = ("email", "name", "plan", "seats")
MARKER = "zzmarker"


def as_of_an_older_version(ledger: Path) -> None:
    """Make the newest ledger one whose digests of fields tell nothing."""
    file = max(ledger.rglob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    table = pq.read_table(file, partitioning=None)
    renamed = table.rename_columns({"field_digests": "fields"})
    pq.write_table(renamed.replace_schema_metadata(table.schema.metadata), file)


class Rows:
    """A source in memory."""

    def __init__(
        self, rows: Sequence[Sequence[Any]], columns: Sequence[str] = COLUMNS, chunk: int = 70
    ) -> None:
        self.columns = columns
        self._rows = rows
        self._chunk = chunk

    def __iter__(self) -> Iterator[Sequence[Sequence[Any]]]:
        for start in range(0, len(self._rows), self._chunk):
            yield self._rows[start : start + self._chunk]


def customers(count: int) -> list[tuple[Any, ...]]:
    return [(f"{MARKER}{n}@shop.test", f"Customer {n}", ("free", "pro")[n % 2], n) for n in range(count)]


class Sync:
    """The same sync, night after night."""

    def __init__(self, emulator: Emulator, path: Path) -> None:
        self.emulator = emulator
        self.path = path
        self.state = path / "nightly"
        self._retry_budget = 3

    @contextlib.contextmanager
    def outage(self, after: int) -> Iterator[None]:
        """Let Customerly be down after this many requests; what runs meanwhile asks once and gives up."""
        self.emulator.faults.plan([*[None] * after, *["503"] * 60])
        self._retry_budget = 0
        try:
            with pytest.raises(CustomerlyUnavailable):
                yield
        finally:
            self._retry_budget = 3
            self.emulator.faults.clear()

    def run(
        self, rows: Sequence[Any], columns: Sequence[str] = COLUMNS, *, export: Any = None, **options: Any
    ) -> dict[str, Any]:
        return self._call(sync_contacts, Rows(rows, columns), options, export=export)

    def plan(
        self, rows: Sequence[Any], columns: Sequence[str] = COLUMNS, *, export: Any = None, **options: Any
    ) -> dict[str, Any]:
        return self._call(plan_contacts, Rows(rows, columns), options, export=export)

    def apply(self, plan: str, **options: Any) -> dict[str, Any]:
        return self._call(apply_plan, plan, options)

    def plan_undo(self, run: str, *, export: Any = None, **options: Any) -> dict[str, Any]:
        return self._call(plan_undo, run, options, export=export)

    def undo(self, run: str, *, export: Any = None, **options: Any) -> dict[str, Any]:
        return self._call(undo_contacts, run, options, export=export)

    def rejects(self, result: dict[str, Any]) -> list[dict[str, Any]]:
        return pq.read_table(self.state / result["rejects"]).to_pylist()

    def writes(self) -> int:
        asked = self.emulator.stats()["by_request"]
        return sum(count for request, count in asked.items() if not request.startswith("GET"))

    def contact(self, email: str) -> dict[str, Any]:
        with Client(self.emulator.token, self.emulator.url) as client:
            return client.get_contact("users", email=email)

    def _call(self, step: Any, what: Any, options: dict[str, Any], **more: Any) -> dict[str, Any]:
        self.emulator.service.stats.reset()
        with Client(self.emulator.token, self.emulator.url, retry_budget=self._retry_budget) as client:
            return step(client, what, self.path, "nightly", Options(**options), **more)
