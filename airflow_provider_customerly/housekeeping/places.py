"""Where below a folder there is state, by the names of its files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_customerly.storage import lease, manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_customerly.storage import Location

_DATASET = re.compile(rf"(?:(.+)/)?{manifest.FOLDER}/[^/]+\.json")
_LEASES = re.compile(rf"(?:(.+)/)?{lease.FOLDER}/[^/]+\.json")
_SYNC = re.compile(r"(?:(.+)/)?sync\.json")


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
    found = Places(files, _folders(_DATASET, files), _folders(_SYNC, files), _folders(_LEASES, files))
    if not found.datasets and not found.syncs:
        raise ValueError(
            f"Nothing is committed at {location}. Give the path of an export, or the state_path of a sync."
        )
    return found


def folder(location: Location, name: str) -> Location:
    """Give the folder of a name in `Places`."""
    return location.join(name) if name else location


def within(files: Mapping[str, int], name: str) -> dict[str, int]:
    """Give the files below a folder of `Places`, by their names relative to it."""
    start = f"{name}/" if name else ""
    return {file[len(start) :]: size for file, size in files.items() if file.startswith(start)}


def _folders(pattern: re.Pattern[str], files: Iterable[str]) -> list[str]:
    return sorted({match[1] or "" for file in files if (match := pattern.fullmatch(file))})
