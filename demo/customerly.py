"""A local Customerly that remembers its contacts, and its port, from one ``make demo-ui`` to the next."""

from __future__ import annotations

import argparse
import pickle
import shlex
import signal
import threading
from pathlib import Path

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.emulator.store import Store


def main() -> None:
    """Serve until SIGINT or SIGTERM, then write down what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="where it is remembered")
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--leads", type=int, required=True)
    options = parser.parse_args()
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    store, port = Store(options.users, options.leads), 0
    if options.file.exists():
        # Only this program writes it, into a folder of its own.
        port, contents = pickle.loads(options.file.read_bytes())
        vars(store).update(contents)
    # On another port it would be another project, to which no export and no sync from before belongs.
    emulator = Emulator(store=store, port=port).start()
    remember(options.file, emulator)  # in case the machine stops abruptly
    print(f"export AIRFLOW_CONN_CUSTOMERLY_DEFAULT={shlex.quote(emulator.airflow_connection)}")
    print("Ready.", flush=True)
    stopped.wait()
    emulator.stop()
    remember(options.file, emulator)


def remember(file: Path, emulator: Emulator) -> None:
    """Write down the port and all that the project holds."""
    with emulator.store.lock:
        contents = {name: value for name, value in vars(emulator.store).items() if name != "lock"}
        text = pickle.dumps((emulator.port, contents))
    new = file.with_suffix(".new")
    new.write_bytes(text)
    new.replace(file)


if __name__ == "__main__":
    main()
