"""``airflow customerly check``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.cli.connections import get_connection
from airflow_provider_customerly.hooks.connection import client_arguments, unknown_extra

if TYPE_CHECKING:
    import argparse


def check(args: argparse.Namespace) -> None:
    """Check the account of a connection, and print what was found."""
    from airflow_provider_customerly.check import run_check

    connection: Any = get_connection(args.conn_id)
    try:
        if misspelt := unknown_extra(connection):
            sys.stderr.write(f"Connection {args.conn_id!r}: unknown extra fields: {', '.join(misspelt)}\n")
        report = run_check(**client_arguments(connection))
    except ValueError as error:
        sys.exit(str(error))
    sys.stdout.write((json.dumps(report.to_dict(), indent=2) if args.json else report.to_text()) + "\n")
    if not report.token_works:
        sys.exit(1)
