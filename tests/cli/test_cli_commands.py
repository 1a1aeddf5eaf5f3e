"""The commands in this process; tests/e2e runs them as Airflow does."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from airflow.cli.cli_config import ActionCommand, GroupCommand

from airflow_provider_customerly.cli.__main__ import main
from airflow_provider_customerly.cli.definition import get_customerly_cli_commands
from airflow_provider_customerly.client import Client
from airflow_provider_customerly.export import export_snapshot
from airflow_provider_customerly.provider_info import get_provider_info
from airflow_provider_customerly.storage import Location, Lock, RunId

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_customerly.emulator import Emulator

CONNECTION = "AIRFLOW_CONN_CUSTOMERLY_DEFAULT"


pytestmark = [
    pytest.mark.emulator(users=130, leads=0, token="tok-93be01d7c2"),
    pytest.mark.usefixtures("connect"),
]


@pytest.fixture(autouse=True)
def server_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the commands set it; other tests must not see it."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")


@pytest.fixture
def exported(client: Client, tmp_path: Path) -> Path:
    export_snapshot(client, tmp_path, "users", snapshot_date="2026-11-23")
    return tmp_path


def ended_with(*arguments: str) -> Any:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_commands_are_those_of_the_provider() -> None:
    [group] = get_customerly_cli_commands()
    assert group.name == "customerly"
    names = [
        child.name if isinstance(command, ActionCommand) else f"{command.name} {child.name}"
        for command in group.subcommands
        for child in (command.subcommands if isinstance(command, GroupCommand) else [command])
    ]
    of_state = ("show", "rejects", "plan", "verify", "reset")
    assert names == ["check", "undo", *(f"state {name}" for name in of_state)]
    path = f"{get_customerly_cli_commands.__module__}.{get_customerly_cli_commands.__name__}"
    assert get_provider_info()["cli"] == [path]


def test_check(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check"])
    text = capsys.readouterr().out
    main(["check", "customerly_default", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert text.startswith(f"{emulator.url}, ")
    assert {finding["verdict"] for finding in report["findings"]} == {"holds", "not checked"}
    assert all(finding["assumption"] in text for finding in report["findings"])


def test_check_of_a_token_that_does_not_work(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {**json.loads(emulator.airflow_connection), "password": "tok-revoked", "extra": {"page_siz": 5}}
    monkeypatch.setenv(CONNECTION, json.dumps(fields))
    assert ended_with("check") == 1
    shown = capsys.readouterr()
    assert "Create a new access token" in " ".join(shown.out.split())
    assert "unknown extra fields: page_siz" in shown.err
    assert "to be reported" not in shown.out
    assert "tok-revoked" not in shown.out + shown.err


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"password": ""}, "has no access token"),
        ({"host": "http://api.example.test"}, "in clear"),
        ({"extra": {"timeout": "soon"}}, "extra field 'timeout'"),
    ],
)
def test_check_of_a_connection_that_cannot_work(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], said: str
) -> None:
    monkeypatch.setenv(CONNECTION, json.dumps({**json.loads(emulator.airflow_connection), **fields}))
    assert said in ended_with("check")


NOWHERE = [("check", "nowhere"), ("state", "show", "s3://nowhere@bucket/crm")]


@pytest.mark.parametrize("command", NOWHERE)
def test_a_connection_that_does_not_exist(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "without a database")
    assert "There is no connection 'nowhere'. Add an Airflow connection" in ended_with(*command)


@pytest.mark.parametrize("command", NOWHERE)
def test_a_connection_that_may_be_in_a_database_that_fails(command: tuple[str, ...]) -> None:
    told = "Connection 'nowhere' was not found, but MetastoreBackend failed"
    assert told in ended_with(*command)


def test_state(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["state", "show", str(exported)])
    assert "130 rows" in capsys.readouterr().out
    main(["state", "show", str(exported / "users"), "--json"])
    assert json.loads(capsys.readouterr().out)["datasets"][0]["newest"][0]["verdict"] == "complete"
    main(["state", "verify", str(exported)])
    assert "All files are intact." in capsys.readouterr().out
    [part] = exported.rglob("*.parquet")
    part.write_bytes(part.read_bytes() + b" ")
    assert ended_with("state", "verify", str(exported), "--json") == 1
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 1


def test_state_on_s3_by_connection(
    emulator: Emulator, s3_location: Location, s3_connection: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(emulator.token, emulator.url) as client:
        export_snapshot(client, s3_location, "users", snapshot_date="2026-11-23")
    main(["state", "verify", f"s3://{s3_connection}@{s3_location.root}"])
    main(["state", "show", f"s3://{s3_location.root}", "--path-conn-id", s3_connection])
    shown = capsys.readouterr().out
    assert "All files are intact." in shown
    assert "130 rows" in shown
    main(["state", "reset", f"s3://{s3_connection}@{s3_location.root}", "--yes"])
    assert s3_location.list() == {}


@pytest.mark.parametrize("command", ["show", "rejects", "verify", "reset"])
@pytest.mark.parametrize(
    ("path", "said"), [(" ", "PATH is blank"), ("/nowhere/at/all", "There is no export or sync at")]
)
def test_state_of_a_place_without_any(command: str, path: str, said: str) -> None:
    assert said in ended_with("state", command, path)


@pytest.mark.parametrize("command", ["show", "verify", "reset"])
def test_state_of_a_storage_that_does_not_work(
    command: str, s3_connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        extra = {
            "endpoint_url": f"http://127.0.0.1:{port}",
            "config_kwargs": {"retries": {"max_attempts": 0}},
        }
        fields = {"conn_type": "aws", "login": "test-key", "password": "test-secret", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_DOWN", json.dumps(fields))
        told = ended_with("state", command, "s3://down@bucket/crm")
    assert told.startswith("Cannot use s3://down@bucket/crm (EndpointConnectionError: ")
    told = ended_with("state", command, f"s3://{s3_connection}@no-such-bucket/crm")
    assert "bucket does not exist). Check that the folder or bucket exists" in told
    (tmp_path / "file").touch()
    assert "file is a file, where a folder is needed. Check the path" in ended_with(
        "state", command, str(tmp_path / "file")
    )


@pytest.mark.parametrize(("answer", "stays"), [("no", True), ("", True), ("yes", False)])
def test_reset_asks_at_a_terminal(
    exported: Path, monkeypatch: pytest.MonkeyPatch, answer: str, stays: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    if stays:
        assert ended_with("state", "reset", str(exported)) == "Nothing was removed."
    else:
        main(["state", "reset", str(exported)])
    assert bool(list(exported.rglob("*.parquet"))) is stays


def test_reset_elsewhere_needs_yes(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO("yes\n"))
    assert "Add --yes" in ended_with("state", "reset", str(exported))
    assert list(exported.rglob("*.parquet"))
    main(["state", "reset", str(exported), "--yes"])
    assert not list(exported.rglob("*.parquet"))


def test_reset_refuses_while_somebody_works(exported: Path) -> None:
    with Lock(Location.of(exported / "users"), RunId.new(), "dag/run/task"):
        assert "in use by dag/run/task" in ended_with("state", "reset", str(exported), "--yes")
    assert list(exported.rglob("*.parquet"))


def test_airflow_loads_nothing_for_the_commands_but_their_names() -> None:
    code = (
        "import sys, airflow.cli.cli_config, airflow_provider_customerly; before = set(sys.modules)\n"
        "import airflow_provider_customerly.cli.definition\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    package = "airflow_provider_customerly.cli"
    assert loaded.split() == [package, f"{package}.definition"]
