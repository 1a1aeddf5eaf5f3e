"""Find the exports and syncs below a folder by their file names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from airflow_provider_customerly.storage import RefusedError, RunId, lock
from airflow_provider_customerly.storage.location import TEMPORARY
from airflow_provider_customerly.storage.manifest import MANIFESTS
from airflow_provider_customerly.storage.removal import STAGED, STAGING
from airflow_provider_customerly.sync.damage import IDENTITY
from airflow_provider_customerly.sync.state import Identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_customerly.storage import Location

_RUN = rf"(?:{RunId.PATTERN}|\d{{8}}T\d{{6}}Z-[0-9a-f]{{8}})"
"""A run id, or one of version 0.1."""
_DATASET = re.compile(rf"(?:(.+)/)?{MANIFESTS}/\d{{8,}}(?:-{_RUN})?\.json")
_LEASES = re.compile(rf"(?:(.+)/)?{lock.FOLDER}/{_RUN}\.json")
_SYNC = re.compile(rf"(?:(.+)/)?(?:{re.escape(IDENTITY)}|ledger/(?:{MANIFESTS}|state=current)/.+)")
"""A sync whose identity is gone is still one, to be reset."""
_FOLDER = rf"{MANIFESTS}|{lock.FOLDER}|{STAGING}/[0-9a-f]+|journal|rejects|plans|undo|runs|differences"
_OURS = re.compile(
    rf"(?:.+/)?(?:part-\d+-{_RUN}\.parquet(?:{re.escape(STAGED)})?"
    rf"|{MANIFESTS}/\d{{8,}}\.json"
    rf"|(?:{_FOLDER})/(?:\d+-)?{_RUN}(?:-\d+)?\.(?:json|parquet|arrow)"
    rf"|{re.escape(TEMPORARY)}[^/]+)"
)


class Places(NamedTuple):
    """Folders by kind, as names relative to the given folder; blank is that folder itself."""

    files: Mapping[str, int]
    """All files below it, with their sizes."""
    datasets: list[str]
    syncs: list[str]
    leased: list[str]
    """Folders with a claim of a running or crashed run."""


def find_places(location: Location) -> Places:
    """Find the exports and syncs below a folder.

    :raises RefusedError: there are none.
    """
    files = location.list()
    syncs = [name for name in _folders(_SYNC, files) if is_sync(folder(location, name))]
    found = Places(files, _folders(_DATASET, files), syncs, _folders(_LEASES, files))
    if not found.datasets and not found.syncs:
        raise RefusedError(
            f"There is no export or sync at {location}. Pass the path of an export or the state_path of a "
            "sync."
        )
    return found


def is_sync(place: Location) -> bool:
    """Return whether a folder belongs to a sync: other programs may also have a file named sync.json."""
    try:
        msgspec.json.decode(place.read(IDENTITY), type=Identity)
    except (FileNotFoundError, IsADirectoryError, msgspec.MsgspecError, UnicodeDecodeError):
        return bool(place.list("ledger"))  # if so, it is our file, but damaged
    return True


def is_ours(name: str) -> bool:
    """Return whether a file name is one that exports and syncs use."""
    return _OURS.fullmatch(name) is not None


def folder(location: Location, name: str) -> Location:
    """Return the folder with a name from ``Places``."""
    return location.join(name) if name else location


def within(files: Mapping[str, int], name: str) -> dict[str, int]:
    """Return the files below a folder of ``Places``, by names relative to it."""
    start = f"{name}/" if name else ""
    return {file[len(start) :]: size for file, size in files.items() if file.startswith(start)}


def _folders(pattern: re.Pattern[str], files: Iterable[str]) -> list[str]:
    return sorted({match[1] or "" for file in files if (match := pattern.fullmatch(file))})
