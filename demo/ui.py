"""Airflow's web interface with the example DAGs and a local Customerly: ``make demo-ui``."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from local import (
    CONNECTION,
    CUSTOMERLY,
    EXPORT,
    FOLDER,
    STATE,
    WAREHOUSE,
    airflow_command,
    airflow_environment,
    emulator,
    exit_with_end_of,
)
from teammate import live_through_the_days_before
from warehouse import make_warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

# customerly_contacts_export stays paused: it is the first half of the nightly DAGs, to the same place.
# So does customerly_many_projects: its connections do not exist here.
APPROVED = "customerly_sync_approved"
UNPAUSED = (APPROVED, "customerly_nightly_export", "customerly_nightly_scores", "customerly_contacts_sync")
LOG = FOLDER / "airflow-ui.log"
CONNECTION_ID = "customerly_demo"
START_SECONDS = 180
STOP_SECONDS = 8  # by then only the scheduler's idle workers are left, which may wait for ever

FIRST = "Four DAGs run by themselves once a day, the first time now; 'Trigger' runs one again."
AGAIN = """\
Contacts, warehouse, files and runs are as the last 'make demo-ui' left them; 'rm -r .demo' starts over.
Four DAGs run by themselves once a day: one that ran today waits for tomorrow, and 'Trigger' runs it again."""
INSTRUCTIONS = """
Open http://localhost:{port}/dags

{when}

  customerly_nightly_export   contacts to Parquet files, in {export}
  customerly_nightly_scores   follows each export: scores to the warehouse, and from there to Customerly
  customerly_contacts_sync    customers of the warehouse to Customerly, only those that are new or changed
  customerly_sync_approved    the same customers, but a person approves what is sent

Browse > Required Actions shows the plan that waits for you, in a minute: approve or reject it. It compares
with an export, so it says that somebody has edited a contact in Customerly since the last sync. Once it is
applied, its page below Browse > Customerly has the command that undoes it. While this demo runs, that is:

  AIRFLOW_HOME={home} {cli} undo {states} RUN --conn-id {connection_id}

where RUN is the last word of the page's command. It only makes a plan, and sends nothing.

Two more are paused: customerly_contacts_export, because it duplicates the first one, and
customerly_many_projects, because its connections do not exist here.

The warehouse is the SQLite file {warehouse}.
Change its table customers and trigger the sync: the end of the task's log shows what was sent. 'Trigger'
also asks what to do otherwise in that run, such as a dry run. Six of its rows are wrong on purpose, and
Customerly refuses one of these. Once the sync has run, this lists which and why:

  {cli} state rejects {state}

Admin > Connections shows {connection_id}, a connection to the local Customerly: the button
'Test Connection' asks whether it answers, the button beside it opens the form.

Airflow's own output is in {log}.
Stop with Ctrl-C."""


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    port = parser.parse_args().port
    _refuse_taken(port)
    # The terminal's end too: what runs in sessions of its own would outlive it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    with contextlib.suppress(KeyboardInterrupt), _customerly() as (connection, is_again):
        environment = airflow_environment(
            **connection,
            AIRFLOW__API__HOST="127.0.0.1",
            AIRFLOW__API__PORT=str(port),
            AIRFLOW__API__BASE_URL=f"http://localhost:{port}",
            AIRFLOW__CORE__PARALLELISM="2",
            AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
            AIRFLOW__CORE__TEST_CONNECTION="Enabled",
        )
        _serve(environment, port, json.loads(connection[CONNECTION]), is_again=is_again)


@contextlib.contextmanager
def _customerly() -> Iterator[tuple[dict[str, str], bool]]:
    """Run a local Customerly; yield the way to it, and whether it is the one of an earlier start."""
    FOLDER.mkdir(exist_ok=True)
    is_again = CUSTOMERLY.exists() and WAREHOUSE.exists()
    if not is_again:
        # A new Customerly lacks what an earlier one was sent: beside an earlier export, those contacts would
        # count as deleted.
        CUSTOMERLY.unlink(missing_ok=True)
        for folder in (EXPORT, STATE):
            shutil.rmtree(folder, ignore_errors=True)
    with emulator(file=CUSTOMERLY) as connection:
        if not WAREHOUSE.exists():
            make_warehouse(WAREHOUSE, connection[CONNECTION])
        if not is_again:
            print("Preparing the days before: a sync, an edit in Customerly and an export ...", flush=True)
            logging.getLogger("airflow_provider_customerly").setLevel(logging.ERROR)
            live_through_the_days_before(connection[CONNECTION], WAREHOUSE, STATE, EXPORT)
        yield connection, is_again


def _serve(environment: dict[str, str], port: int, connection: dict[str, str], *, is_again: bool) -> None:
    print("Starting Airflow and a local Customerly; this takes about 20 seconds ...", flush=True)
    with LOG.open("w") as output:
        # Airflow stops as a whole only when all of its processes are interrupted at once: a group of its own.
        airflow = subprocess.Popen(
            airflow_command("standalone"),
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        if not _shows_dags(port, airflow):
            exit_with_end_of(LOG, "Airflow did not start")
        _add_connection(port, connection)
        print(
            INSTRUCTIONS.format(
                port=port,
                export=EXPORT,
                warehouse=WAREHOUSE,
                state=STATE / "customerly_contacts_sync.sync_customers",
                states=STATE,
                home=environment["AIRFLOW_HOME"],
                cli=f"{sys.executable} -m airflow_provider_customerly.cli",
                when=AGAIN if is_again else FIRST,
                connection_id=CONNECTION_ID,
                log=LOG,
            ),
            flush=True,
        )
        for dag_id in UNPAUSED:
            _ask(port, "PATCH", f"dags/{dag_id}", {"is_paused": False})
            if dag_id == APPROVED and not is_again:
                _wait_for_plan(port, airflow)
        airflow.wait()
        exit_with_end_of(LOG, "Airflow has stopped by itself")
    except KeyboardInterrupt:
        print("\nStopping Airflow ...", flush=True)
    finally:
        _interrupt_group(airflow)


def _refuse_taken(port: int) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            sys.exit(
                f"Cannot listen on port {port}: {error.strerror}. Choose another: make demo-ui PORT=8081"
            )


def _shows_dags(port: int, airflow: subprocess.Popen[bytes]) -> bool:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and airflow.poll() is None:
        with contextlib.suppress(OSError, HTTPException):
            if all(_ask(port, "GET", f"dags/{dag_id}") == HTTPStatus.OK for dag_id in UNPAUSED):
                return True
        time.sleep(0.5)
    return False


def _wait_for_plan(port: int, airflow: subprocess.Popen[bytes]) -> None:
    """Wait until the plan is made; the other DAGs send the same customers, and none would be left for it."""
    until = time.monotonic() + START_SECONDS
    plan = f"dags/{APPROVED}/dagRuns/~/taskInstances?task_id=plan&state=success&state=failed"
    while time.monotonic() < until and airflow.poll() is None:
        with contextlib.suppress(OSError, HTTPException):
            if _answer(port, "GET", plan)[1].get("total_entries"):
                return
        time.sleep(0.5)


def _add_connection(port: int, connection: dict[str, str]) -> None:
    # The DAG's connection is in the environment, where the interface does not show it. The port is told apart
    # because Airflow 3.3.1 and 3.3.2 refuse to test a connection that has none.
    host = urlsplit(connection["host"])
    _ask(port, "DELETE", f"connections/{CONNECTION_ID}")
    status = _ask(
        port,
        "POST",
        "connections",
        {**connection, "connection_id": CONNECTION_ID, "host": f"http://{host.hostname}", "port": host.port},
    )
    if status != HTTPStatus.CREATED:
        exit_with_end_of(LOG, f"Airflow did not take the connection {CONNECTION_ID} (HTTP {status})")


def _ask(port: int, method: str, path: str, body: dict[str, object] | None = None) -> int:
    until = time.monotonic() + START_SECONDS
    while True:
        status = _answer(port, method, path, body)[0]
        # A request fails, and nothing is done, when a task's request has held the SQLite database too long.
        if status < HTTPStatus.INTERNAL_SERVER_ERROR or time.monotonic() > until:
            return status
        time.sleep(0.5)


def _answer(
    port: int, method: str, path: str, body: dict[str, object] | None = None
) -> tuple[int, dict[str, Any]]:
    # Not urllib, which would ask a proxy from the environment.
    with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=60)) as api:
        # Airflow 3.1 wants a token from an admin too, and gives it to everybody who asks.
        api.request("GET", "/auth/token")
        token = json.loads(api.getresponse().read())["access_token"]
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        api.request(method, f"/api/v2/{path}", json.dumps(body) if body else None, headers)
        answer = api.getresponse()
        said = answer.read()
        try:
            return answer.status, json.loads(said or b"{}")
        except ValueError:  # Airflow 3.1 tells an internal error in words
            return answer.status, {}


def _interrupt_group(airflow: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(airflow.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            airflow.wait(timeout=STOP_SECONDS)
        os.killpg(airflow.pid, signal.SIGKILL)


def _stop(*_: object) -> None:
    # A second Ctrl-C must not cut short what stops Airflow.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
