from __future__ import annotations

import hashlib
import itertools
import json
import logging
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from airflow_provider_customerly.client import Client, CustomerlyUnavailable
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import (
    ExportGuardError,
    UnprovenError,
    contact_schema,
    export_snapshot,
    read_contacts,
)
from airflow_provider_customerly.storage import Dataset, Location
from airflow_provider_customerly.values import progress

if TYPE_CHECKING:
    from pathlib import Path

FAULTS = ["500", "502", "503", "reset", "cut", "html", "empty", "drip"]


def export(
    emulator: Emulator, path: Path, *, day: str = "2026-11-23", concurrency: int = 4, **options: Any
) -> Any:
    with Client(emulator.token, emulator.url, max_concurrency=concurrency, retry_budget=20) as client:
        return export_snapshot(client, Location.of(path), "users", snapshot_date=day, **options)


def versions(path: Path) -> dict[int, str]:
    table = read_contacts(path, "users").to_table(columns=["crmhero_user_id", "last_update"])
    rows = table.to_pylist()
    found = {row["crmhero_user_id"]: f"{row['last_update']:%Y-%m-%d %H:%M:%S}" for row in rows}
    assert len(found) == len(rows), "a contact is there twice"
    return found


def assert_nothing_lost(emulator: Emulator, path: Path, before: dict[int, Any]) -> None:
    found, after = versions(path), emulator.store.versions("users")
    unchanged = {key: stamp for key, stamp in before.items() if after.get(key) == stamp}
    assert unchanged
    assert {key: stamp for key, stamp in unchanged.items() if found.get(key) != stamp} == {}


@pytest.mark.parametrize("concurrency", [1, 4, 16])
@pytest.mark.parametrize("churn", [{"churn_per_second": 1.0}, {"churn_per_request": 1.0}])
def test_nothing_is_lost_while_contacts_change(
    tmp_path: Path, concurrency: int, churn: dict[str, float]
) -> None:
    with Emulator(users=3000, leads=100, **churn) as emulator:
        before = dict(emulator.store.versions("users"))
        result = export(emulator, tmp_path, concurrency=concurrency)
        assert result["verdict"] == "complete"
        assert_nothing_lost(emulator, tmp_path, before)


@pytest.mark.parametrize("size", [40, 150, 300])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_group_of_equal_stamps_in_no_order_is_counted(tmp_path: Path, size: int, concurrency: int) -> None:
    with Emulator(users=2000, leads=0, tie_group=size, shuffle_ties=True, churn_per_request=0.2) as emulator:
        before = dict(emulator.store.versions("users"))
        result = export(emulator, tmp_path, concurrency=concurrency)
        assert_nothing_lost(emulator, tmp_path, before)
        assert set(before) & set(emulator.store.versions("users")) <= set(versions(tmp_path))
    assert result["verdict"] == "complete"


@pytest.mark.parametrize("on_unproven", ["fail", "warn"])
def test_a_group_that_nobody_can_count_is_not_called_complete(tmp_path: Path, on_unproven: str) -> None:
    clock = itertools.count(1_800_000_000)  # a second for each change: only the large group has equal stamps
    with Emulator(
        users=1200, leads=0, tie_group=1000, shuffle_ties=True, churn_per_request=3, clock=clock.__next__
    ) as emulator:
        if on_unproven == "warn":
            assert export(emulator, tmp_path, concurrency=8, on_unproven="warn")["verdict"] == "unproven"
        else:
            with pytest.raises(UnprovenError, match="share last_update"):
                export(emulator, tmp_path, concurrency=8)


def test_faults_change_nothing(tmp_path: Path) -> None:
    with Emulator(users=3000, leads=10, faults=dict.fromkeys(FAULTS, 0.02)) as emulator:
        emulator.faults.drip_seconds = 0.2
        emulator.faults.plan(fault for name in FAULTS for fault in (None, name))
        result = export(emulator, tmp_path)
        assert versions(tmp_path) == emulator.store.versions("users")
        assert result["verdict"] == "complete"
        assert set(emulator.faults.injected) == set(FAULTS)


def test_an_outage_leaves_the_last_export(tmp_path: Path) -> None:
    with Emulator(users=300, leads=10) as emulator:
        export(emulator, tmp_path)
        before = versions(tmp_path)
        emulator.store.churn(50)
        emulator.faults.plan([None, None, None, "cut"])
        emulator.faults.set({"down": 1.0})
        with (
            Client(emulator.token, emulator.url, retry_budget=0.5) as client,
            pytest.raises(CustomerlyUnavailable, match=r"Gave up after \d+ attempt"),
        ):
            export_snapshot(client, Location.of(tmp_path), "users", snapshot_date="2026-11-24")
    assert versions(tmp_path) == before
    assert len(list(tmp_path.rglob("*.parquet"))) == 1


def test_a_day_run_again_replaces_itself_and_no_other(tmp_path: Path) -> None:
    with Emulator(users=120, leads=10) as emulator:
        for day in ("2026-11-22", "2026-11-23", "2026-11-23"):
            export(emulator, tmp_path, day=day)
    parts = sorted(path.parent.name for path in tmp_path.rglob("*.parquet"))
    assert parts == ["snapshot_date=2026-11-22", "snapshot_date=2026-11-23"]


@pytest.mark.parametrize("guard", [{"min_rows": 121}, {"max_shrink": 0.2}])
def test_guards_keep_the_last_export(tmp_path: Path, guard: dict[str, Any]) -> None:
    with Emulator(users=120, leads=10) as emulator:
        export(emulator, tmp_path, day="2026-11-22")
        for key in list(emulator.store.versions("users"))[:60]:
            emulator.store.delete("users", key)
        with pytest.raises(ExportGuardError, match=next(iter(guard))):
            export(emulator, tmp_path, **guard)
    assert read_contacts(tmp_path, "users").count_rows() == 120
    assert len(list(tmp_path.rglob("*.parquet"))) == 1


def test_odd_contacts_keep_every_value(tmp_path: Path) -> None:
    odd: list[dict[str, Any]] = [
        {"attributes": [], "email": None, "latitude": "53.5", "is_user": "1"},
        {"attributes": {"seats": 3}, "name": 'Ada "the\n first" 🚀', "latitude": "north"},
        {"attributes": {"seats": "three"}, "crmhero_user_id": 2**53 + 1},
        {"attributes": None, "new_field": {"deep": [1.50]}},
        {"attributes": {"seats": True}},
    ]
    with Emulator(users=0, leads=0) as emulator:
        keys = [
            emulator.store.insert_raw("users", {"crmhero_user_id": 10 + n, **record})
            for n, record in enumerate(odd)
        ]
        result = export(emulator, tmp_path, attributes={"seats": "int64"})
    dataset = read_contacts(tmp_path, "users")
    assert dataset.schema.equals(contact_schema("users", attributes={"seats": "int64"}))
    rows = {row["crmhero_user_id"]: row for row in dataset.to_table().to_pylist()}
    first, second, third, fourth, fifth = (rows[key] for key in keys)
    assert (first["email"], first["latitude"], first["is_user"], first["attributes"]) == (
        None,
        53.5,
        True,
        "{}",
    )
    assert second["name"] == 'Ada "the\n first" 🚀'
    assert (second["seats"], second["latitude"]) == (3, None)
    assert json.loads(second["extra"])["latitude"] == "north"
    assert (third["crmhero_user_id"], third["seats"]) == (2**53 + 1, None)
    assert json.loads(third["attributes"]) == {"seats": "three"}
    assert json.loads(fourth["extra"])["new_field"] == {"deep": [1.5]}
    assert json.loads(fifth["attributes"]) == {"seats": True}
    assert result["misfits"]["latitude"] == 1
    assert result["misfits"]["seats"] >= 1
    names = duckdb.sql("select name from dataset where name is not null").fetchall()
    assert names == [('Ada "the\n first" 🚀',)]


@pytest.mark.usefixtures("empty_at_once")
def test_an_empty_list_has_the_same_schema(tmp_path: Path) -> None:
    with Emulator(users=0, leads=0) as emulator:
        assert export(emulator, tmp_path)["rows"] == 0
    dataset = read_contacts(tmp_path, "users")
    assert dataset.schema.equals(contact_schema("users"))
    assert dataset.count_rows() == 0


def test_many_row_groups_and_checksums(tmp_path: Path) -> None:
    with Emulator(users=2000, leads=0) as emulator:
        export(emulator, tmp_path, row_group_size=150)
        assert versions(tmp_path) == emulator.store.versions("users")
    manifest = Dataset(Location.of(tmp_path / "users")).newest()
    assert manifest is not None
    assert len(manifest.files) == 4
    for entry in manifest.files:
        content = (tmp_path / "users" / entry.path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry.bytes, entry.sha256)


def test_progress_counts_towards_the_size_of_the_last_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with Emulator(users=300, leads=5) as emulator, caplog.at_level(logging.INFO):
        export(emulator, tmp_path)
        assert "of about" not in caplog.text
        assert "300 contacts read, " in caplog.text
        export(emulator, tmp_path, day="2026-11-24")
        assert "300 of about 300 contacts read, " in caplog.text
