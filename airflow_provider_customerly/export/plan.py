"""Decides what an export reads: the whole list, or what changed since a commit."""

from __future__ import annotations

import dataclasses
import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_customerly.storage import DamagedManifestError, Dataset, Manifest, chain

if TYPE_CHECKING:
    from airflow_provider_customerly.export.options import ExportOptions

log = logging.getLogger(__name__)

_CLOCK_STEP = timedelta(hours=1)
"""How far a clock may be set back between two exports: the hour that comes twice when summer time ends."""
_EARLY = 0.01
"""A refresh that is due is not put off because one nightly run starts some minutes earlier than another."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to read."""

    before: Manifest | None
    """The newest commit, that of an earlier try of the same incremental run left out."""
    since: datetime | None
    """Read contacts with `last_update` at or after this and add them to `before`; None for the whole list."""
    size: int = 0
    """About how many contacts the list has, if only changes are read."""


def plan_export(dataset: Dataset, options: ExportOptions, base_url: str, now: datetime) -> Plan:
    """Decide what an export reads.

    The watermark is never later than the start of the reading that found it, by our clock, so a contact with
    a stamp in the future does not hide the changes before it; and reading starts an hour before it, so a
    vendor's clock that is behind ours or is set back by an hour hides none either.

    :raises ValueError: the export is that of another project.
    """
    before = dataset.newest()
    if before is not None and before.source not in ("", base_url):
        # Added to, two projects would be mixed; compared, all contacts of the first would be told as deleted.
        raise ValueError(
            f"The export at {dataset.location} was read from {before.source}, not from {base_url}. Correct "
            "the connection's host, or give the export of another project a path of its own."
        )
    if options.mode == "snapshot":
        return Plan(before, None)
    if before is not None and before.after and before.owner and before.owner == options.owner:
        try:
            before = dataset.at(before.after)
        except FileNotFoundError:
            before = None
    base = _find_base(dataset, before)
    reason = _why_whole(before, base, options, now)
    if before is None or before.watermark is None or base is None or reason:
        log.info("Reading the whole list: %s", reason)
        return Plan(before, None)
    assert isinstance(options.lookback, timedelta)  # noqa: S101  # made so by the options
    since = min(before.watermark, before.started_at) - options.lookback - _CLOCK_STEP
    return Plan(before, since, base.rows)


def _find_base(dataset: Dataset, before: Manifest | None) -> Manifest | None:
    """Give the whole state that a commit rests on; None if it is gone or damaged."""
    if before is None:
        return None
    try:
        commits = chain(dataset.location, before)
    except (FileNotFoundError, DamagedManifestError):
        return None
    sizes = dataset.location.list()  # a rule of the bucket may have removed what is old
    files = [entry for commit in commits for entry in commit.files]
    return commits[0] if all(sizes.get(entry.path) == entry.bytes for entry in files) else None


def _why_whole(before: Manifest | None, base: Manifest | None, options: ExportOptions, now: datetime) -> str:
    """Say why changes are not enough; blank if they are."""
    if before is None:
        return "there is no earlier export to add to"
    if options.full_refresh:
        return "full_refresh is set"
    if before.settings != options.settings:
        return "the columns, attributes or hashes are not those of the last export"
    if before.watermark is None or before.refreshed_at is None:
        return "the last export has no watermark"
    every = options.full_refresh_every
    if isinstance(every, timedelta) and now - before.refreshed_at >= every * (1 - _EARLY):
        return f"the last time was {before.refreshed_at:%Y-%m-%d %H:%M} UTC"
    if base is None:
        return "an export that the last one rests on is gone or damaged"
    if base.certificate.get("verdict") != "complete":
        return "the last whole list was not proven complete"
    return ""
