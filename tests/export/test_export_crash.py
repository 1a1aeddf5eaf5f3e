"""An export that is killed leaves the last state or the new one, and no trace once another ran."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import threading
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import export_snapshot, read_contacts
from airflow_provider_customerly.storage import Location

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 12


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


def test_killed_at_any_moment_a_reader_sees_the_last_state_or_the_new_one(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    draw = random.Random(7)
    with Emulator(users=1500, leads=0, latency=0.005) as emulator:
        seconds = export(emulator.token, emulator.url, tmp_path)["seconds"]
        committed = versions(tmp_path)
        killed = 0
        while killed < KILLS:
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
    users = tmp_path / "users"
    manifests = list((users / "_manifests").glob("*.json"))
    commits = [json.loads(path.read_text()) for path in manifests]
    named = {
        users / entry["path"]
        for commit in commits
        for entry in [*commit["files"], *commit.get("deleted", ())]
    }
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {*named, *manifests}
