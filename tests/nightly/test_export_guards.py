from typing import Any

import pytest
from nights import export, increment, newest, versions

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import ExportGuardError
from airflow_provider_customerly.storage import Location

pytestmark = pytest.mark.slow_on_s3


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
    ({"min_rows": 201}, "The table has 200 rows, fewer than min_rows=201"),
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
def test_what_is_just_within_is_committed(location: Location, guard: dict[str, Any]) -> None:
    with Emulator(users=200, leads=0) as emulator:
        export(emulator, location, "2026-11-22")
        without_email(emulator, 50)
        assert export(emulator, location, row_group_size=30, **guard)["rows"] == 200


def test_nulls_are_counted_over_all_files_and_row_groups(location: Location) -> None:
    with Emulator(users=200, leads=0) as emulator:
        without_email(emulator, 50)
        with pytest.raises(ExportGuardError, match="50 of 200 values of column email"):
            export(emulator, location, row_group_size=7, max_null_share={"email": 0.2})


@pytest.mark.parametrize("mode", ["snapshot", "incremental"])
def test_guards_look_at_the_whole_table_in_every_mode(location: Location, mode: str) -> None:
    guards = {"max_null_share": {"email": 0.1}, "min_rows": 150, "mode": mode}
    with Emulator(users=200, leads=0) as emulator:
        export(emulator, location, **guards)
        without_email(emulator, 19)
        assert export(emulator, location, **guards)["rows"] == 200
        without_email(emulator, 21)
        with pytest.raises(ExportGuardError, match="21 of 200 values of column email are null"):
            export(emulator, location, **guards)


@pytest.mark.usefixtures("empty_at_once")
def test_an_empty_list_breaches_no_share(location: Location) -> None:
    with Emulator(users=0, leads=0) as emulator:
        assert export(emulator, location, max_null_share={"email": 0.0}, max_vanished=0.0)["rows"] == 0


def test_a_table_is_compared_with_the_last_one(location: Location) -> None:
    options = {"keep_manifests": 1, "max_shrink": 0.1}
    with Emulator(users=200, leads=0) as emulator:
        increment(emulator, location, "2026-11-20", **options)
        emulator.store.churn(150, {"update": 1})
        increment(emulator, location, "2026-11-21", **options)
        assert newest(location).mode == "incremental"
        for contact_id in sorted(emulator.store.versions("users"))[:100]:
            emulator.store.delete("users", contact_id)
        with pytest.raises(ExportGuardError, match=r"has 100 rows, but the last one had 200.* max_shrink"):
            increment(emulator, location, "2026-11-22", full_refresh=True, **options)
