from pathlib import Path

from nights import increment, newest, versions

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.storage import Location, chain


def test_many_commits_of_few_changes_are_folded_too(tmp_path: Path) -> None:
    users = Location.of(tmp_path).join("users")
    with Emulator(users=600, leads=0) as emulator:
        increment(emulator, tmp_path)
        for _ in range(99):
            increment(emulator, tmp_path)
        assert len(chain(users, newest(Location.of(tmp_path)))) == 100
        increment(emulator, tmp_path)
        assert (newest(Location.of(tmp_path)).mode, newest(Location.of(tmp_path)).rows) == ("compacted", 600)
        assert versions(tmp_path) == emulator.store.versions("users")
