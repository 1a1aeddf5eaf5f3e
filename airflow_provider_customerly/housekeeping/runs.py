"""The runs of exports and syncs, from their manifests and records."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.housekeeping.places import find_places, folder
from airflow_provider_customerly.storage import DamagedManifestError
from airflow_provider_customerly.storage.manifest import list_numbers, read_manifests
from airflow_provider_customerly.sync.records import read_records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from airflow_provider_customerly.storage import Location, Manifest
    from airflow_provider_customerly.sync.records import RunRecord

NEWEST = 30
"""Number of runs shown for each export and sync: an hourly sync has thousands a year."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run. Fields that its kind does not have are None. Times are UTC."""

    kind: str
    """``export`` or ``sync``."""
    name: str
    """Folder of the export or sync, relative to the given folder."""
    run: str
    started_at: datetime
    finished_at: datetime
    outcome: str
    """For a sync, see ``RunRecord``. For an export, its verdict, or ``committed`` if it has none."""
    error: str | None = None
    rows: int | None
    """Rows that a sync read from its source, or that an export committed."""
    new: int | None = None
    changed: int | None = None
    gone: int | None = None
    """Contacts that were no longer in an export, or rows that were no longer in the source of a sync."""
    unchanged: int | None = None
    sent: int | None = None
    refused: int | None = None
    invalid: int | None = None
    unknown: int | None = None
    requests: int | None = None
    mode: str | None = None
    partition: str | None = None
    bytes: int | None = None
    rejects: str | None = None
    """Name of a file, relative to the sync's state."""
    plan: str | None = None
    """Name of a file, relative to the sync's state."""


def list_runs(location: Location, newest: int = NEWEST) -> Iterator[Run]:
    """Yield the newest runs of each export and sync below a folder, newest first.

    :raises RefusedError: there is no export or sync.
    """
    places = find_places(location)
    ledgers = {f"{name}/ledger".lstrip("/") for name in places.syncs}
    for name in places.syncs:
        for record in islice(read_records(folder(location, name)), newest):
            yield _of_sync(name, record)
    for name in places.datasets:
        if name not in ledgers:
            there = folder(location, name)
            living = list_numbers(there).living
            for one in reversed(list(read_manifests(there, living[-newest:]))):
                if not isinstance(one, DamagedManifestError):  # ``state show`` reports those
                    yield _of_export(name, one)


_SAME_NAME = ("new", "changed", "unchanged", "sent", "refused", "invalid", "unknown")


def _of_sync(name: str, record: RunRecord) -> Run:
    counts: dict[str, Any] = record.counts
    return Run(
        kind="sync",
        name=name or ".",
        run=record.run,
        started_at=record.started_at,
        finished_at=record.finished_at,
        outcome=record.outcome,
        error=record.error,
        rows=counts.get("rows_read"),
        gone=counts.get("vanished"),
        requests=record.requests,
        rejects=record.rejects,
        plan=record.plan,
        **{key: counts.get(key) for key in _SAME_NAME},
    )


def _of_export(name: str, told: Manifest) -> Run:
    return Run(
        kind="export",
        name=name or ".",
        run=told.run,
        started_at=told.started_at,
        finished_at=told.finished_at,
        outcome=told.certificate.get("verdict") or "committed",
        rows=told.rows,
        new=told.changes.get("new"),
        changed=told.changes.get("changed"),
        gone=told.changes.get("gone"),
        mode=told.mode,
        partition=told.folder,
        bytes=sum(file.bytes for file in told.files),
    )
