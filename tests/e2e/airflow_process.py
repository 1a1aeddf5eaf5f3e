"""A real Airflow in processes of its own, each test with a home and a database of its own."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime, timezone
from functools import cached_property
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlite_waits import LOCKED

from airflow_provider_customerly.emulator import Emulator

REPOSITORY = Path(__file__).parent.parent.parent
LONGEST = 900
"""Seconds until something that must come is given up: many times what a machine at leisure needs."""
PATIENCE = {
    # Where a slow machine overruns Airflow's own limits, it fails or kills what is well, which costs a try of
    # the task, a DAG or an event. An API call must not end before its wait for the database.
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600",
    "AIRFLOW__CORE__TASK_SUCCESS_OVERTIME": "600",
    "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "600",
    "AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT": "600",
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "180",
}


class Airflow:
    """An Airflow home with a migrated SQLite database."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.settings = settings

    def environment(self, **settings: str) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        modules = [str(Path(__file__).parent), *filter(None, [own.get("PYTHONPATH")])]
        return {
            **own,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "NO_COLOR": "1",
            "PYTHONPATH": os.pathsep.join(modules),
            **PATIENCE,
            **self._metadata(),
            **self.settings,
            **settings,
        }

    def _metadata(self) -> dict[str, str]:
        """Where Airflow's own database is."""
        return {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": "sqlite_waits.connect_args",
        }

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        try:
            return subprocess.run(
                [sys.executable, "-m", "airflow", *arguments],
                env=self.environment(**settings),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=LONGEST,
            )
        except subprocess.TimeoutExpired as error:
            raise AssertionError((error.stdout or b"").decode()) from None

    @contextmanager
    def web_interface(self, **settings: str) -> Iterator[str]:
        """Serve it without a scheduler; yield its address."""
        with self._serving("api-server", **settings) as port:
            yield f"http://localhost:{port}"

    @contextmanager
    def all_of_it(self, *, login: tuple[str, str] | None = None, **settings: str) -> Iterator["Api"]:
        """Run every part of Airflow, with two workers; yield its API.

        :param login: who asks the API, with the password, where not everybody is an admin.
        """
        with self._serving("standalone", AIRFLOW__CORE__PARALLELISM="2", **settings) as port:
            yield Api(port, login)

    @contextmanager
    def _serving(self, command: str, **settings: str) -> Iterator[int]:
        """Serve to everybody as an admin; yield the port."""
        with reserved_ports(3) as (port, *log_ports), self._running(command, port, log_ports, **settings):
            yield port

    @contextmanager
    def _running(self, command: str, port: int, log_ports: list[int], **settings: str) -> Iterator[None]:
        environment = self.environment(
            # 'airflow standalone' starts its parts by the name of the command.
            PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            AIRFLOW__API__HOST="127.0.0.1",
            AIRFLOW__API__PORT=str(port),
            AIRFLOW__API__BASE_URL=f"http://localhost:{port}",
            # Otherwise the parts of every Airflow of this machine serve logs at the same two.
            AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT=str(log_ports[0]),
            AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT=str(log_ports[1]),
            AIRFLOW__CORE__TEST_CONNECTION="Enabled",
            **{"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True", **settings},
        )
        log = self.home / f"{command}.log"
        with log.open("w") as output:
            server = subprocess.Popen(
                [sys.executable, "-m", "airflow", command],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            until = time.monotonic() + LONGEST
            while not Api(port).answers():
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.2)
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    server.wait(timeout=5)  # then only idle workers are left, which may wait for ever
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()

    def query(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self.home / "airflow.db", timeout=LOCKED)) as database:
            return database.execute(sql).fetchall()

    def execute(self, sql: str) -> None:
        with closing(sqlite3.connect(self.home / "airflow.db", timeout=LOCKED)) as database, database:
            database.execute(sql)

    def states(self, dag_id: str) -> list[tuple[str, str, int]]:
        """Task, state and number of tries of each task instance of a DAG, the oldest run first."""
        return self.query(
            "select task_id, task_instance.state, try_number from task_instance "
            f"join dag_run using (dag_id, run_id) where dag_id = '{dag_id}' order by run_after, task_id"
        )

    def results(self, dag_id: str) -> dict[str, Any]:
        """What each task of a DAG returned in its newest run."""
        rows = self.query(
            "select task_id, value from xcom join dag_run using (dag_id, run_id) "
            f"where dag_id = '{dag_id}' and key = 'return_value' order by run_after"
        )
        return {task: _decoded(value) for task, value in rows}

    def asset_events(self) -> list[tuple[str, dict[str, Any]]]:
        """Task and extra of each event, the oldest first."""
        rows = self.query("select source_task_id, extra from asset_event order by id")
        return [(task, _decoded(extra)) for task, extra in rows]

    def places_with(self, text: str, output: str = "", *folders: Path) -> list[str]:
        """Where a text is: the output, any file of this home (its database too) and of the folders."""
        files = [path for root in (self.home, *folders) for path in root.rglob("*") if path.is_file()]
        assert self.home / "airflow.db" in files
        found = [str(path) for path in files if text.encode() in path.read_bytes()]
        return found + ["the output"] * (text in output)


class Api:
    """Airflow's API on a port of this machine."""

    def __init__(self, port: int, login: tuple[str, str] | None = None) -> None:
        self._port = port
        self._login = login

    @property
    def address(self) -> str:
        return f"http://localhost:{self._port}"

    def answers(self) -> bool:
        try:
            return self._ask("GET", "/api/v2/monitor/health")[0] == HTTPStatus.OK
        except (OSError, HTTPException):
            return False

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Ask again after an internal error.

        Airflow's own threads and processes lock its SQLite database for each other, now and then for longer
        than one waits: then nothing was done. An error that stays is answered in the end.
        """
        until = time.monotonic() + 120
        while True:
            status, answer = self._ask(method, f"/api/v2/{path}", body, Authorization=f"Bearer {self._token}")
            if status < HTTPStatus.INTERNAL_SERVER_ERROR or time.monotonic() > until:
                return status, answer
            time.sleep(1)

    @cached_property
    def _token(self) -> str:
        return self.token(*self._login) if self._login else self.token_for_everybody()

    def token(self, user: str, password: str) -> str:
        """What stands for a user who has logged in."""
        status, answer = self._ask("POST", "/auth/token", {"username": user, "password": password})
        assert status == HTTPStatus.CREATED, answer
        return str(answer["access_token"])

    def token_for_everybody(self) -> str:
        """What stands for the admin that everybody is, where no one logs in."""
        # Airflow 3.1 wants one from an admin too, and gives it to everybody who asks.
        status, answer = self._ask("GET", "/auth/token")
        assert status == HTTPStatus.CREATED, answer
        return str(answer["access_token"])

    def _ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=180)) as server:
            text = None if body is None else json.dumps(body)
            server.request(method, path, text, {"Content-Type": "application/json", **headers})
            answer = server.getresponse()
            said = answer.read()
            try:
                return answer.status, json.loads(said)
            except ValueError:  # Airflow 3.1 tells an internal error in words
                return answer.status, said.decode()

    def trigger(self, dag_id: str, **params: object) -> str:
        """Start a run without a logical date; give its id."""
        status, run = self.ask("POST", f"dags/{dag_id}/dagRuns", {"logical_date": None, "conf": params})
        assert status == HTTPStatus.OK, run
        return str(run["dag_run_id"])

    def wait_for(self, dag_id: str, run_id: str) -> str:
        """Wait until a run has ended; give its state."""
        until = time.monotonic() + LONGEST
        while True:
            status, run = self.ask("GET", f"dags/{dag_id}/dagRuns/{quote(run_id, safe='')}")
            assert status == HTTPStatus.OK, run
            if run["state"] in ("success", "failed"):
                return str(run["state"])
            assert time.monotonic() < until, run
            time.sleep(0.3)


def daily_far_from_now(dag: str) -> str:
    """The text of a DAG with its daily time moved to the other half of the day.

    Otherwise a test that passes that time sees two scheduled runs where it expects one.
    """
    hour = (datetime.now(timezone.utc).hour + 12) % 24
    moved, count = re.subn(r'schedule="0 \d+ \* \* \*"', f'schedule="30 {hour} * * *"', dag)
    assert count == 1
    return moved


def connection(emulator: Emulator, **fields: object) -> dict[str, str]:
    """Environment with the connection of the example DAGs to an emulator."""
    return {
        "AIRFLOW_CONN_CUSTOMERLY_DEFAULT": json.dumps({**json.loads(emulator.airflow_connection), **fields})
    }


def _decoded(value: Any) -> Any:
    # A text that is JSON may hold one that is; SQLite gives a number as such.
    while isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:  # the text itself
            break
    return value


@contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Yield ports that nobody gets by chance meanwhile; a server that asks for one may listen there."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", 0))
        yield [int(one.getsockname()[1]) for one in sockets]
