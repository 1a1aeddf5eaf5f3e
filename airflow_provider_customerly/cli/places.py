"""The folder of a command, and its error messages."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_provider_customerly.cli.connections import look_into_database
from airflow_provider_customerly.cli.terminal import printable, until_the_reader_leaves

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from airflow_provider_customerly.storage import Location


@contextmanager
def problems_told(args: argparse.Namespace) -> Iterator[None]:
    """Exit with an error message instead of a traceback."""
    from airflow_provider_customerly.storage import LockedError

    try:
        with until_the_reader_leaves():
            yield
    except (ValueError, LockedError) as error:
        sys.exit(printable(str(error)))
    except Exception as error:  # each object store has its own errors
        sys.exit(
            printable(
                f"Cannot use {args.path} ({type(error).__name__}: {error}). Check that the folder or bucket "
                "exists, that you or the connection may access it, and that the storage responds."
            )
        )


def location_of(args: argparse.Namespace) -> Location:
    """Return the folder at ``args.path``."""
    look_into_database()
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    from airflow_provider_customerly.hooks.lookup import find_location

    if not args.path.strip():
        raise ValueError("PATH is blank. Pass the path of an export or the state_path of a sync.")
    # In a shell, relative paths are relative to the working directory.
    path = args.path if "://" in args.path else os.path.abspath(args.path)
    try:
        return find_location(path, args.path_conn_id)
    except AirflowNotFoundException as error:
        raise ValueError(str(error)) from None


def check_form(args: argparse.Namespace) -> None:
    """Raise ``ValueError`` if two output formats are requested."""
    if args.json and args.csv:
        raise ValueError("Use either --json or --csv, not both.")
