"""What the tests of nightly exports share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.export import export_contacts, read_contacts
from airflow_provider_customerly.storage import Dataset, Location, Manifest

if TYPE_CHECKING:
    from airflow_provider_customerly.emulator import Emulator


class Ticking:
    """A clock of which each look at it takes a second: no more contacts share a stamp than in real life."""

    def __init__(self, start: int = 1_780_000_000) -> None:
        self.now = start

    def __call__(self) -> float:
        self.now += 1
        return float(self.now)


def export(emulator: Emulator, path: Any, day: str = "2026-11-23", **options: Any) -> dict[str, Any]:
    contact_type, budget = options.pop("contact_type", "users"), options.pop("retry_budget", 20)
    with Client(emulator.token, emulator.url, retry_budget=budget) as client:
        return export_contacts(client, path, contact_type, snapshot_date=day, **options)


def increment(emulator: Emulator, path: Any, day: str = "2026-11-23", **options: Any) -> dict[str, Any]:
    return export(emulator, path, day, mode="incremental", **options)


def versions(path: Any, contact_type: str = "users", **options: Any) -> dict[int, str]:
    """Return id -> `last_update` of each contact in the current table, which has each once."""
    table = read_contacts(path, contact_type, **options).to_table(columns=["crmhero_user_id", "last_update"])
    stamps = [f"{stamp:%Y-%m-%d %H:%M:%S}" for stamp in table["last_update"].to_pylist()]
    found = dict(zip(table["crmhero_user_id"].to_pylist(), stamps, strict=True))
    assert len(found) == table.num_rows, "a contact is there twice"
    return found


def newest(location: Location, contact_type: str = "users") -> Manifest:
    manifest = Dataset(location.join(contact_type)).newest()
    assert manifest is not None
    return manifest
