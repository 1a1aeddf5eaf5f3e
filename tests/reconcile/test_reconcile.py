from __future__ import annotations

import json
import stat
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from airflow_provider_customerly.export import export_snapshot
from airflow_provider_customerly.reconcile import ReconcileLimitError, ReconcileOptions, reconcile
from airflow_provider_customerly.storage import RunId

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_customerly.client import Client
    from airflow_provider_customerly.emulator import Emulator

pytestmark = pytest.mark.emulator(users=0, leads=0)

MARKER = "zzmarker"
COLUMNS = ("email", "user_id", "name", "plan", "seats")
ALL = {"max_differing": 1.0, "max_only_warehouse": 1.0, "max_invalid": 1.0}


class Rows:
    """A source in memory, in chunks of seven."""

    def __init__(self, rows: Sequence[tuple[Any, ...]], columns: Sequence[str] = COLUMNS) -> None:
        self.columns = columns
        self._rows = rows

    def __iter__(self) -> Iterator[Sequence[tuple[Any, ...]]]:
        for start in range(0, len(self._rows), 7):
            yield self._rows[start : start + 7]


def customer(n: int) -> tuple[Any, ...]:
    return (f"{MARKER}{n}@shop.test", f"{MARKER}-{n}", f"{MARKER} {n}", "free", n)


class Place:
    """An export of twenty customers, and a folder for differences."""

    def __init__(self, emulator: Emulator, client: Client, path: Path) -> None:
        self.client, self.path = client, path
        emulator.store.upsert(
            "users",
            [
                {
                    "email": email,
                    "user_id": user_id,
                    "name": name,
                    "attributes": {"plan": plan, "seats": seats},
                }
                for email, user_id, name, plan, seats in map(customer, range(20))
            ],
        )
        export_snapshot(client, path / "contacts", "users", snapshot_date="2026-11-23")

    def reconcile(
        self, rows: Sequence[tuple[Any, ...]], columns: Sequence[str] = COLUMNS, **options: Any
    ) -> dict[str, Any]:
        return reconcile(
            Rows(rows, columns),
            self.path / "contacts",
            self.client.base_url,
            ReconcileOptions.of(options),
            differences=self.path / "state",
        )


@pytest.fixture
def place(emulator: Emulator, client: Client, tmp_path: Path) -> Place:
    return Place(emulator, client, tmp_path)


def test_all_is_equal(place: Place) -> None:
    result = place.reconcile(list(map(customer, range(20))), max_only_customerly=0)
    assert (result["rows"], result["contacts"], result["equal"]) == (20, 20, 20)
    assert result["shares"] == {
        "equal": 1.0,
        "differing": 0.0,
        "only_warehouse": 0.0,
        "invalid": 0.0,
        "only_customerly": 0.0,
    }
    assert (result["breached"], result["differences"]) == ([], None)
    assert not list((place.path / "state").rglob("*.parquet"))


def test_each_row_and_each_contact_has_one_verdict(place: Place) -> None:
    rows = list(map(customer, range(2, 20)))  # two contacts have no row
    rows[0] = (rows[0][0].upper(), *rows[0][1:])  # for Customerly the same
    rows[1] = (*rows[1][:3], "pro", 99)
    rows[2] = (*rows[2][:3], "pro", rows[2][4])
    rows[3] = ("moved@shop.test", *rows[3][1:])  # found by its user_id
    rows[4] = (rows[4][0], rows[4][1], None, None, rows[4][4])  # what is null is not sent
    rows += [
        ("not an email", f"{MARKER}-x", "x", "free", 1),
        customer(9),
        ("new@shop.test", "u", "x", "free", 1),
    ]
    result = place.reconcile(rows, **ALL)
    counts = {name: result[name] for name in ("equal", "differing", "only_warehouse", "invalid")}
    assert counts == {"equal": 15, "differing": 3, "only_warehouse": 1, "invalid": 2}
    assert sum(counts.values()) == result["rows"] == 21
    assert result["only_customerly"] == 2
    assert result["shares"]["only_customerly"] == 0.1
    assert result["fields"] == {"attributes.plan": 2, "attributes.seats": 1, "email": 1}
    assert result["reasons"] == {"malformed_email": 1, "duplicate_contact": 1}
    assert MARKER not in json.dumps(result).replace(str(place.path), "")

    file = Path(result["differences"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    told = pq.read_table(file).to_pylist()
    assert [(one["kind"], one["row"], one["field"]) for one in told] == [
        ("differing", 2, "attributes.plan"),
        ("differing", 2, "attributes.seats"),
        ("differing", 3, "attributes.plan"),
        ("differing", 4, "email"),
        ("invalid", 19, "email"),
        ("invalid", 20, None),
        ("only_warehouse", 21, None),
        ("only_customerly", None, None),
        ("only_customerly", None, None),
    ]
    assert [(one["in_customerly"], one["in_warehouse"]) for one in told[:2]] == [
        ('"free"', '"pro"'),
        ("3", "99"),
    ]
    assert {one["email"] for one in told[-2:]} == {customer(0)[0], customer(1)[0]}


@pytest.mark.parametrize(
    ("options", "breached"),
    [
        ({"max_differing": 3, "max_only_warehouse": 1, "max_invalid": 1}, []),
        ({"max_differing": "0.2", "max_only_warehouse": 0.06, "max_invalid": 0.06}, []),
        ({"max_differing": 2, "max_only_warehouse": 1, "max_invalid": 1}, ["max_differing"]),
        ({"max_differing": 0.1, "max_only_warehouse": 1, "max_invalid": 1}, ["max_differing"]),
        ({**ALL, "max_only_customerly": 0.1}, ["max_only_customerly"]),
        ({**ALL, "max_only_customerly": 4, "min_rows": 19}, ["min_rows"]),
        (
            {"max_only_customerly": 0},
            ["max_differing", "max_only_warehouse", "max_only_customerly", "max_invalid"],
        ),
    ],
)
def test_limits(place: Place, options: dict[str, Any], breached: list[str]) -> None:
    rows = [(*customer(n)[:3], "pro" if n < 3 else "free", n) for n in range(16)]
    rows += [("new@shop.test", None, "x", "free", 1), ("broken", None, "x", "free", 1)]
    if not breached:
        assert place.reconcile(rows, **options)["breached"] == []
        return
    with pytest.raises(ReconcileLimitError) as red:
        place.reconcile(rows, **options)
    assert red.value.result["breached"] == breached
    lines = str(red.value).splitlines()
    assert "  differing: 3" in lines
    assert all(name in str(red.value) for name in breached)
    assert lines[-1] == red.value.result["differences"]
    assert MARKER not in str(red.value).replace(str(place.path), "")


def test_an_empty_warehouse_is_no_agreement(place: Place) -> None:
    with pytest.raises(ReconcileLimitError, match="fewer rows than min_rows=1"):
        place.reconcile([])


def test_an_export_that_is_too_old_or_of_another_project(place: Place) -> None:
    with pytest.raises(ValueError, match=r"export_path: the newest export .* old"):
        place.reconcile([customer(1)], max_export_age=timedelta(microseconds=1))
    with pytest.raises(ValueError, match="was read from"):
        reconcile(
            Rows([customer(1)]), place.path / "contacts", "https://api.example.test/v1", ReconcileOptions()
        )
    with pytest.raises(ValueError, match="export_path is not the path of an export of users"):
        reconcile(Rows([customer(1)]), place.path / "nowhere", place.client.base_url, ReconcileOptions())


def test_a_failure_on_the_way_leaves_no_differences(place: Place) -> None:
    class Broken(Rows):
        def __iter__(self) -> Iterator[Sequence[tuple[Any, ...]]]:
            yield [("new@shop.test", None, "x", "free", 1)] * 2_000
            raise OSError("the warehouse is gone")

    with pytest.raises(OSError, match="gone"):
        reconcile(
            Broken([]),
            place.path / "contacts",
            place.client.base_url,
            ReconcileOptions.of(ALL),
            differences=place.path / "state",
        )
    assert not list((place.path / "state").rglob("*.parquet"))


def test_old_differences_go(place: Place) -> None:
    rows = [("new@shop.test", None, "x", "free", 1)]
    kept = Path(place.reconcile(rows, **ALL)["differences"])
    old = kept.with_name("20250101T020000123456Z-9f86d081.parquet")
    old.write_bytes(kept.read_bytes())
    assert RunId.within(old.name) is not None
    place.reconcile(rows, keep_days=30, **ALL)
    assert kept.exists()
    assert not old.exists()


def test_what_an_export_does_not_show_is_not_compared(place: Place, emulator: Emulator) -> None:
    rows = [(customer(n)[0], "vip") for n in range(20)]
    result = place.reconcile(rows, ("email", "tags"))
    assert result["equal"] == 20
    assert result["not_compared"] == {"tags": "Customerly's lists do not show tags"}
