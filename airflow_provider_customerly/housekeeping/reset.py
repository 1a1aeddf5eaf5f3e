"""Remove the exports and syncs below a folder, unless a sync is running there."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_customerly.housekeeping.places import find_places, folder, is_ours, is_sync
from airflow_provider_customerly.storage import Dataset, Location, Lock, RunId
from airflow_provider_customerly.storage.commit import DELTA_LOG
from airflow_provider_customerly.storage.manifest import MANIFESTS
from airflow_provider_customerly.sync.damage import IDENTITY
from airflow_provider_customerly.values.words import count, size

if TYPE_CHECKING:
    from collections.abc import Iterable


class _File(NamedTuple):
    location: Location
    name: str
    size: int


class Removal:
    """The files to remove, listed once. Files that a run writes later are not removed.

    :param location: folder of an export, or of the state of syncs.
    :raises RefusedError: there is no export or sync.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        places = find_places(location)
        self._roots = _topmost([*places.datasets, *places.syncs])
        self._locked = sorted({*places.syncs, *places.leased})
        starts = tuple(f"{root}/" if root else "" for root in self._roots)
        identities = {_below(name, IDENTITY) for name in places.syncs}
        logs = tuple(_below(name, f"{DELTA_LOG}/") for name in places.datasets)
        self._files = [
            _File(location, name, length)
            for name, length in places.files.items()
            if name in identities or name.startswith(logs) or (name.startswith(starts) and is_ours(name))
        ]
        for name in places.datasets:
            beside = Dataset(folder(location, name)).deleted
            self._files += [
                _File(beside, one, length) for one, length in beside.list().items() if is_ours(one)
            ]

    def __str__(self) -> str:
        where = ", ".join(str(folder(self._location, root)) for root in self._roots)
        total = size(sum(file.size for file in self._files))
        return f"{count(len(self._files), 'file')}, {total}, at {where}"

    def run(self) -> None:
        """Remove the files.

        The manifests go first, then the Delta log, so that a reader sees either all or nothing. After an
        interruption, the next reset removes the rest.

        :raises LockedError: a sync is running there. Nothing was removed.
        """
        run = str(RunId.new())
        with ExitStack() as locks:
            for place in [*self._around(), *(folder(self._location, name) for name in self._locked)]:
                locks.enter_context(Lock(place, run))
            for file in sorted(self._files, key=_order):
                file.location.delete(file.name)

    def _around(self) -> Iterable[Location]:
        """Return the parent folder if this folder is part of the state of a sync."""
        root, _, _ = self._location.root.rpartition("/")
        above = Location(self._location.fs, root)
        return [above] if root and is_sync(above) else []


def _order(file: _File) -> tuple[bool, bool, str]:
    return f"{MANIFESTS}/" not in file.name, f"{DELTA_LOG}/" not in file.name, file.name


def _below(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name


def _topmost(names: list[str]) -> list[str]:
    """Remove names of folders inside others."""
    if "" in names:
        return [""]
    return sorted({name for name in names if not any(name.startswith(f"{other}/") for other in names)})
