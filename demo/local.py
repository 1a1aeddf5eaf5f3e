"""A local Customerly and a local Airflow for the demo: processes, folder and environment."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / ".demo"
CONNECTION = "AIRFLOW_CONN_CUSTOMERLY_DEFAULT"
EXPORT = FOLDER / "contacts"
STATE = FOLDER / "state"
WAREHOUSE = FOLDER / "warehouse.db"
CUSTOMERLY = FOLDER / "customerly.pickle"
"""What the Customerly of ``make demo-ui`` holds between two starts."""


@contextmanager
def emulator(users: int = 5000, leads: int = 500, file: Path | None = None) -> Iterator[dict[str, str]]:
    """Run the emulator on a free port; yield the environment variables with which Airflow reaches it.

    :param file: where it remembers its contacts and its port for the next start; None if it forgets them.
    """
    command = [sys.executable, "-m", "airflow_provider_customerly.emulator", "--port", "0"]
    if file is not None:
        command = [sys.executable, str(REPOSITORY / "demo" / "customerly.py"), str(file)]
    command += ["--users", str(users), "--leads", str(leads)]
    # In a session of its own, so that Ctrl-C ends what uses it first.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, start_new_session=True
    )
    try:
        yield {CONNECTION: _connection(process)}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


def airflow_environment(**settings: str) -> dict[str, str]:
    """Return the environment of an Airflow that lives in ``.demo`` and sees only this repository's DAGs."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return {
        **own,
        # 'airflow standalone' starts its parts by the name of the command.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "AIRFLOW_HOME": str(FOLDER / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_VAR_CUSTOMERLY_EXPORT_PATH": str(EXPORT),
        "AIRFLOW_VAR_CUSTOMERLY_STATE_PATH": str(STATE),
        "AIRFLOW_VAR_CUSTOMERLY_COMPARE_WITH": str(EXPORT),
        "AIRFLOW_CONN_WAREHOUSE_DEFAULT": json.dumps({"conn_type": "sqlite", "host": str(WAREHOUSE)}),
        "NO_PROXY": "127.0.0.1,localhost",
        **settings,
    }


def airflow_command(*arguments: str) -> list[str]:
    """Return the command line that runs Airflow's CLI in this environment."""
    return [sys.executable, "-m", "airflow", *arguments]


def run_quietly(environment: Mapping[str, str], *arguments: str) -> None:
    """Run an Airflow command with its output in a file; when it fails, show the end of it and exit."""
    FOLDER.mkdir(exist_ok=True)
    log = FOLDER / "airflow.log"
    with log.open("w") as output:
        code = subprocess.run(
            airflow_command(*arguments), env=dict(environment), stdout=output, stderr=subprocess.STDOUT
        ).returncode
    if code:
        exit_with_end_of(log, f"'airflow {' '.join(arguments)}' failed with code {code}")


def exit_with_end_of(log: Path, what: str) -> NoReturn:
    """Exit with the last lines of a log, what happened, and where all of it is."""
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-40:])
    sys.exit(f"{tail}\n\n{what}; all of its output: {log}")


def _connection(process: subprocess.Popen[str]) -> str:
    connection = None
    for line in process.stdout or ():
        name, _, value = line.strip().removeprefix("export ").partition("=")
        if name == CONNECTION:
            connection = shlex.split(value)[0]
        elif line.startswith("Ready") and connection:
            return connection
    sys.exit("The emulator did not start; its message is above.")
