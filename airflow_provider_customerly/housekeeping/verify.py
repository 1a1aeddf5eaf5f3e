"""Verify that committed files are unchanged."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.housekeeping.places import find_places, folder
from airflow_provider_customerly.storage import Dataset, RefusedError
from airflow_provider_customerly.storage.intact import find_problem
from airflow_provider_customerly.storage.manifest import list_numbers, read_manifest
from airflow_provider_customerly.values.words import count, size

if TYPE_CHECKING:
    from airflow_provider_customerly.storage import Location, Manifest


@dataclass
class Verification:
    """The outcome: how much was read, and the problems found."""

    path: str
    commits: int = 0
    files: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def is_intact(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON values."""
        return asdict(self)

    def to_text(self) -> str:
        """Return the outcome as text for a terminal."""
        read = f"Read {size(self.bytes)} in {count(self.files, 'file')} of {count(self.commits, 'commit')}"
        verdict = "All files are intact." if self.is_intact else f"{count(len(self.problems), 'problem')}."
        return "\n".join([self.path, *self.problems, f"{read}. {verdict}"])


def verify(location: Location) -> Verification:
    """Read every file named by a manifest below a folder, and compare it with the manifest.

    :raises RefusedError: there is no export or sync.
    """
    outcome = Verification(str(location))
    for name in find_places(location).datasets:
        dataset = Dataset(folder(location, name))
        try:
            living = list_numbers(dataset.location).living
        except RefusedError as problem:
            outcome.problems.append(str(problem))
            continue
        for number in living:
            try:
                manifest = read_manifest(dataset.location, number)
            except FileNotFoundError:  # replaced since the listing
                continue
            except RefusedError as problem:
                outcome.problems.append(str(problem))
                continue
            _verify_commit(dataset, manifest, outcome)
    return outcome


def _verify_commit(dataset: Dataset, manifest: Manifest, outcome: Verification) -> None:
    problems = []
    for place, entries in ((dataset.location, manifest.files), (dataset.deleted, manifest.deleted)):
        for entry in entries:
            problem = find_problem(place, entry)
            if problem is None:
                outcome.files += 1
                outcome.bytes += entry.bytes
            else:
                problems.append(f"{place.path(entry.path)}: {problem}")
    if problems and manifest.sequence not in list_numbers(dataset.location).living:
        return  # replaced while it was read
    outcome.commits += 1
    outcome.problems += problems
