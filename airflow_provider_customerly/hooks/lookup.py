"""Connections and folders, found by the names that a user gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.sdk import BaseHook, ObjectStoragePath
from airflow.sdk.io import has_fs

from airflow_provider_customerly.storage import Location

if TYPE_CHECKING:
    from airflow.sdk import Connection

_LOCAL = ("", "file", "local")


def find_connection(conn_id: str, what: str) -> Connection:
    """Return an Airflow connection.

    :param what: which one to add where there is none, such as ``of type Customerly``.
    :raises ValueError: there is none of this name.
    :raises AirflowNotFoundException: it was not found, and a secrets backend failed that may have it.
    """
    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        _make_sure_it_is_missing(conn_id)
    raise ValueError(
        f"There is no connection {conn_id!r}: add one {what}, or set AIRFLOW_CONN_{conn_id.upper()}."
    )


def find_location(path: str, conn_id: str | None) -> Location:
    """Return the folder at a path that may name an Airflow connection.

    :param path: anything ``ObjectStoragePath`` takes.
    :param conn_id: the connection, unless the path names one.
    :raises ValueError: there is no such connection, or no provider that opens such paths.
    """
    parts = urlsplit(path)
    scheme, named = parts.scheme, parts.netloc.rpartition("@")[0] or conn_id
    if named and scheme not in _LOCAL:
        # Not left to Airflow, which goes on without it on S3, with whatever credentials the worker has.
        find_connection(named, "to the object store")
    try:
        # Airflow 3.1 takes a None here to overrule the connection that the path names.
        return Location.of(ObjectStoragePath(path, conn_id=named))
    except ValueError:
        if scheme in _LOCAL or has_fs(scheme):
            raise
    raise ValueError(
        f"Nothing that is installed opens {scheme}:// paths: install the provider of that object store, "
        "such as apache-airflow-providers-google for gs://, or correct the path."
    )


def _make_sure_it_is_missing(conn_id: str) -> None:
    """Ask each secrets backend, for Airflow takes one that cannot be reached for one without the connection.

    :raises AirflowNotFoundException: one of them failed, or has it by now.
    """
    from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded

    for backend in ensure_secrets_backend_loaded():
        try:
            problem = "has it by now" if backend.get_connection(conn_id=conn_id) else None
        except Exception as error:  # each backend has errors of its own, and their texts may tell too much
            problem = f"failed ({type(error).__name__})"
        if problem:
            raise AirflowNotFoundException(
                f"Connection {conn_id!r} was not found, but {type(backend).__name__} {problem}. "
                "Check that secrets backend, then try again."
            )
