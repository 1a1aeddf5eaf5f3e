"""Errors for files of a sync's state that cannot be read."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pyarrow as pa

from airflow_provider_customerly.storage import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_customerly.storage import Location

IDENTITY = "sync.json"


@contextlib.contextmanager
def reading(location: Location, name: str) -> Iterator[None]:
    """Convert Arrow errors about an unreadable file to ``OSError``, because a retry may help."""
    try:
        yield
    except pa.ArrowException as error:
        raise OSError(f"Could not read all of {location.path(name)}: {error}. Try again.") from error


class DamagedStateError(RefusedError):
    """A file that a sync needs to know what Customerly holds is damaged, foreign or missing.

    :param location: the folder of the file.
    :param name: the name of the file.
    :param problem: what is wrong with it.
    """

    def __init__(self, location: Location, name: str, problem: str) -> None:
        state = str(location).removesuffix("/ledger")
        is_folder = name in location.folders(name.rpartition("/")[0])
        first = "Remove the folder. Then restore" if is_folder else "Restore"
        super().__init__(
            f"{location}/{name} is damaged: {problem}. Nothing was sent. {first} the file from a backup. Or "
            f"start over with `airflow customerly state reset {state}`: the next run then sends every row "
            "again, but does not notice contacts that have left the source meanwhile."
        )
