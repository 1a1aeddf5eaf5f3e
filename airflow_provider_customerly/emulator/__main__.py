"""Run a local Customerly: ``python -m airflow_provider_customerly.emulator --users 5000``."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import re
import shlex
import signal
import textwrap
import threading
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from airflow_provider_customerly.emulator.choices import Choices
from airflow_provider_customerly.emulator.faults import FAULTS
from airflow_provider_customerly.emulator.server import DEFAULT_TOKEN, Emulator

_CHOICES = {choice.name: choice for choice in dataclasses.fields(Choices)}
_KINDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    int | None: "a whole number or null",
    float: "a number",
    str: "text",
    frozenset[str]: 'emails as JSON, such as ["a@b.test"]',
}


def _fault(text: str) -> tuple[str, float]:
    name, _, rate = text.partition("=")
    if name not in FAULTS:
        raise argparse.ArgumentTypeError(f"unknown fault {name!r}. Use one of: {', '.join(FAULTS)}")
    try:
        return name, float(rate or 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{rate!r} is not a rate. Write it like {name}=0.1") from None


def _choice(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    if name not in _CHOICES:
        raise argparse.ArgumentTypeError(f"unknown choice {name!r}. Use one of: {', '.join(_CHOICES)}")
    for read in (msgspec.json.decode, str):
        try:
            return name, getattr(msgspec.convert({name: read(value)}, Choices), name)
        except (msgspec.MsgspecError, ValueError) as error:
            problem = str(error).partition(" - at")[0]
    raise argparse.ArgumentTypeError(f"{value!r} is not a valid {name}: {problem}")


def _described() -> list[str]:
    """Return the values, default and meaning of each choice, the last from its docstring."""
    kinds = get_type_hints(Choices)
    text = " ".join((Choices.__doc__ or "").replace("``", "").split())
    meanings = dict(re.findall(r":param (\w+): (.*?)(?= :param |$)", text))
    lines = []
    for name, choice in _CHOICES.items():
        literals = get_args(kinds[name]) if get_origin(kinds[name]) is Literal else ()
        values = " or ".join(map(str, literals)) or _KINDS[kinds[name]]
        default = msgspec.to_builtins(choice.default)
        shown = default if isinstance(default, str) else msgspec.json.encode(default).decode()
        lines.append(f"  {name:18} {values} (default {shown})")
        lines.append(textwrap.indent(textwrap.fill(meanings.get(name, ""), 90), " " * 6))
    return lines


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m airflow_provider_customerly.emulator",
        description="Serve a local Customerly with generated contacts, on loopback only.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(
            [
                "faults:",
                *(f"  {name:12} {what}" for name, what in FAULTS.items()),
                "",
                "choices:",
                *_described(),
            ]
        ),
    )
    made.add_argument("--port", type=int, default=8686, help="0 for any free port (default: 8686)")
    made.add_argument("--users", type=int, default=5000, help="number of generated users (default: 5000)")
    made.add_argument("--leads", type=int, default=500, help="number of generated leads (default: 500)")
    made.add_argument("--seed", type=int, default=1, help="the same seed generates the same contacts")
    made.add_argument(
        "--token", default=DEFAULT_TOKEN, help=f"accepted access token (default: {DEFAULT_TOKEN})"
    )
    made.add_argument(
        "--latency", type=float, default=0.0, metavar="SECONDS", help="delay before each response"
    )
    made.add_argument(
        "--max-per-page", type=int, default=100, help="clamp larger pages to this size (default: 100)"
    )
    made.add_argument(
        "--churn-per-request", type=float, default=0.0, metavar="N", help="random changes per request"
    )
    made.add_argument(
        "--churn-per-second", type=float, default=0.0, metavar="N", help="random changes per second"
    )
    made.add_argument(
        "--fault",
        type=_fault,
        action="append",
        default=[],
        metavar="NAME=RATE",
        help="play a fault at this rate; see below; may be repeated",
    )
    made.add_argument(
        "--choice",
        type=_choice,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="choose a behaviour that the vendor does not document; see below; may be repeated",
    )
    made.add_argument(
        "--tie-group", type=int, default=0, metavar="N", help="this many contacts share one last_update"
    )
    made.add_argument(
        "--bulk-share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="this share of contacts is in groups with the same last_update",
    )
    made.add_argument(
        "--shuffle-ties",
        action="store_true",
        help="list contacts with the same last_update in a new order each time",
    )
    return made


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM."""
    options = parser().parse_args(arguments)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    settings = {**vars(options), "faults": dict(options.fault), "choices": Choices(**dict(options.choice))}
    del settings["fault"], settings["choice"]
    try:
        emulator = Emulator(**settings).start()
    except (OSError, ValueError) as problem:
        parser().exit(1, f"The emulator cannot start: {problem}. Change --port or the option in question.\n")
    print(f"URL    {emulator.url}")
    print(f"Token  {emulator.token}")
    print(f"export AIRFLOW_CONN_CUSTOMERLY_DEFAULT={shlex.quote(emulator.airflow_connection)}")
    print("Ready. Stop with Ctrl+C.", flush=True)
    stopped.wait()
    emulator.stop()


if __name__ == "__main__":
    # Contacts stay: whenever the garbage collector looked through them all, every answer had to wait.
    gc.set_threshold(50_000, 50)
    main()
