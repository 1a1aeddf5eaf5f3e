"""Remove commits, and what writers that died left behind.

Two rules make this safe. First, a number stays taken: the manifest of a replaced or removed commit is
overwritten as retired before its files are deleted. Second, after a commit the writer removes only parts that
no manifest names and that are older than its own manifest, by the store's clock. A writer that started before
this commit can no longer commit, and one that started after it writes newer files.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_provider_customerly.storage.location import TEMPORARY
from airflow_provider_customerly.storage.manifest import (
    MANIFESTS,
    RETIRED,
    Manifest,
    list_numbers,
    manifest_name,
    read_manifests,
)
from airflow_provider_customerly.storage.run_id import RunId

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from airflow_provider_customerly.storage.location import Found, Location

STAGING = "_staging"
STAGED = ".staged"
"""Suffix that hides a file from ``**/*.parquet`` until its commit."""
STAGING_LASTS = timedelta(days=2)
"""Staged files that dead runs left behind are removed when they are older than this."""

_PART = re.compile(rf"((?:[^/=]+=[^/]*/)+)part-\d+-{RunId.PATTERN}\.parquet")
_NUMBERS_KEPT = 1_000
_NUMBERS_LAST = timedelta(days=30)


def retire(location: Location, deleted: Location, manifest: Manifest) -> None:
    """Remove a commit and its files; its number stays taken."""
    # The manifest first, so that a crash leaves files without a manifest, never the reverse.
    location.write_atomic(manifest.name, RETIRED)
    for place, entries in ((location, manifest.files), (deleted, manifest.deleted)):
        for entry in entries:
            place.delete(entry.path)
        if entries:
            place.remove_folder(manifest.folder)


def remove_replaced(location: Location, deleted: Location, manifest: Manifest) -> None:
    """Remove what a new commit makes superfluous: earlier commits of its partition, and leftovers."""
    files, beside = location.scan(), deleted.scan()
    own = files.get(manifest.name)
    if own is None or own.size == len(RETIRED):
        return  # a newer commit has already replaced this one, and cleans up
    # Read after the listing, so that it names the listed files that another run has committed by now.
    numbers = list_numbers(location)
    living = read_manifests(location, numbers.living)
    commits = [one for one in living if isinstance(one, Manifest)]
    for other in commits:
        if other.partition == manifest.partition and other.sequence < manifest.sequence:
            retire(location, deleted, other)
    if own.modified is None:
        return  # without modification times, old and new files cannot be told apart
    ages = _ages(files, own.modified)
    if len(commits) == len(living):  # a damaged manifest may name any of the files
        _remove_strays(location, ages, {entry.path for one in commits for entry in one.files})
        named = {entry.path for one in commits for entry in one.deleted}
        _remove_strays(deleted, _ages(beside, own.modified), named)
    for name, age in ages.items():
        is_temporary = name.startswith(f"{STAGING}/") or TEMPORARY in name
        if is_temporary and age > STAGING_LASTS.total_seconds():
            location.delete(name)
            location.remove_folder(name.rpartition("/")[0])
    for number in numbers.retired:
        name = manifest_name(number)
        # No running writer can still try to take such a number.
        if number < manifest.sequence - _NUMBERS_KEPT and ages.get(name, 0.0) > _NUMBERS_LAST.total_seconds():
            location.delete(name)


def _ages(files: Mapping[str, Found], committed_at: float) -> dict[str, float]:
    """Return how many seconds before the commit each file was written; 0 if that is not known."""
    return {
        name: 0.0 if found.modified is None else committed_at - found.modified
        for name, found in files.items()
    }


def _remove_strays(location: Location, ages: Mapping[str, float], named: Collection[str]) -> None:
    """Remove parts that no manifest names and that are older than the newest manifest."""
    # A partition folder with its own state belongs to another export or sync.
    foreign = tuple(
        name.partition(marker)[0]
        for name in ages
        for marker in (f"/{MANIFESTS}/", "/sync.json")
        if marker in name
    )
    for name, age in ages.items():
        part = _PART.fullmatch(name)
        if part and age > 0 and name not in named and not name.startswith(foreign):
            location.delete(name)
            location.remove_folder(part[1])
