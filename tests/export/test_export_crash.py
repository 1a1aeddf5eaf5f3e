"""An export that is killed leaves the last state or the new one, and no trace once another ran."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import export_snapshot, read_contacts
from airflow_provider_customerly.storage import Dataset, Location
from airflow_provider_customerly.storage.location import TEMPORARY
from airflow_provider_customerly.storage.manifest import RETIRED
from airflow_provider_customerly.storage.removal import STAGING

if TYPE_CHECKING:
    from pathlib import Path


def export(token: str, url: str, path: Path) -> dict[str, Any]:
    with Client(token, url) as client:
        return export_snapshot(
            client, Location.of(path), "users", snapshot_date="2026-11-24", row_group_size=200
        )


def export_until_killed(token: str, url: str, path: Path, seconds: float) -> None:
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
    export(token, url, path)
    os._exit(0)


def versions(path: Path) -> dict[int, str]:
    table = read_contacts(path, "users").to_table(columns=["crmhero_user_id", "last_update"])
    return {row["crmhero_user_id"]: f"{row['last_update']:%Y-%m-%d %H:%M:%S}" for row in table.to_pylist()}


@pytest.mark.parametrize("kills", [3, pytest.param(12, marks=pytest.mark.slow)])
def test_killed_at_any_moment_a_reader_sees_the_last_state_or_the_new_one(tmp_path: Path, kills: int) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    draw = random.Random(7)
    with Emulator(users=1500, leads=0, latency=0.005) as emulator:
        seconds = export(emulator.token, emulator.url, tmp_path)["seconds"]
        committed = versions(tmp_path)
        killed = 0
        while killed < kills:
            emulator.store.churn(5)
            moment = draw.uniform(0, 1.2 * seconds)
            arguments = (emulator.token, emulator.url, tmp_path, moment)
            process = processes.Process(target=export_until_killed, args=arguments)
            process.start()
            process.join()
            killed += process.exitcode == -signal.SIGKILL
            assert process.exitcode in (0, -signal.SIGKILL)
            found = versions(tmp_path)
            assert found in (committed, emulator.store.versions("users"))
            assert process.exitcode != 0 or found == emulator.store.versions("users")
            committed = found
        export(emulator.token, emulator.url, tmp_path)
        assert versions(tmp_path) == emulator.store.versions("users")
    users = Location.of(tmp_path / "users")
    [newest] = Dataset(users).commits()
    committed_files = [newest.name, *(entry.path for entry in newest.files)]
    # What a dead run staged, and the files that it was writing under other names, go by age.
    left = [name for name in users.list() if not name.startswith((STAGING, TEMPORARY))]
    assert {name for name in left if users.read(name) != RETIRED} == set(committed_files)
    beside = Location.of(tmp_path / "users_deleted")
    assert set(beside.list()) == {entry.path for entry in newest.deleted}
