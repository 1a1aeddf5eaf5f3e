"""What the command line shows of runs, rejects and plans, at a terminal and in a pipe."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import unicodedata
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_customerly.cli import terminal
from airflow_provider_customerly.cli.__main__ import main
from airflow_provider_customerly.export import export_snapshot
from airflow_provider_customerly.sync import Options, plan_contacts, sync_contacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from airflow_provider_customerly.client import Client
    from airflow_provider_customerly.emulator import Emulator

MARKER = "zzmarker"
HOSTILE = "\x1b[31mred\x07\x9b2J\u202eevil\nnew line"


@pytest.fixture(autouse=True)
def server_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")


class Rows:
    """A source in memory."""

    columns = ("email", "name", "plan", "seats")

    def __init__(self, rows: Sequence[tuple[Any, ...]]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Sequence[tuple[Any, ...]]]:
        yield self._rows


def customers(count: int) -> list[tuple[Any, ...]]:
    return [(f"{MARKER}{n}@shop.test", f"Customer {n}", ("free", "pro")[n % 2], n) for n in range(count)]


class State:
    """Two runs and a plan of a sync, and an export beside it."""

    def __init__(self, client: Client, path: Path) -> None:
        self.path = str(path)
        rows = [*customers(12), (f"{HOSTILE}(at)shop.test", "Nobody", "free", 1), (None, "Nobody", "pro", 2)]
        options = Options(max_rejects=1.0)
        arguments = (path, "nightly", options)
        self.first = sync_contacts(client, Rows(rows), *arguments)
        self.second = sync_contacts(client, Rows(rows), *arguments)
        rows[3] = (*rows[3][:2], "enterprise", 9)
        rows += [(f"{MARKER}-new@shop.test", HOSTILE, "pro", 1)]
        self.plan = plan_contacts(client, Rows(rows), *arguments)
        export_snapshot(client, path / "contacts", "users", snapshot_date="2026-11-23")


@pytest.fixture
def state(client: Client, tmp_path: Path) -> State:
    return State(client, tmp_path)


class Shown:
    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        main(["state", *arguments])
        self.out, self.err = capsys.readouterr()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def csv(self) -> list[dict[str, str]]:
        return list(csv.DictReader(StringIO(self.out)))


def ended_with(*arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["state", *arguments])
    return str(ended.value.code)


def test_runs(state: State, capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shown(capsys, "show", state.path, "--runs")
    first, *lines = shown.out.splitlines()
    assert (first, shown.err) == ("sync nightly", "")
    assert lines[0].split() == [
        *("finished", "outcome", "rows", "new", "changed", "unchanged"),
        *("sent", "refused", "invalid", "vanished", "run"),
    ]
    assert [line.split()[1:6] for line in lines[1:4]] == [
        ["planned", "15", "1", "1", "11"],
        ["success", "14", "0", "0", "12"],
        ["success", "14", "12", "0", "0"],
    ]
    assert lines[5] == "export contacts/users"
    assert lines[7].split()[1:3] == ["complete", str(40 + 12)]
    assert MARKER not in shown.out


def test_runs_in_a_pipe(state: State, capsys: pytest.CaptureFixture[str]) -> None:
    told = Shown(capsys, "show", state.path, "--runs", "--json").json
    assert [(one["kind"], one["outcome"]) for one in told] == [
        ("sync", "planned"),
        ("sync", "success"),
        ("sync", "success"),
        ("export", "complete"),
    ]
    assert [one["rejects"] for one in told[1:3]] == [state.second["rejects"], state.first["rejects"]]
    assert told[0]["plan"] == state.plan["plan"]
    rows = Shown(capsys, "show", state.path, "--runs", "--csv").csv
    assert [(one["run"], one["sent"]) for one in rows] == [
        (one["run"], "" if one["sent"] is None else str(one["sent"])) for one in told
    ]
    last = Shown(capsys, "show", state.path, "--runs", "--json", "--last", "1").json
    assert [one["run"] for one in last] == [told[0]["run"], told[3]["run"]]


def test_rejects(state: State, capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shown(capsys, "rejects", state.path, "--json")
    assert [(one["row"], one["reason"]) for one in shown.json] == [
        (13, "malformed_email"),
        (14, "missing_email"),
    ]
    assert shown.json[0]["email"] == f"{HOSTILE}(at)shop.test"
    assert "personal data" in shown.err
    run = shown.json[0]["run"]
    assert state.second["rejects"] == f"rejects/{run}.parquet"
    assert Shown(capsys, "rejects", state.path, run, "--json").json == shown.json
    assert Shown(capsys, "rejects", state.path, state.second["rejects"], "--json").json == shown.json
    as_csv = Shown(capsys, "rejects", f"{state.path}/nightly", state.first["rejects"], "--csv").csv
    assert [one["email"] for one in as_csv] == [f"{HOSTILE}(at)shop.test", ""]
    text = Shown(capsys, "rejects", state.path)
    assert text.out.splitlines()[0] == f"sync nightly, run {run}: rows that were not delivered"
    assert r"\x1b[31mred\x07\x9b2J\u202eevil\nnew line(at)shop.test" in text.out


def test_rejects_that_are_not_there(state: State, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not a run" in ended_with("rejects", state.path, "yesterday")
    assert "has rejects of run" in ended_with("rejects", state.path, f"{'20261123T020000123456Z'}-9f86d081")
    assert "There is no sync" in ended_with("rejects", f"{state.path}/contacts")
    sync_contacts(client, Rows(customers(12)), state.path, "nightly", Options(max_vanished=1.0))
    shown = Shown(capsys, "rejects", state.path)
    assert "all rows were delivered" in shown.out
    assert shown.err == ""
    assert Shown(capsys, "rejects", state.path, "--json").json == []


def test_plan(state: State, capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shown(capsys, "plan", state.path, state.plan["plan"])
    first, header, *lines = shown.out.splitlines()
    assert first == f"sync nightly, {state.plan['plan']}: changed 1, invalid 2, new 1; unchanged 11"
    assert header.split() == ["row", "action", "email", "user", "id", "what"]
    assert [line.split()[:2] for line in lines] == [
        ["4", "changed"],
        ["13", "invalid"],
        ["14", "invalid"],
        ["15", "new"],
    ]
    assert lines[0].endswith("attributes.plan, attributes.seats")
    assert lines[3].endswith("email, name, attributes.plan, attributes.seats")
    assert "personal data" in shown.err
    rows = Shown(capsys, "plan", f"{state.path}/nightly", state.plan["plan"][6:-8], "--json").json
    assert [row["action"] for row in rows] == ["changed", "invalid", "invalid", "new"]
    assert rows[0]["contact"]["attributes"] == {"plan": "enterprise", "seats": 9}
    assert rows[3]["contact"]["name"] == HOSTILE
    as_csv = Shown(capsys, "plan", state.path, state.plan["plan"], "--csv").csv
    assert json.loads(as_csv[0]["contact"]) == rows[0]["contact"]


def test_a_plan_that_was_compared_with_an_export(
    state: State, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = customers(12)
    rows[3] = (*rows[3][:2], "enterprise", 9)
    export = f"{state.path}/contacts"
    options = Options(max_vanished=1.0)
    planned = plan_contacts(client, Rows(rows), state.path, "nightly", options, export=export)
    shown = Shown(capsys, "plan", state.path, planned["plan"])
    told = 'attributes.plan: "pro" -> "enterprise", attributes.seats: 3 -> 9'
    assert shown.out.splitlines()[2].endswith(told)
    [row] = [
        row
        for row in Shown(capsys, "plan", state.path, planned["plan"], "--json").json
        if row["action"] == "changed"
    ]
    assert row["held"] == {"attributes.plan": "pro", "attributes.seats": 3}


def test_a_plan_that_cannot_be_shown(state: State, capsys: pytest.CaptureFixture[str]) -> None:
    assert "not a plan of this sync" in ended_with("plan", state.path, "../nightly/plans/x.parquet")
    assert "There is no sealed plan" in ended_with(
        "plan", state.path, state.plan["plan"].replace("Z-", "Z-0")[:-9]
    )
    file = f"{state.path}/nightly/{state.plan['plan']}"
    with open(file, "ab") as plan:
        plan.write(b" ")
    assert "was altered since it was made" in ended_with("plan", state.path, state.plan["plan"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "--json", "--csv"), "either --json or --csv"),
        (("show", "--csv"), "only work with --runs"),
        (("show", "--last", "3"), "only work with --runs"),
        (("show", "--runs", "--last", "0"), "--last must be 1 or more"),
        (("rejects", "--json", "--csv"), "either --json or --csv"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in ended_with(arguments[0], str(tmp_path), *arguments[1:])


class Terminal(StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("form", [(), ("--csv",), ("--json",)])
def test_no_terminal_obeys_what_a_row_holds(
    state: State, form: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    for command in (("rejects", state.path), ("plan", state.path, state.plan["plan"])):
        screen = Terminal()
        monkeypatch.setattr(sys, "stdout", screen)
        main(["state", *command, *form])
        shown = screen.getvalue()
        assert {char for char in shown if unicodedata.category(char) in ("Cc", "Cf")} == {"\n"}
        assert "evil" in shown


def test_long_texts_are_wrapped_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    rows = [{"n": 7, "text": "word " * 20}, {"n": 12, "text": "日本語"}]
    terminal.write_table(rows, {"n": "n", "text": "text"})
    lines = screen.getvalue().splitlines()
    assert lines[:2] == [" n  text", " 7  " + " ".join(["word"] * 9)]
    assert max(map(len, lines)) <= 50
    assert lines[-1] == "12  日本語"


def test_a_terminal_that_knows_only_ascii(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as screen:
        monkeypatch.setattr(sys, "stdout", screen)
        terminal.write_table([{"name": "Zoë"}], {"name": "name"})
    assert (tmp_path / "out").read_text() == "name\nZo\\xeb\n"


def test_head_takes_a_few_lines(client: Client, emulator: Emulator, tmp_path: Path) -> None:
    rows = Rows([(f"no email {n}", "x" * 100, "free", n) for n in range(3000)])
    sync_contacts(client, rows, tmp_path, "nightly", Options(max_rejects=1.0))
    command = [
        sys.executable,
        "-m",
        "airflow_provider_customerly.cli",
        "state",
        "rejects",
        str(tmp_path),
        "--csv",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        assert listing.stdout.readline().startswith("sync,run,row")
        listing.stdout.close()
        assert "Traceback" not in listing.stderr.read()
