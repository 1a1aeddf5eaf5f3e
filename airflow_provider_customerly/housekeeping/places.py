"""Where below a folder there is state, by the names of its files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from airflow_provider_customerly.export.staging import FOLDER as STAGING
from airflow_provider_customerly.storage import lease, manifest
from airflow_provider_customerly.storage.location import TEMPORARY
from airflow_provider_customerly.sync.state import IDENTITY, Identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_customerly.storage import Location

RUN = r"\d{8}T\d{6}(?:\d{6})?Z-[0-9a-f]{8}"
_DATASET = re.compile(rf"(?:(.+)/)?{manifest.FOLDER}/\d{{8,}}-{RUN}\.json")
_LEASES = re.compile(rf"(?:(.+)/)?{lease.FOLDER}/{RUN}\.json")
_SYNC = re.compile(rf"(?:(.+)/)?{re.escape(IDENTITY)}")
_FOLDER = rf"{manifest.FOLDER}|{lease.FOLDER}|{STAGING}/[0-9a-f]+|journal|rejects|plans|runs"
_OURS = re.compile(
    rf"(?:.+/)?(?:part-\d+-{RUN}\.parquet"
    rf"|(?:{_FOLDER})/(?:\d+-)?{RUN}(?:-\d+)?\.(?:json|parquet|arrow)"
    rf"|{re.escape(TEMPORARY)}[^/]+)"
)


class Places(NamedTuple):
    """Folders by what they are, as names relative to the folder looked into; blank is that folder itself."""

    files: Mapping[str, int]
    """Every file below it, with its size."""
    datasets: list[str]
    syncs: list[str]
    leased: list[str]
    """Folders in which somebody works, or died."""


def look(location: Location) -> Places:
    """Find the state below a folder.

    :raises ValueError: there is none.
    """
    files = location.list()
    syncs = [name for name in _folders(_SYNC, files) if is_sync(folder(location, name))]
    found = Places(files, _folders(_DATASET, files), syncs, _folders(_LEASES, files))
    if not found.datasets and not found.syncs:
        raise ValueError(
            f"Nothing is committed at {location}. Give the path of an export, or the state_path of a sync."
        )
    return found


def is_sync(place: Location) -> bool:
    """Tell whether a folder is that of a sync: another program may call a file sync.json too."""
    try:
        msgspec.json.decode(place.read(IDENTITY), type=Identity)
    except FileNotFoundError:
        return False
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return bool(manifest.manifest_names(place.join("ledger")))  # then it is a damaged one of ours
    return True


def is_ours(name: str) -> bool:
    """Tell by its name whether exports and syncs made a file: all but `sync.json` have that of a run."""
    return _OURS.fullmatch(name) is not None


def folder(location: Location, name: str) -> Location:
    """Give the folder of a name in `Places`."""
    return location.join(name) if name else location


def within(files: Mapping[str, int], name: str) -> dict[str, int]:
    """Give the files below a folder of `Places`, by their names relative to it."""
    start = f"{name}/" if name else ""
    return {file[len(start) :]: size for file, size in files.items() if file.startswith(start)}


def _folders(pattern: re.Pattern[str], files: Iterable[str]) -> list[str]:
    return sorted({match[1] or "" for file in files if (match := pattern.fullmatch(file))})
