"""The commits of a dataset: what each rests on, which one was current when, and which may go."""

from __future__ import annotations

import contextlib
import logging
from datetime import date, datetime, time, timedelta, timezone
from typing import TYPE_CHECKING

from airflow_provider_customerly.storage.manifest import (
    FOLDER,
    DamagedManifestError,
    Manifest,
    ManifestName,
    manifest_names,
    partition_folder,
    read_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_customerly.storage.location import Location

log = logging.getLogger(__name__)


def chain(location: Location, manifest: Manifest) -> list[Manifest]:
    """Give the commits that make up the state of `manifest`: a whole state first, then what was added.

    :raises FileNotFoundError: one of them is gone.
    """
    found = [manifest]
    while found[-1].after:
        try:
            found.append(read_manifest(location, found[-1].after))
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{found[-1].after} at {location}, which {found[-1].name} adds to, is gone. "
                "Ask for another commit, or make a full export."
            ) from error
    return found[::-1]


def find_commit(location: Location, as_of: int | str | date) -> Manifest:
    """Find an earlier commit.

    :param as_of: its sequence, the name of its manifest, or an instant (UTC unless it says otherwise) at
        which it was the newest; a day without a time is the end of that day. All of it may be text.
    :raises FileNotFoundError: there is none.
    """
    names = manifest_names(location)
    asked, as_of = as_of, _meant(as_of)
    if isinstance(as_of, datetime):
        instant = as_of if as_of.tzinfo else as_of.replace(tzinfo=timezone.utc)
        for name in reversed(names):
            manifest = read_manifest(location, name.name)
            if manifest.finished_at <= instant:
                return manifest
    else:
        wanted = as_of if isinstance(as_of, int) else f"{FOLDER}/{as_of.removeprefix(f'{FOLDER}/')}"
        for name in reversed(names):
            if wanted in (name.sequence, name.name, name.name.removesuffix(".json")):
                return read_manifest(location, name.name)
    there = f"from {names[0].sequence} to {names[-1].sequence}" if names else "none"
    raise FileNotFoundError(
        f"There is no commit as of {asked} at {location}. It may have been replaced or removed. "
        f"Sequences there: {there}."
    )


def _meant(as_of: int | str | date) -> int | str | datetime:
    """Read text as the number or instant it may be, and a day as its end."""
    if isinstance(as_of, str):
        if as_of.isdecimal():
            return int(as_of)
        for kind in (date, datetime):
            with contextlib.suppress(ValueError):
                return _meant(kind.fromisoformat(as_of.replace("Z", "+00:00")))  # Python 3.10 knows no Z
    elif isinstance(as_of, date) and not isinstance(as_of, datetime):
        return datetime.combine(as_of, time.max, timezone.utc)
    return as_of


def commits_in(location: Location, partition: dict[str, str]) -> list[Manifest]:
    """Give the commits with files in a partition, oldest first."""
    here = " ".join(location.list(partition_folder(partition)))
    # There may be thousands of others.
    return list(_readable(location, (name for name in manifest_names(location) if name.run in here)))


def newest_whole(location: Location, later_than: str = "") -> Manifest | None:
    """Give the newest commit whose files are a whole state; None if there is none.

    :param later_than: name of a manifest; only later commits are looked at.
    """
    names = [name for name in reversed(manifest_names(location)) if name.name > later_than]
    return next((manifest for manifest in _readable(location, names) if not manifest.after), None)


def _readable(location: Location, names: Iterable[ManifestName]) -> Iterator[Manifest]:
    for name in names:
        try:
            manifest = read_manifest(location, name.name)
        except FileNotFoundError:
            continue  # replaced since the listing
        except DamagedManifestError as error:
            log.warning("Passed over: %s", error)
            continue
        yield manifest


def is_added_to(location: Location, manifest: Manifest) -> bool:
    """Tell whether another commit rests on this one."""
    later = [name for name in manifest_names(location) if name.sequence > manifest.sequence]
    for name in later:
        try:
            if read_manifest(location, name.name).after == manifest.name:
                return True
        except FileNotFoundError:
            continue  # replaced since the listing
        except DamagedManifestError:
            return True  # it may
    return False


def remove_commit(location: Location, manifest: Manifest) -> None:
    """Remove a commit and its files."""
    # The manifest first: a crash in between leaves orphans, never a manifest without its files.
    location.delete(manifest.name)
    for entry in manifest.parts:
        location.delete(entry.path)
    for folder in {entry.path.rpartition("/")[0] for entry in manifest.parts}:
        location.remove_folder(folder)


def remove_old_commits(
    location: Location, keep_manifests: int | None, keep_days: float | None, now: datetime
) -> int:
    """Remove commits that nobody asked to keep and no kept one needs; the newest always stays.

    :param keep_manifests: how many of the newest to keep.
    :param keep_days: keep those of so many days, and the one that was the newest when they began: each state
        of these days can be read. What either of both keeps is kept.
    :return: how many were removed.
    """
    if keep_manifests is None and keep_days is None:
        return 0
    manifests = list(_readable(location, manifest_names(location)))
    by_name = {manifest.name: manifest for manifest in manifests}
    count = max(1, keep_manifests or 0)
    since = now - timedelta(days=keep_days) if keep_days is not None else now
    recent = [one for one in manifests if one.finished_at >= since]
    if keep_days is not None:
        recent += [one for one in manifests if one.finished_at < since][-1:]
    kept = set[str]()
    for manifest in [*manifests[-count:], *recent]:
        needed: Manifest | None = manifest
        while needed is not None and needed.name not in kept:
            kept.add(needed.name)
            needed = by_name.get(needed.after)
    # The newest first: what another one adds to must not go before it.
    old = [manifest for manifest in reversed(manifests) if manifest.name not in kept]
    for manifest in old:
        remove_commit(location, manifest)
    if old:
        log.info("Removed %d old commits at %s", len(old), location)
    return len(old)
