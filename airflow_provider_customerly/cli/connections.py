"""Look up Airflow connections in a command."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import Connection


def look_into_database() -> None:
    """Include connections in Airflow's database, as Airflow's own commands do."""
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")


def get_connection(conn_id: str) -> Connection:
    """Return a connection from the environment, a secrets backend or the database, or exit."""
    look_into_database()
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    from airflow_provider_customerly.hooks.lookup import find_connection

    try:
        return find_connection(conn_id, "of type Customerly")
    except (ValueError, AirflowNotFoundException) as error:
        sys.exit(str(error))
