from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_customerly.sync import Options, plan_contacts, sync_contacts
from airflow_provider_customerly.transfers.plan_summary import needs_approval, plan_summary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_customerly.client import Client

MARKER = "zzmarker"


class Rows:
    """A source in memory."""

    columns = ("email", "name", "plan")

    def __init__(self, count: int, plan: str = "free") -> None:
        self._rows = [(f"{MARKER}{n}@shop.test", f"{MARKER} {n}", plan) for n in range(count)]

    def __iter__(self) -> Iterator[list[tuple[Any, ...]]]:
        yield [*self._rows, (MARKER, None, "x" * 500)]


@pytest.fixture
def planned(client: Client, tmp_path: Path) -> dict[str, Any]:
    sync_contacts(client, Rows(20), tmp_path, "nightly", Options(max_rejects=1))
    return plan_contacts(client, Rows(12, "pro"), tmp_path, "nightly", Options(max_rejects=1))


def test_a_plan_is_told_without_naming_anybody(planned: dict[str, Any]) -> None:
    told = plan_summary(planned, "customerly/run.html?dag_id=a")
    lines = told.splitlines()
    assert lines[0] == "**12** of 13 rows are to be sent: users of the sync `nightly`."
    assert "| 12 | **to be sent**: contacts with changed fields |" in lines
    assert "| 1 | not sent: they break a rule |" in lines
    assert "**8** contacts are no longer in the warehouse" in told
    assert "> **A guard would stop this plan.** 8 of 20 contacts are no longer in the source" in told
    assert f"airflow customerly state plan {planned['path']} {planned['plan']}" in told
    assert lines[-1] == "[More about this plan](customerly/run.html?dag_id=a)"
    assert MARKER not in told


def test_a_comparison_and_a_preview(planned: dict[str, Any]) -> None:
    change = {"old": "free | `x`\n# big", "new": "pro"}
    more: dict[str, Any] = {
        "changed_fields": {f"attributes.a{n}": n + 1 for n in range(30)},
        "on_vanished": "delete",
        "comparison": {
            "export_time": "2026-11-23T02:00:00.123456+00:00",
            "age_seconds": 5400,
            "already_so": 1234,
            "edited_in_customerly": 3,
            "edited_fields": {"name": 3},
            "on_edited": "keep",
        },
        "preview": [
            {"row": n, "action": "update", "fields": {"plan": change, "name": None}} for n in range(20)
        ],
        "undoes": "20261123T020000123456Z-9f86d081",
        "cannot_undo": {"created": 2, "deleted": 0, "tags": 1, "empty": 0},
    }
    more["preview"][0] = {"row": None, "action": "delete", "fields": {}}
    told = plan_summary({**planned, **more})
    assert "- a contact that left the warehouse: delete" in told
    assert "| 30 | `attributes.a29` |" in told
    assert f"| {sum(range(1, 11))} | others |" in told
    assert "to be **deleted**" in told
    assert "Compared with the export of `2026-11-23T02:00:00+00:00`, 1.5 hours old: 1,234 rows" in told
    assert "1,234 rows are already the same in Customerly" in told
    assert (
        "**3** contacts were edited in Customerly since the last delivery. These edits will be kept." in told
    )
    one = {**more["comparison"], "age_seconds": 5, "already_so": 1, "edited_in_customerly": 1}
    alone = plan_summary({**planned, "vanished": 1, "comparison": one})
    assert "5 seconds old: 1 row is already the same in Customerly" in alone
    assert "**1** contact was edited in Customerly since the last delivery." in alone
    assert "**1** contact is no longer in the warehouse" in alone
    assert told.count("- row ") == 9
    assert '- row 3, update: `plan` `"free ¦ \'x\'\\n# big"` → `"pro"`, `name`' in told
    assert "It undoes the run `20261123T020000123456Z-9f86d081`." in told
    assert "It cannot undo: 2 contacts created by the run, 1 row with tags." in told


@pytest.mark.parametrize(
    ("changes", "at_most", "asks"),
    [
        ({"vanished": 0}, 12, False),
        ({"vanished": 0}, 11, True),
        ({"vanished": 1, "on_vanished": "keep"}, 12, False),
        ({"vanished": 1, "on_vanished": "delete"}, 12, True),
        ({"new": 0, "changed": 0, "again": 0, "vanished": 0}, 0, False),
        ({"breach": "max_vanished"}, 10_000, True),
    ],
)
def test_who_must_be_asked(
    planned: dict[str, Any], changes: dict[str, Any], at_most: int, asks: bool
) -> None:
    assert needs_approval({**planned, "breach": None, **changes}, at_most) is asks


@pytest.mark.parametrize("result", [None, {"outcome": "success"}])
def test_what_is_no_plan(result: dict[str, Any] | None) -> None:
    with pytest.raises(ValueError, match="with dry_run=True"):
        plan_summary(result)
    with pytest.raises(ValueError, match="with dry_run=True"):
        needs_approval(result, 5)
