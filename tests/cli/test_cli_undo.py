"""``airflow customerly undo``: a plan that puts back what a run changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_customerly.cli.__main__ import main
from airflow_provider_customerly.export import export_snapshot
from airflow_provider_customerly.sync import Options, apply_plan, sync_contacts

if TYPE_CHECKING:
    from airflow_provider_customerly.client import Client
    from airflow_provider_customerly.emulator import Emulator

pytestmark = [
    pytest.mark.emulator(users=0, leads=0),
    pytest.mark.usefixtures("connect"),
]
MARKER = "zzmarker"


class Rows(list[Any]):
    columns = ("email", "name", "plan")

    def __iter__(self) -> Any:
        yield list(super().__iter__())


def table(plan: str, count: int) -> Rows:
    return Rows([(f"{MARKER}{n}@shop.test", f"{MARKER} {n}", plan) for n in range(count)])


@pytest.fixture
def changed(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    sync_contacts(client, table("free", 3), tmp_path / "state", "nightly", Options())
    export_snapshot(client, tmp_path / "export", "users", snapshot_date="2026-11-23")
    return sync_contacts(
        client, table("gold", 4), tmp_path / "state", "nightly", Options(), export=tmp_path / "export"
    )


def test_undo_makes_a_plan_and_says_what_stays(
    changed: dict[str, Any],
    client: Client,
    emulator: Emulator,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Path(changed["undo"]).stem
    for path in (tmp_path / "state", tmp_path / "state" / "nightly", tmp_path):
        main(["undo", str(path), run])
        text = capsys.readouterr().out
        assert f"3 of the 4 rows that run {run} changed would be put back." in text
        assert "Not undone:\n  1 contact that the run created: not deleted\n" in text
        assert MARKER not in text
    main(["undo", str(tmp_path / "state"), changed["undo"], "--json"])
    result = json.loads(capsys.readouterr().out)
    assert (result["undoes"], result["changed"]) == (run, 3)
    assert emulator.store.get("users", emulator.store.find("users", email=f"{MARKER}0@shop.test") or 0)
    apply_plan(client, result["plan"], tmp_path / "state", "nightly", Options())
    plans = [one["attributes"]["plan"] for one in emulator.store.truth("users").values()]
    assert sorted(plans) == ["free", "free", "free", "gold"]


@pytest.mark.usefixtures("changed")
def test_what_cannot_be_done_is_told(tmp_path: Path) -> None:
    for arguments, told in (
        (
            ["20261123T020000123456Z-9f86d081"],
            "There is nothing to undo for run '20261123T020000123456Z-9f86d081'",
        ),
        (["x", "--on-edited", "keep"], "There is nothing to undo for run 'x'"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["undo", str(tmp_path / "state"), *arguments])
        assert told in str(ended.value.code)


def test_edits_are_seen_in_an_export(changed: dict[str, Any], tmp_path: Path) -> None:
    run = Path(changed["undo"]).stem
    with pytest.raises(SystemExit) as ended:
        main(["undo", str(tmp_path / "state"), run, "--on-edited", "keep"])
    assert "--on-edited only works with --compare-with" in str(ended.value.code)
    with pytest.raises(SystemExit) as ended:
        main(["undo", str(tmp_path / "state"), run, "--compare-with", str(tmp_path / "export")])
    assert "does not show later edits" in str(ended.value.code)
