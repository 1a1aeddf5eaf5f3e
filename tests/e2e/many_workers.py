"""An Airflow of many machines: the CeleryExecutor with Redis, and PostgreSQL for metadata and results."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import psycopg
import pytest
import redis
from airflow_process import LONGEST, Airflow, Api, daily_far_from_now, reserved_ports
from databases import POSTGRES

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator
    from pathlib import Path

REDIS = os.environ.get("CUSTOMERLY_TEST_REDIS", "redis://127.0.0.1:6379/0")
SLOTS = 3


class ManyWorkers(Airflow):
    """An Airflow whose database is on a server, and whose workers come and go."""

    api: Api

    def __init__(self, home: Path, database: str, **settings: str) -> None:
        server = urlsplit(POSTGRES)
        self._postgres = f"postgresql://{server.netloc}/{database}"
        self._url = f"postgresql+psycopg2://{server.netloc}/{database}"
        super().__init__(
            home,
            AIRFLOW__CORE__EXECUTOR="CeleryExecutor",
            AIRFLOW__CORE__FERNET_KEY="",
            AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
            AIRFLOW__API__HOST="127.0.0.1",
            AIRFLOW__API__SECRET_KEY=uuid4().hex,
            AIRFLOW__API_AUTH__JWT_SECRET=uuid4().hex * 2,
            AIRFLOW__CELERY__BROKER_URL=REDIS,
            AIRFLOW__CELERY__RESULT_BACKEND=f"db+{self._url}",
            # Other Airflows may use the same Redis.
            AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__GLOBAL_KEYPREFIX=database,
            AIRFLOW__OPERATORS__DEFAULT_QUEUE=database,
            AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL="2",
            **settings,
        )
        self._logs: list[Path] = []

    def _metadata(self) -> dict[str, str]:
        return {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self._url}

    def query(self, sql: str) -> list[Any]:
        with psycopg.connect(self._postgres) as database:
            return database.execute(sql).fetchall()  # type: ignore[arg-type]

    @contextmanager
    def started(self, command: str, *before: str, **settings: str) -> Iterator[psutil.Process]:
        """Run a part of Airflow until the end, and whatever it has started."""
        log = self.home / f"{command.split()[0]}-{len(self._logs)}.log"
        self._logs.append(log)
        with log.open("w") as output:
            process = subprocess.Popen(
                [*before, sys.executable, "-m", "airflow", *command.split()],
                env=self.environment(**settings),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield psutil.Process(process.pid)
        finally:
            for one in family(process.pid):
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            process.wait()

    def wait_until(self, condition: Callable[[], Any]) -> Any:
        """Wait for something to be true, and give it."""
        until = time.monotonic() + LONGEST
        while not (found := condition()):
            if time.monotonic() > until:
                self._give_up()
            time.sleep(0.2)
        return found

    def pause(self, dag_id: str, paused: bool = True) -> None:
        status, answer = self.api.ask("PATCH", f"dags/{dag_id}", {"is_paused": paused})
        assert status == HTTPStatus.OK, answer

    def unpause(self, dag_id: str) -> None:
        self.pause(dag_id, False)

    def take_for_dead(self) -> None:
        """Let the scheduler find that the tasks under way, which have fallen silent, were so for too long.

        It allows five minutes. With a limit that a test can wait out, a busy machine has living tasks that
        are too late.
        """

        def are_over() -> bool:
            running = self.query("select id, last_heartbeat_at from task_instance where state = 'running'")
            with psycopg.connect(self._postgres, autocommit=True) as database:
                # One by one: two locked rows could be a deadlock with the scheduler.
                for one, heard in running:
                    if heard > datetime.now(timezone.utc) - timedelta(hours=1):
                        long_ago = "last_heartbeat_at = now() - interval '1 day'"
                        database.execute(f"update task_instance set {long_ago} where id = %s", (one,))
            return not running

        self.wait_until(are_over)

    def ended(self, dag_id: str) -> bool:
        """Return whether no run of a DAG is under way, and there was one."""
        states = self.query(f"select state from dag_run where dag_id = '{dag_id}'")
        return bool(states) and {state for (state,) in states} <= {"success", "failed"}

    def last_run(self, dag_id: str) -> list[tuple[str, str, int]]:
        """Task, state and number of tries of each task instance of the newest run."""
        newest = f"select run_id from dag_run where dag_id = '{dag_id}' order by id desc limit 1"
        return self.query(
            "select task_id, state, try_number from task_instance "
            f"where dag_id = '{dag_id}' and run_id = ({newest}) order by task_id"
        )

    def _give_up(self) -> NoReturn:
        states = self.query(
            "select dag_id, task_id, map_index, state, try_number, hostname from task_instance"
        )
        ends = [f"== {log.name}\n{log.read_text()[-3000:]}" for log in self._logs]
        raise AssertionError("\n".join([*map(str, states), *ends]))


class Worker:
    """A worker with three slots. As root it is a machine of its own, as far as names and process ids go."""

    def __init__(self, airflow: ManyWorkers, process: psutil.Process, log: Path) -> None:
        self._process = process
        airflow.wait_until(lambda: " ready." in log.read_text())
        self._idle = len(family(process.pid))

    @classmethod
    @contextmanager
    def started(cls, airflow: ManyWorkers, name: str) -> Iterator[Worker]:
        home = airflow.home / f"{name}-{uuid4().hex[:6]}"  # nothing on a local disk is shared
        home.mkdir()
        alone = "--skip-serve-logs --without-mingle --without-gossip"
        command = f"celery worker {alone} --concurrency {SLOTS} --celery-hostname {name}"
        before = machine(name) if os.geteuid() == 0 else ()
        with airflow.started(command, *before, AIRFLOW_HOME=str(home)) as process:
            yield cls(airflow, process, airflow._logs[-1])

    def is_idle(self) -> bool:
        """Return whether no task runs here."""
        return len(family(self._process.pid)) <= self._idle

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to each of its processes, those of its tasks included."""
        for one in family(self._process.pid):
            with suppress(psutil.NoSuchProcess):
                one.send_signal(number)


def machine(name: str) -> tuple[str, ...]:
    """Begin a command that runs under a host name of its own, and sees only its own processes."""
    start = f'hostname {name} && exec "$@"'
    return ("unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", start, "sh")


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all that it has started, the oldest first."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@contextmanager
def database_for_airflow() -> Iterator[str]:
    """Make an empty database, and remove it and what is left in Redis."""
    name = f"customerly_{uuid4().hex}"
    try:
        server = psycopg.connect(POSTGRES.replace("postgres://", "postgresql://"), autocommit=True)
    except psycopg.OperationalError as error:
        pytest.skip(f"needs service: PostgreSQL does not answer ({type(error).__name__})")
    broker = redis.Redis.from_url(REDIS)
    try:
        broker.ping()
    except redis.ConnectionError as error:
        pytest.skip(f"needs service: Redis does not answer at CUSTOMERLY_TEST_REDIS ({type(error).__name__})")
    with closing(server), closing(broker):
        server.execute(f"create database {name}")
        try:
            yield name
        finally:
            server.execute(f"drop database {name} with (force)")
            for key in broker.scan_iter(f"{name}*"):
                broker.delete(key)


@contextmanager
def airflow_of_many_workers(home: Path, *dags: Path, **settings: str) -> Iterator[ManyWorkers]:
    """Run all parts of an Airflow but its workers."""
    (home / "dags").mkdir(parents=True)
    for file in dags:
        text = file.read_text()
        text = daily_far_from_now(text) if 'schedule="0 ' in text else text
        (home / "dags" / file.name).write_text(text)
    with ExitStack() as stack:
        airflow = ManyWorkers(home, stack.enter_context(database_for_airflow()), **settings)
        [port] = stack.enter_context(reserved_ports(1))
        airflow.settings |= {
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://localhost:{port}/execution/",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": f"http://localhost:{port}",
        }
        migration = airflow.run("db", "migrate")
        assert migration.returncode == 0, migration.stdout
        for command in ("api-server", "scheduler --skip-serve-logs", "dag-processor"):
            stack.enter_context(airflow.started(command))
        airflow.api = Api(port)
        airflow.wait_until(airflow.api.answers)
        known = partial(airflow.query, "select count(*) from serialized_dag")
        airflow.wait_until(lambda: known()[0][0] >= len(dags))
        yield airflow
