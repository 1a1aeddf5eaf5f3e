"""``airflow customerly state``: show, verify and reset."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING

from airflow_provider_customerly.cli.connections import look_into_database

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from airflow_provider_customerly.storage import Location


def show(args: argparse.Namespace) -> None:
    """Print what is committed at a path."""
    from airflow_provider_customerly.housekeeping import survey

    with _problems_told(args):
        found = survey(_location(args))
    _print(json.dumps(found.to_dict(), indent=2) if args.json else found.to_text())


def verify(args: argparse.Namespace) -> None:
    """Compare the files at a path with their checksums."""
    from airflow_provider_customerly.housekeeping import verify

    with _problems_told(args):
        outcome = verify(_location(args))
    _print(json.dumps(outcome.to_dict(), indent=2) if args.json else outcome.to_text())
    if not outcome.is_intact:
        sys.exit(1)


def reset(args: argparse.Namespace) -> None:
    """Remove the state at a path."""
    from airflow_provider_customerly.housekeeping import Removal

    with _problems_told(args):
        removal = Removal(_location(args))
        if not args.yes and not _is_confirmed(f"This removes {removal}."):
            sys.exit("Nothing was removed.")
        removal.run()
    _print(f"Removed {removal}.")


@contextlib.contextmanager
def _problems_told(args: argparse.Namespace) -> Iterator[None]:
    """End the command with a sentence in place of a traceback."""
    from airflow_provider_customerly.storage import LockedError

    try:
        yield
    except (ValueError, LockedError) as error:
        sys.exit(str(error))
    except Exception as error:  # each object store has errors of its own
        sys.exit(
            f"{args.path} cannot be used ({type(error).__name__}: {error}). Check that the folder or bucket "
            "exists, that you or the connection may use it, and that the storage answers."
        )


def _location(args: argparse.Namespace) -> Location:
    look_into_database()
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    from airflow_provider_customerly.hooks.lookup import find_location

    if not args.path.strip():
        raise ValueError("PATH is blank: give the path of an export, or the state_path of a sync.")
    try:
        return find_location(args.path, args.path_conn_id)
    except AirflowNotFoundException as error:
        raise ValueError(str(error)) from None


def _is_confirmed(what: str) -> bool:
    if not sys.stdin.isatty():
        raise ValueError(f"{what} Add --yes to say that it is meant. Nothing was removed.")
    return input(f"{what} Type yes to go on: ").strip().lower() == "yes"


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
