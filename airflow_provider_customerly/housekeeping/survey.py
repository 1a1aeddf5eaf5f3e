"""What is committed below a folder, from when, and how big it is."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.housekeeping.places import RUN, folder, look, within
from airflow_provider_customerly.storage import chain, lease, manifest
from airflow_provider_customerly.storage.manifest import read_manifest
from airflow_provider_customerly.sync.counts import Counts
from airflow_provider_customerly.sync.record import read_records

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_customerly.housekeeping.places import Places
    from airflow_provider_customerly.storage import Location, Manifest

_NEWEST = 10
"""Commits that are read and told of: an export of years has thousands."""

_RUN = re.compile(RUN)


@dataclass(frozen=True)
class Commit:
    """One commit, as its manifest tells. Times are UTC, in ISO form."""

    manifest: str
    mode: str
    adds_to: str | None
    """The commit that this one adds to; None if its files are the whole state."""
    partition: dict[str, str]
    rows: int
    deletions: dict[str, int]
    files: int
    bytes: int
    oldest_update: str | None
    newest_update: str | None
    watermark: str | None
    verdict: str | None
    """None for what was not read from the API."""
    reason: str | None
    finished_at: str


@dataclass(frozen=True)
class DatasetSummary:
    """A dataset: its commits, the newest first, and what it takes up."""

    name: str
    commits: int
    files: int
    bytes: int
    unnamed_files: int
    """Data files that belong to no commit: of a run at work, or of one that ended early."""
    newest: list[Commit]
    problems: list[str]


@dataclass(frozen=True)
class SyncSummary:
    """A sync and its newest run, as the run's record tells; the ledger is a dataset of its own."""

    name: str
    record: str | None
    """None if there is no record, as for the rest."""
    outcome: str | None
    error: str | None
    finished_at: str | None
    counts: dict[str, Any]
    rejects: str | None


@dataclass(frozen=True)
class Survey:
    """All that is committed below a folder, and who works on it right now."""

    path: str
    datasets: list[DatasetSummary]
    syncs: list[SyncSummary]
    at_work: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Give the survey as JSON values."""
        return asdict(self)

    def to_text(self) -> str:
        """Give the survey as lines for a terminal."""
        lines = [self.path]
        lines += [line for one in self.syncs for line in ("", *_sync_lines(one))]
        for dataset in self.datasets:
            lines += ["", *_lines(dataset)]
        lines += ["", *(f"At work: {who}" for who in self.at_work or ["nobody"])]
        return "\n".join(lines)


def survey(location: Location) -> Survey:
    """Look at all state below a folder.

    :raises ValueError: there is none.
    """
    places = look(location)
    return Survey(
        path=str(location),
        datasets=[_dataset(location, name, within(places.files, name)) for name in places.datasets],
        syncs=[_sync(location, name) for name in places.syncs],
        at_work=_at_work(location, places),
    )


def _dataset(location: Location, name: str, files: Mapping[str, int]) -> DatasetSummary:
    place = folder(location, name)
    manifests = manifest.manifest_names(place)
    runs = {one.run for one in manifests}
    data = {
        file: size for file, size in files.items() if not file.startswith((manifest.FOLDER, lease.FOLDER))
    }
    unnamed = [file for file in data if not runs & set(_RUN.findall(file))]
    newest, problems = [], []
    for one in reversed(manifests[-_NEWEST:]):
        try:
            newest.append(_commit(read_manifest(place, one.name)))
        except FileNotFoundError:  # replaced since the listing
            continue
        except ValueError as problem:
            problems.append(str(problem))
    gap = _gap(place, newest[0].manifest) if newest else ""
    if gap and gap not in problems:
        problems.append(gap)
    return DatasetSummary(
        name=name or ".",
        commits=len(manifests),
        files=len(data) - len(unnamed),
        bytes=sum(data.values()) - sum(data[file] for file in unnamed),
        unnamed_files=len(unnamed),
        newest=newest,
        problems=problems,
    )


def _gap(place: Location, name: str) -> str:
    """Say which of the commits that this one rests on is gone or damaged; blank if none is."""
    try:
        chain(place, read_manifest(place, name))
    except (FileNotFoundError, ValueError) as problem:
        return str(problem) if place.exists(name) else ""  # replaced since
    return ""


def _sync(location: Location, name: str) -> SyncSummary:
    newest = next(read_records(folder(location, name)), None)
    return SyncSummary(
        name=name or ".",
        record=newest.name if newest else None,
        outcome=newest.outcome if newest else None,
        error=newest.error if newest else None,
        finished_at=_iso(newest.finished_at) if newest else None,
        counts=newest.counts if newest else {},
        rejects=newest.rejects if newest else None,
    )


def _commit(told: Manifest) -> Commit:
    return Commit(
        manifest=told.name,
        mode=told.mode,
        adds_to=told.after or None,
        partition=told.partition,
        rows=told.rows,
        deletions=told.deletions,
        files=len(told.parts),
        bytes=sum(file.bytes for file in told.parts),
        oldest_update=_iso(told.low),
        newest_update=_iso(told.high),
        watermark=_iso(told.watermark),
        verdict=told.certificate.get("verdict"),
        reason=told.certificate.get("reason"),
        finished_at=_iso(told.finished_at) or "",
    )


def _at_work(location: Location, places: Places) -> list[str]:
    now = datetime.now(timezone.utc)
    return [
        f"{claim.owner or 'somebody'} at {name or '.'}, process {claim.process.pid} on {claim.process.host}, "
        f"last heard of at {_iso(claim.renewed_at)}"
        for name in places.leased
        for claim in lease.claims(folder(location, name))
        if not claim.is_dead("", now)
    ]


def _sync_lines(sync: SyncSummary) -> list[str]:
    if sync.record is None:
        return [f"sync {sync.name}: no run yet"]
    outcome = f"{sync.outcome} ({sync.error})" if sync.error else sync.outcome
    lines = [f"sync {sync.name}: last run {sync.finished_at}, {outcome}"]
    lines.append(f"    {Counts.from_dict(sync.counts)}")
    if sync.rejects:
        lines.append(f"    rows that were not delivered, with reasons: {sync.rejects}")
    return lines


def _lines(dataset: DatasetSummary) -> list[str]:
    lines = [f"{dataset.name}: commits: {dataset.commits}, files: {dataset.files}, {size(dataset.bytes)}"]
    if dataset.unnamed_files:
        lines.append(
            f"    {dataset.unnamed_files} files of no commit: of a run at work, or of one that ended early"
        )
    for commit in dataset.newest:
        lines += _commit_lines(commit)
    if dataset.commits > _NEWEST:
        lines.append(f"    and {dataset.commits - _NEWEST} older")
    return lines + [f"    {problem}" for problem in dataset.problems]


def _commit_lines(commit: Commit) -> list[str]:
    partition = " ".join(f"{key}={value}" for key, value in commit.partition.items())
    facts = [f"{commit.rows} rows", size(commit.bytes)]
    facts += [f"{number} {what}" for what, number in commit.deletions.items() if number]
    facts += [commit.verdict] if commit.verdict else []
    facts += [commit.reason] if commit.reason else []
    lines = [f"    {commit.finished_at}  {commit.mode} {partition}  {', '.join(facts)}"]
    if commit.newest_update:
        lines.append(f"        last_update from {commit.oldest_update} to {commit.newest_update}")
    return lines


def size(number: float) -> str:
    """Give a number of bytes in the unit a person would use."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def _iso(time: datetime | None) -> str | None:
    return f"{time.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}" if time is not None else None
