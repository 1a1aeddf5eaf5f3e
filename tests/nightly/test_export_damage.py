"""Exports whose last commit is gone or damaged, and what fails once an export is committed."""

from typing import Any

import pytest
from nights import export, increment, newest, versions

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.storage import DamagedManifestError, Location

pytestmark = pytest.mark.slow_on_s3


def lose_manifest(location: Location) -> None:
    location.join("users").delete(newest(location).name)


def lose_part(location: Location) -> None:
    for entry in newest(location).files:
        location.join("users").delete(entry.path)


def cut_part(location: Location) -> None:
    users = location.join("users")
    for entry in newest(location).files:
        users.write_atomic(entry.path, users.read(entry.path)[:-1])


def damage_manifest(location: Location, name: str) -> None:
    location.join("users").write_atomic(name, b"{")


@pytest.mark.parametrize("lose", [lose_part, cut_part])
@pytest.mark.parametrize("options", [{}, {"full_refresh": True}])
def test_a_table_that_is_gone_is_read_anew(
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
        assert "Could not search for contacts deleted since _manifests/00000002.json" in caplog.text
        assert versions(location) == emulator.store.versions("users")
        assert increment(emulator, location, "2026-11-23", keep_manifests=1)["mode"] == "incremental"
        assert versions(location) == emulator.store.versions("users")


def test_without_its_newest_manifest_an_export_falls_back_to_the_commit_before(location: Location) -> None:
    with Emulator(users=130, leads=0) as emulator:
        increment(emulator, location, "2026-11-20")
        state = dict(emulator.store.versions("users"))
        emulator.store.churn(5, {"update": 1})
        increment(emulator, location, "2026-11-21")
        damage_manifest(location, newest(location).name)
        with pytest.raises(DamagedManifestError, match=r"_manifests/00000002\.json .* delete it"):
            increment(emulator, location, "2026-11-22")
        location.join("users").delete("_manifests/00000002.json")
        assert versions(location) == state
        assert increment(emulator, location, "2026-11-22")["mode"] == "incremental"
        assert versions(location) == emulator.store.versions("users")


def test_snapshots_are_made_when_the_last_one_lost_its_files(location: Location) -> None:
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
        damage_manifest(location, "_manifests/00000001.json")
        for day in (21, 22, 23):
            export(emulator, location, f"2026-11-{day}", keep_manifests=1)
        assert versions(location) == emulator.store.versions("users")
    assert "Skipped" in caplog.text
