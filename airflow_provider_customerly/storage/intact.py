"""Whether committed files are still what was committed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_customerly.storage.location import Location
    from airflow_provider_customerly.storage.manifest import FileEntry

_CHUNK = 1 << 20


def find_damage(location: Location, entries: Sequence[FileEntry]) -> str | None:
    """Return which of a commit's files is not what was committed, and how it differs; None if all are.

    An object store checks what it keeps by itself, so there only the sizes are compared.
    """
    if location.is_local:
        problems = ((entry, find_problem(location, entry)) for entry in entries)
    else:
        sizes = location.list(entries[0].path.rpartition("/")[0]) if entries else {}
        problems = ((one, "gone or cut short" * (sizes.get(one.path) != one.bytes)) for one in entries)
    return next((f"{location}/{one.path}: {problem}" for one, problem in problems if problem), None)


def find_problem(location: Location, entry: FileEntry) -> str | None:
    """Read a file and return how it differs from what its manifest says; None if it does not."""
    try:
        checksum, length = digest(location, entry.path)
    except (FileNotFoundError, NotADirectoryError):
        return "it is missing"
    except IsADirectoryError:
        return "it is a folder"
    if length != entry.bytes:
        return f"it has {length} bytes, but {entry.bytes} were committed"
    if checksum != entry.sha256:
        return f"its checksum is {checksum}, but {entry.sha256} was committed"
    return None


def digest(location: Location, name: str) -> tuple[str, int]:
    """Return the SHA-256 and the size of a file."""
    checksum, length = hashlib.sha256(), 0
    with location.open(name) as stream:
        while chunk := stream.read(_CHUNK):
            checksum.update(chunk)
            length += len(chunk)
    return checksum.hexdigest(), length
