"""``airflow customerly check``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.cli.connections import get_connection
from airflow_provider_customerly.cli.terminal import printable, write, write_note
from airflow_provider_customerly.hooks.connection import client_arguments, unknown_extra

if TYPE_CHECKING:
    import argparse


def check(args: argparse.Namespace) -> None:
    """Check the account of a connection, and print the report."""
    from airflow_provider_customerly.check import run_check

    connection: Any = get_connection(args.conn_id)
    try:
        if misspelt := unknown_extra(connection):
            write_note(f"Connection {args.conn_id!r}: unknown extra fields: {', '.join(misspelt)}")
        report = run_check(**client_arguments(connection))
    except ValueError as error:
        sys.exit(printable(str(error)))
    write(json.dumps(report.to_dict(), indent=2) if args.json else report.to_text())
    if not report.token_works:
        sys.exit(1)
