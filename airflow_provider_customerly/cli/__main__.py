"""Run the commands without Airflow's command line, which supports provider commands since Airflow 3.2.

``python -m airflow_provider_customerly.cli check`` is the same as ``airflow customerly check``.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from airflow.cli.cli_config import ActionCommand

from airflow_provider_customerly.cli.definition import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.cli.cli_config import GroupCommand


def main(arguments: list[str] | None = None) -> None:
    """Run one command."""
    options = parser().parse_args(arguments)
    options.func(options)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    made = argparse.ArgumentParser(prog="python -m airflow_provider_customerly.cli")
    _add(made, COMMANDS)
    return made


def _add(parser: argparse.ArgumentParser, commands: Iterable[ActionCommand | GroupCommand]) -> None:
    children = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in commands:
        child = children.add_parser(command.name, help=command.help, description=command.description)
        if isinstance(command, ActionCommand):
            for argument in command.args:
                argument.add_to_parser(child)
            child.set_defaults(func=command.func)
        else:
            _add(child, command.subcommands)


if __name__ == "__main__":
    main()
