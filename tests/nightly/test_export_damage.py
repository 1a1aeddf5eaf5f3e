"""What rests on a commit that is gone or damaged, and what fails once an export is committed."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from nights import export, increment, newest, versions

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.storage import Location


def base_of(location: Location) -> str:
    return min(location.join("users").list("_manifests"))


def lose_manifest(location: Location) -> None:
    location.join("users").delete(base_of(location))


def damage_manifest(location: Location) -> None:
    location.join("users").write_atomic(base_of(location), b"{")


def lose_part(location: Location) -> None:
    for name in location.join("users").list("snapshot_date=2026-11-20"):
        location.join("users").delete(name)


def cut_part(location: Location) -> None:
    users = location.join("users")
    for name in users.list("snapshot_date=2026-11-20"):
        users.write_atomic(name, users.read(name)[:-1])


LOSSES = [lose_manifest, damage_manifest, lose_part, cut_part]


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("options", [{}, {"full_refresh": True}])
def test_a_base_that_is_gone_is_read_anew(
    location: Location, lose: Any, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with Emulator(users=130, leads=0) as emulator:
        increment(emulator, location, "2026-11-20")
        emulator.store.churn(5, {"update": 1})
        increment(emulator, location, "2026-11-21")
        emulator.store.delete("users", min(emulator.store.versions("users")))
        lose(location)
        result = increment(emulator, location, "2026-11-22", max_shrink=0.5, max_vanished=0.5, **options)
        assert (result["mode"], result["deletions"]) == ("snapshot", {})
        assert "It cannot be told who was deleted since _manifests/00000002" in caplog.text
        assert versions(location) == emulator.store.versions("users")
        assert increment(emulator, location, "2026-11-23", keep_manifests=1)["mode"] == "incremental"
        assert versions(location) == emulator.store.versions("users")


def test_snapshots_go_on_when_the_last_one_lost_its_files(location: Location) -> None:
    with Emulator(users=130, leads=0) as emulator:
        export(emulator, location, "2026-11-20")
        lose_part(location)
        assert export(emulator, location, "2026-11-21")["deletions"] == {}
        emulator.store.delete("users", min(emulator.store.versions("users")))
        assert export(emulator, location, "2026-11-22")["deletions"] == {"deleted": 1}


def test_what_cannot_be_removed_fails_no_export(location: Location, caplog: pytest.LogCaptureFixture) -> None:
    with Emulator(users=130, leads=0) as emulator:
        for day in (20, 21):
            export(emulator, location, f"2026-11-{day}")
        damage_manifest(location)
        for day in (21, 22, 23):
            export(emulator, location, f"2026-11-{day}", keep_manifests=1)
        assert len(location.join("users").list("_manifests")) == 2
        assert versions(location) == emulator.store.versions("users")
    assert "Passed over" in caplog.text


def test_what_cannot_be_folded_fails_no_export(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Emulator(users=130, leads=0) as emulator:
        increment(emulator, tmp_path)
        emulator.store.churn(150, {"update": 1})
        today = datetime.now(timezone.utc).date()
        for day in (today, today + timedelta(days=1)):
            (tmp_path / "users" / f"compacted_date={day}").write_text("no folder")
        assert increment(emulator, tmp_path)["mode"] == "incremental"
        assert versions(tmp_path) == emulator.store.versions("users")
    assert newest(Location.of(tmp_path)).mode == "incremental"
    assert "The export is committed, but it was not possible to fold the changes" in caplog.text
