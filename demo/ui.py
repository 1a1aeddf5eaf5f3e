"""Airflow's web interface with the example DAGs and a local Customerly: ``make demo-ui``."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import time
import urllib.request

from local import CONNECTION, airflow_command, airflow_environment, emulator

START_SECONDS = 180


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    port = parser.parse_args().port
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    with emulator() as connection:
        environment = airflow_environment(
            **connection,
            AIRFLOW__API__HOST="127.0.0.1",
            AIRFLOW__API__PORT=str(port),
            AIRFLOW__API__BASE_URL=f"http://localhost:{port}",
            AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="False",
            AIRFLOW__CORE__PARALLELISM="2",
            AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
            AIRFLOW__CORE__TEST_CONNECTION="Enabled",
        )
        _serve(environment, port, connection[CONNECTION])


def _serve(environment: dict[str, str], port: int, connection: str) -> None:
    # Airflow stops as a whole only when all of its processes are interrupted at once: a group of its own.
    airflow = subprocess.Popen(airflow_command("standalone"), env=environment, start_new_session=True)
    try:
        if _answers(port, airflow):
            print(f"\n\nOpen http://localhost:{port}/dags/customerly_contacts_export and trigger the DAG.")
            print("For Admin > Connections > Test, this connection works (as JSON):")
            print(f"  {connection}\nStop with Ctrl-C.\n", flush=True)
        airflow.wait()
    except KeyboardInterrupt:
        print("\nStopping Airflow ...", flush=True)
    finally:
        _interrupt_group(airflow)


def _answers(port: int, airflow: subprocess.Popen[bytes]) -> bool:
    for _ in range(START_SECONDS):
        if airflow.poll() is not None:
            return False
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=5).close()
        except OSError:
            time.sleep(1)
        else:
            return True
    return False


def _interrupt_group(airflow: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(airflow.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            airflow.wait(timeout=15)
        os.killpg(airflow.pid, signal.SIGKILL)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
