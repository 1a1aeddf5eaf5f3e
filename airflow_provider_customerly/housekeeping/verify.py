"""Whether every committed file is still what was committed."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.housekeeping.places import folder, look
from airflow_provider_customerly.housekeeping.survey import size
from airflow_provider_customerly.storage.manifest import manifest_names, read_manifest

if TYPE_CHECKING:
    from airflow_provider_customerly.storage import FileEntry, Location, Manifest

_CHUNK = 1 << 20


@dataclass
class Verification:
    """The outcome: how much was read, and what is wrong with which file."""

    path: str
    commits: int = 0
    files: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def is_intact(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Give the outcome as JSON values."""
        return asdict(self)

    def to_text(self) -> str:
        """Give the outcome as lines for a terminal."""
        read = f"Read {size(self.bytes)} in {self.files} files of {self.commits} commits"
        verdict = "All as committed." if self.is_intact else f"{len(self.problems)} wrong."
        return "\n".join([self.path, *self.problems, f"{read}. {verdict}"])


def verify(location: Location) -> Verification:
    """Read every file that a manifest below a folder names, and compare it with the manifest.

    Each commit that another one adds to must be there too.

    :raises ValueError: there is no state.
    """
    outcome = Verification(str(location))
    for name in look(location).datasets:
        place = folder(location, name)
        for one in manifest_names(place):
            try:
                manifest = read_manifest(place, one.name)
            except FileNotFoundError:  # replaced since the listing
                continue
            except ValueError as problem:
                outcome.problems.append(str(problem))
                continue
            _verify_commit(place, manifest, outcome)
    return outcome


def _verify_commit(place: Location, manifest: Manifest, outcome: Verification) -> None:
    problems = []
    for entry in manifest.parts:
        problem = _problem(place, entry, outcome)
        if problem is not None:
            problems.append(f"{place.path(entry.path)}: {problem}")
    if manifest.after and not place.exists(manifest.after):
        problems.append(f"{place.path(manifest.name)}: {manifest.after}, which it adds to, is gone")
    if problems and not place.exists(manifest.name):
        return  # replaced while it was read
    outcome.commits += 1
    outcome.problems += problems


def _problem(place: Location, entry: FileEntry, outcome: Verification) -> str | None:
    checksum, length = hashlib.sha256(), 0
    try:
        with place.open(entry.path) as stream:
            while chunk := stream.read(_CHUNK):
                checksum.update(chunk)
                length += len(chunk)
    except FileNotFoundError:
        return "it is gone"
    outcome.files += 1
    outcome.bytes += length
    if length != entry.bytes:
        return f"it has {length} bytes, {entry.bytes} were committed"
    if checksum.hexdigest() != entry.sha256:
        return f"its checksum is {checksum.hexdigest()}, {entry.sha256} was committed"
    return None
