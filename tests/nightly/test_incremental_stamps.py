"""Changes are found whatever form the API gives `last_update`, and when that changes from night to night."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from nights import versions

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import export_contacts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FORMS: dict[str, Callable[[datetime], Any]] = {
    "as it is": lambda at: f"{at:%Y-%m-%d %H:%M:%S}",
    "seconds": lambda at: int(at.timestamp()),
    "seconds as text": lambda at: str(int(at.timestamp())),
    "ISO": lambda at: f"{at:%Y-%m-%dT%H:%M:%SZ}",
    "in the zone of the west coast": lambda at: at.astimezone(timezone(timedelta(hours=-8))).isoformat(),
}


class Restamped(Client):
    """Reads lists whose stamps have another form."""

    form: Callable[[datetime], Any]

    def fetch_page(self, *args: Any, **options: Any) -> msgspec.Raw:
        rows = msgspec.json.decode(super().fetch_page(*args, **options))
        for row in rows:
            at = datetime.strptime(row["last_update"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
            row["last_update"] = type(self).form(at)
        return msgspec.Raw(msgspec.json.encode(rows))


def increment(emulator: Emulator, path: Path, form: str, day: str) -> dict[str, Any]:
    kind = type("Restamped", (Restamped,), {"form": staticmethod(FORMS[form])})
    with kind(emulator.token, emulator.url) as client:
        return export_contacts(client, path, "users", snapshot_date=day, mode="incremental")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("first", ["as it is", None])
def test_a_change_is_found_whatever_form_its_stamp_has(tmp_path: Path, form: str, first: str | None) -> None:
    with Emulator(users=300, leads=0) as emulator:
        increment(emulator, tmp_path, first or form, "2026-11-22")
        changed = sorted(emulator.store.versions("users"))[3]
        emulator.store.update("users", changed, {"name": "Changed"})
        found = increment(emulator, tmp_path, form, "2026-11-23")
        assert (found["mode"], found["verdict"], found["changes"]["changed"]) == (
            "incremental",
            "complete",
            1,
        )
        assert versions(tmp_path) == emulator.store.versions("users")
