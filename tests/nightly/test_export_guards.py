from pathlib import Path
from typing import Any

import pytest
from nights import export, increment, versions

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import ExportGuardError
from airflow_provider_customerly.storage import Location


def without_email(emulator: Emulator, count: int) -> None:
    for contact_id in sorted(emulator.store.versions("users"))[:count]:
        emulator.store.update("users", contact_id, {"email": None, "latitude": "north"})


BREACHES = [
    (
        {"max_null_share": {"name": 1.0, "email": 0.24}},
        r"50 of 200 values of column email are null: more than max_null_share=0\.24",
    ),
    (
        {"max_coercion_failures": 49},
        "50 values do not fit the type of column latitude: more than max_coercion_failures=49",
    ),
    ({"min_rows": 201}, "The list has 200 contacts, fewer than min_rows=201"),
]


@pytest.mark.parametrize(("guard", "told"), BREACHES)
def test_a_breach_names_the_column_and_the_figures_and_commits_nothing(
    location: Location, guard: dict[str, Any], told: str
) -> None:
    with Emulator(users=200, leads=0) as emulator:
        export(emulator, location, "2026-11-22")
        before = versions(location)
        without_email(emulator, 50)
        with pytest.raises(ExportGuardError, match=told):
            export(emulator, location, **guard)
        assert versions(location) == before
        assert set(location.join("users").list("snapshot_date=2026-11-23")) == set()


KEPT = [
    {"max_null_share": {"email": 0.25}},
    {"max_coercion_failures": 50},
    {"min_rows": 200, "max_shrink": 0.0, "max_vanished": 0.0},
]


@pytest.mark.parametrize("guard", KEPT)
def test_what_is_just_within_is_committed(tmp_path: Path, guard: dict[str, Any]) -> None:
    with Emulator(users=200, leads=0) as emulator:
        export(emulator, tmp_path, "2026-11-22")
        without_email(emulator, 50)
        assert export(emulator, tmp_path, row_group_size=30, **guard)["rows"] == 200


def test_nulls_are_counted_over_all_files_and_row_groups(tmp_path: Path) -> None:
    with Emulator(users=200, leads=0) as emulator:
        without_email(emulator, 50)
        with pytest.raises(ExportGuardError, match="50 of 200 values of column email"):
            export(emulator, tmp_path, row_group_size=7, max_null_share={"email": 0.2})


def test_a_share_of_few_changes_means_nothing(tmp_path: Path) -> None:
    guards = {"max_null_share": {"email": 0.1}, "min_rows": 150}
    with Emulator(users=200, leads=0) as emulator:
        increment(emulator, tmp_path, **guards)
        without_email(emulator, 5)
        assert increment(emulator, tmp_path, **guards)["mode"] == "incremental"
        without_email(emulator, 120)
        with pytest.raises(ExportGuardError, match="of column email are null"):
            increment(emulator, tmp_path, **guards)


def test_an_empty_list_breaches_no_share(tmp_path: Path) -> None:
    with Emulator(users=0, leads=0) as emulator:
        assert export(emulator, tmp_path, max_null_share={"email": 0.0}, max_vanished=0.0)["rows"] == 0
