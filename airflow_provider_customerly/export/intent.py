"""Decide whether an export reads all contacts, or those that changed since a commit."""

from __future__ import annotations

import logging
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_customerly.storage import RefusedError
from airflow_provider_customerly.storage.intact import find_damage
from airflow_provider_customerly.storage.manifest import partition_folder

if TYPE_CHECKING:
    from airflow_provider_customerly.export.options import ExportOptions
    from airflow_provider_customerly.storage import Dataset, Location, Manifest

log = logging.getLogger(__name__)

CLOCK_STEP = timedelta(hours=1)
"""How far a clock may be set back between two exports: the hour that repeats when summer time ends."""
_EARLY = 0.01
"""Tolerance, so that a refresh is not postponed because a nightly run starts a few minutes early."""


def changes_since(
    dataset: Dataset,
    before: Manifest | None,
    options: ExportOptions,
    settings: str,
    base_url: str,
    now: datetime,
) -> datetime | None:
    """Decide what an export reads.

    The watermark is never later than the start of the export that set it, by our clock, so a contact with a
    timestamp in the future does not hide earlier changes. Reading starts an hour before the watermark, so a
    vendor's clock that is behind ours or is set back by an hour does not hide changes either.

    :param before: the newest commit.
    :return: the time from which to read changes and merge them into the table of ``before``; None to read all
        contacts.
    :raises RefusedError: the export belongs to another project, or a later day was exported already.
    """
    refuse_another_project(dataset.location, before, base_url)
    refuse_a_day_that_is_over(dataset, before, options.snapshot_date)
    if options.mode == "snapshot":
        return None
    reason = _why_all(dataset, before, options, settings, now)
    if before is None or before.watermark is None or reason:
        log.info("Full refresh: %s", reason)
        return None
    return min(before.watermark, before.started_at) - options.lookback - CLOCK_STEP


def refuse_another_project(location: Location, before: Manifest | None, base_url: str) -> None:
    """Raise ``RefusedError`` if the last export is of another project.

    A merge would mix both projects, and a comparison would count all contacts of the first as deleted.
    """
    if before is not None and before.source not in ("", base_url):
        raise RefusedError(
            f"The export at {location} was read from {before.source}, not from {base_url}. Fix the "
            "connection's host, or use a separate path for each project."
        )


def refuse_a_day_that_is_over(dataset: Dataset, before: Manifest | None, day: date) -> None:
    """Raise ``RefusedError`` if this would replace the commit of a day after a later day was exported.

    The API only shows contacts as they are now, so today's contacts would replace those of that day.
    """
    partition = {"snapshot_date": day.isoformat()}
    if (
        before is None
        or before.partition == partition
        or not dataset.location.list(partition_folder(partition))
    ):
        return
    days = [commit.partition["snapshot_date"] for commit in dataset.commits()]
    if day.isoformat() in days and day.isoformat() < (last := max(days)):
        raise RefusedError(
            f"{day} was already exported to {dataset.location}, and so was a later day. Customerly only "
            "shows contacts as they are now, so another export of that day would replace its table with "
            "today's. Nothing was changed. To read that day, use as_of. To export again, use the last "
            f"exported day, {last}, or a later one."
        )


def _why_all(
    dataset: Dataset, before: Manifest | None, options: ExportOptions, settings: str, now: datetime
) -> str:
    """Return why a full refresh is needed; blank if changes are enough."""
    if before is None:
        return "there is no earlier export to merge with"
    if options.full_refresh:
        return "full_refresh is set"
    if before.settings != settings:
        return "the columns, attributes or hashes have changed since the last export"
    if before.refreshed_at is None or before.watermark is None:
        return "the last full refresh was not proven complete"
    every = options.full_refresh_every
    if every is not None and now - before.refreshed_at >= every * (1 - _EARLY):
        return f"the last one was at {before.refreshed_at:%Y-%m-%d %H:%M} UTC"
    # A lifecycle rule of the bucket may have removed old files.
    if problem := find_damage(dataset.location, before.files):
        return f"a file of the last export is missing or damaged ({problem})"
    return ""
