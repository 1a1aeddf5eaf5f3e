"""Removing the state below a folder, unless somebody works on it."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from airflow_provider_customerly.housekeeping.places import folder, is_ours, is_sync, look
from airflow_provider_customerly.housekeeping.survey import size
from airflow_provider_customerly.storage import Location, Lock, manifest
from airflow_provider_customerly.sync.state import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Iterable


class Removal:
    """The files that go, as found at first: what a run starts to write later is not among them.

    :param location: folder of an export, or of the state of syncs.
    :raises ValueError: there is no state.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        places = look(location)
        self._roots = _topmost([*places.datasets, *places.syncs])
        self._leased = sorted({*self._roots, *places.leased})
        starts = tuple(f"{root}/" if root else "" for root in self._roots)
        identities = {f"{name}/{IDENTITY}" if name else IDENTITY for name in places.syncs}
        self._files = {
            name: length
            for name, length in places.files.items()
            if name in identities or (name.startswith(starts) and is_ours(name))
        }

    def __str__(self) -> str:
        where = ", ".join(str(folder(self._location, root)) for root in self._roots)
        return f"{len(self._files)} files, {size(sum(self._files.values()))}, at {where}"

    def run(self) -> None:
        """Remove them.

        The manifests go first: a reader sees the state or none, and what an interruption leaves is removed by
        the next run or reset.

        :raises LockedError: somebody works there; nothing was removed.
        """
        run = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        with ExitStack() as locks:
            for place in [*self._around(), *(folder(self._location, name) for name in self._leased)]:
                locks.enter_context(Lock(place, run))
            for name in sorted(self._files, key=_is_no_manifest):
                self._location.delete(name)

    def _around(self) -> Iterable[Location]:
        """Give the folder that holds this one, if it is part of the state of a sync."""
        root, _, _ = self._location.root.rpartition("/")
        above = Location(self._location.fs, root)
        return [above] if root and is_sync(above) else []


def _topmost(names: list[str]) -> list[str]:
    """Leave out what lies within another."""
    if "" in names:
        return [""]
    return sorted({name for name in names if not any(name.startswith(f"{other}/") for other in names)})


def _is_no_manifest(name: str) -> tuple[bool, str]:
    return f"{manifest.FOLDER}/" not in name, name
