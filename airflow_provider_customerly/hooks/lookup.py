"""Look up connections and folders by the names that users pass."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.sdk import BaseHook, ObjectStoragePath
from airflow.sdk.io import has_fs

from airflow_provider_customerly.storage import Location
from airflow_provider_customerly.storage.location import refuse_relative

if TYPE_CHECKING:
    from airflow.sdk import Connection

_LOCAL = ("", "file", "local")
_PROVIDERS = {
    **dict.fromkeys(("s3", "s3a", "s3n"), "airflow-provider-customerly[s3]"),
    **dict.fromkeys(("gs", "gcs"), "apache-airflow-providers-google"),
    **dict.fromkeys(("abfs", "abfss", "adl"), "apache-airflow-providers-microsoft-azure"),
}
"""The package to install for each scheme."""


def find_connection(conn_id: str, what: str) -> Connection:
    """Return an Airflow connection.

    :param what: describes the connection for the error, such as ``of type Customerly`` or ``for the
        database``.
    :raises ValueError: it does not exist.
    :raises AirflowNotFoundException: it was not found, and a secrets backend that may have it failed.
    """
    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        _make_sure_it_is_missing(conn_id)
    raise ValueError(
        f"There is no connection {conn_id!r}. Add an Airflow connection {what}, or fix the name. "
        f"You can also define it in the environment variable AIRFLOW_CONN_{conn_id.upper()}."
    )


def find_location(path: str, conn_id: str | None) -> Location:
    """Return the folder at a path that may name an Airflow connection.

    :param path: any path that ``ObjectStoragePath`` takes.
    :param conn_id: the connection, unless the path names one.
    :raises ValueError: the path is relative, the connection does not exist, or no installed provider handles
        the scheme.
    """
    refuse_relative(path)
    parts = urlsplit(path)
    scheme, named = parts.scheme, parts.netloc.rpartition("@")[0] or conn_id
    path = scheme + path[len(scheme) :]  # Airflow 3.1's paths know a scheme only in lower case
    if named and scheme not in _LOCAL:
        # Airflow itself would continue without it on S3, with whatever credentials the worker has.
        find_connection(named, "for the object store")
    try:
        # conn_id=None would make Airflow 3.1 ignore the connection in the path.
        return Location.of(ObjectStoragePath(path, conn_id=named))
    except (ValueError, ImportError) as error:
        if isinstance(error, ValueError) and (scheme in _LOCAL or has_fs(scheme)):
            raise
        raise ValueError(
            f"No installed package handles {scheme}:// paths. Install "
            f"{_PROVIDERS.get(scheme, 'the Airflow provider of that object store')}, or fix the path."
        ) from error


def _make_sure_it_is_missing(conn_id: str) -> None:
    """Ask each secrets backend, because Airflow treats an unreachable one as one without the connection.

    :raises AirflowNotFoundException: a backend failed, or has the connection by now.
    """
    from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded

    for backend in ensure_secrets_backend_loaded():
        try:
            problem = "has it by now" if backend.get_connection(conn_id=conn_id) else None
        except Exception as error:  # each backend has its own errors, and their messages may hold secrets
            problem = f"failed ({type(error).__name__})"
        if problem:
            raise AirflowNotFoundException(
                f"Connection {conn_id!r} was not found, but {type(backend).__name__} {problem}. "
                "Check that secrets backend, then try again."
            )
