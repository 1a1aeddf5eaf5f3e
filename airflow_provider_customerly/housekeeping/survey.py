"""Survey what is committed below a folder, when, and how big it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.housekeeping.places import find_places, folder, within
from airflow_provider_customerly.storage import DamagedManifestError, Dataset, RefusedError, lock
from airflow_provider_customerly.storage.manifest import MANIFESTS, list_numbers, read_manifests
from airflow_provider_customerly.sync.counts import Counts
from airflow_provider_customerly.sync.records import read_records
from airflow_provider_customerly.values.words import count, size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_customerly.housekeeping.places import Places
    from airflow_provider_customerly.storage import Location, Manifest

_NEWEST = 10
"""Number of commits shown: over the years an export may have a thousand."""


@dataclass(frozen=True)
class Commit:
    """One commit, from its manifest. Times are UTC in ISO format."""

    manifest: str
    mode: str
    partition: dict[str, str]
    rows: int
    deletions: dict[str, int]
    files: int
    bytes: int
    oldest_update: str | None
    newest_update: str | None
    watermark: str | None
    verdict: str | None
    """None if nothing was read from the API."""
    reason: str | None
    finished_at: str


@dataclass(frozen=True)
class DatasetSummary:
    """A dataset: its commits, newest first, and its size."""

    name: str
    commits: int
    files: int
    bytes: int
    unnamed_files: int
    """Data files that belong to no commit: orphans, or files of a running run."""
    newest: list[Commit]
    problems: list[str]


@dataclass(frozen=True)
class SyncSummary:
    """A sync and its newest run, from the run's record. The ledger is listed as a dataset."""

    name: str
    record: str | None
    """None if there is no record; then all other fields are empty."""
    outcome: str | None
    error: str | None
    finished_at: str | None
    counts: dict[str, Any]
    rejects: str | None


@dataclass(frozen=True)
class Survey:
    """Everything committed below a folder, and the runs that are active there."""

    path: str
    datasets: list[DatasetSummary]
    syncs: list[SyncSummary]
    at_work: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the survey as JSON values."""
        return asdict(self)

    def to_text(self) -> str:
        """Return the survey as text for a terminal."""
        lines = [self.path]
        lines += [line for one in self.syncs for line in ("", *_sync_lines(one))]
        for dataset in self.datasets:
            lines += ["", *_lines(dataset)]
        lines += ["", *(f"At work: {who}" for who in self.at_work or ["nobody"])]
        return "\n".join(lines)


def survey(location: Location) -> Survey:
    """Survey the exports and syncs below a folder.

    :raises RefusedError: there are none.
    """
    places = find_places(location)
    return Survey(
        path=str(location),
        datasets=[_dataset(location, name, within(places.files, name)) for name in places.datasets],
        syncs=[_sync(location, name) for name in places.syncs],
        at_work=_at_work(location, places),
    )


def _dataset(location: Location, name: str, files: Mapping[str, int]) -> DatasetSummary:
    dataset = Dataset(folder(location, name))
    commits, problems = [], []
    try:
        for one in read_manifests(dataset.location, list_numbers(dataset.location).living):
            if isinstance(one, DamagedManifestError):
                problems.append(str(one))
            else:
                commits.append(one)
    except RefusedError as problem:
        problems.append(str(problem))
    data = {file: size for file, size in files.items() if not file.startswith((MANIFESTS, lock.FOLDER))}
    named = {entry.path for one in commits for entry in one.files}
    for entry in commits[-1].files if commits else ():
        if data.get(entry.path) != entry.bytes:
            problems.append(f"{entry.path}, a file of the newest commit, is missing or truncated")
    return DatasetSummary(
        name=name or ".",
        commits=len(commits),
        files=len(named & set(data)),
        bytes=sum(size for file, size in data.items() if file in named),
        unnamed_files=len(set(data) - named),
        newest=[_commit(one) for one in reversed(commits[-_NEWEST:])],
        problems=problems,
    )


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
        partition=told.partition,
        rows=told.rows,
        deletions=told.deletions,
        files=len(told.files),
        bytes=sum(file.bytes for file in told.files),
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
        f"{claim.owner or 'a run'} at {name or '.'}, process {claim.process.pid} on {claim.process.host}, "
        f"last active at {_iso(claim.renewed_at)}"
        for name in places.leased
        for claim in lock.claims(folder(location, name))
        if not claim.is_dead(now)
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
            f"    files that belong to no commit: {dataset.unnamed_files}; orphans, or files of a running run"
        )
    for commit in dataset.newest:
        lines += _commit_lines(commit)
    if dataset.commits > _NEWEST:
        lines.append(f"    and {dataset.commits - _NEWEST} older")
    return lines + [f"    {problem}" for problem in dataset.problems]


def _commit_lines(commit: Commit) -> list[str]:
    partition = " ".join(f"{key}={value}" for key, value in commit.partition.items())
    facts = [count(commit.rows, "row"), size(commit.bytes)]
    facts += [f"{number} {what}" for what, number in commit.deletions.items() if number]
    facts += [commit.verdict] if commit.verdict else []
    facts += [commit.reason] if commit.reason else []
    lines = [f"    {commit.finished_at}  {commit.mode} {partition}  {', '.join(facts)}"]
    if commit.newest_update:
        lines.append(f"        last_update from {commit.oldest_update} to {commit.newest_update}")
    return lines


def _iso(time: datetime | None) -> str | None:
    return f"{time.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}" if time is not None else None
