"""The file that makes a set of data files one committed state."""

from __future__ import annotations

import re
from datetime import datetime  # noqa: TC003  (msgspec reads the annotations)
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from airflow_provider_customerly.storage.location import Location

FOLDER = "_manifests"
FORMAT_VERSION = 1
_NAME = re.compile(rf"{FOLDER}/(\d{{8,}})-([0-9A-Za-z-]+)\.json")


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A data file of a commit."""

    path: str
    """Relative to the dataset."""
    rows: int
    bytes: int
    sha256: str
    row_groups: int = 1


class Column(msgspec.Struct, frozen=True):
    """A column of a dataset; `type` is the name Arrow gives it."""

    name: str
    type: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A commit: which files hold the data, what they hold and how they came about. Times are UTC.

    A manifest names files of its own run only.
    """

    format_version: int = FORMAT_VERSION
    sequence: int = 0
    """Order of the commits of a dataset, from 1; set when it is committed."""
    run: str
    owner: str = ""
    """What made it, the same for each try of it; see `Lease`."""
    mode: str
    after: str = ""
    """Name of the manifest that this one adds to; blank if its files are the whole state."""
    contact_type: str = ""
    partition: dict[str, str]
    """Folder of the files, for instance `{"snapshot_date": "2026-11-23"}`."""
    files: list[FileEntry]
    rows: int
    schema: list[Column]
    low: datetime | None = None
    """Oldest `last_update` in the files."""
    high: datetime | None = None
    """Newest `last_update` in the files."""
    watermark: datetime | None = None
    """Up to this instant, every change was seen; a later reading of changes starts here."""
    since: datetime | None = None
    """Only contacts with `last_update` at or after this were read; None if all were."""
    refreshed_at: datetime | None = None
    """When the reading of the whole list began that this state rests on."""
    settings: str = ""
    """Fingerprint of what decides the content of a row; rows of different settings do not mix."""
    deleted: list[FileEntry] = []
    """Files that tell which contacts of the state before were deleted."""
    deletions: dict[str, int] = {}
    """Number of contacts of the state before that are not in this one, by what became of them."""
    certificate: dict[str, Any] = {}
    """What the reading can prove about its completeness; empty for what was not read from the API."""
    misfits: dict[str, int] = {}
    """Number of values that did not fit the type of their column, by column."""
    source: str = ""
    versions: dict[str, str] = {}
    started_at: datetime
    finished_at: datetime

    @property
    def name(self) -> str:
        """Name of the manifest's own file, relative to the dataset."""
        return f"{FOLDER}/{self.sequence:08d}-{self.run}.json"

    @property
    def parts(self) -> list[FileEntry]:
        """All files of this commit."""
        return [*self.files, *self.deleted]

    @property
    def folder(self) -> str:
        """Name of the folder its files lie in, relative to the dataset."""
        return partition_folder(self.partition)

    def encode(self) -> bytes:
        """Give the manifest as JSON a person can read."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)


def partition_folder(partition: dict[str, str]) -> str:
    """Give the name of a partition's folder in the form every reader of datasets knows (`key=value/...`)."""
    return "/".join(f"{key}={value}" for key, value in partition.items())


class ManifestName(NamedTuple):
    """What the name of a manifest tells; they sort by age."""

    sequence: int
    run: str
    name: str


def manifest_names(location: Location) -> list[ManifestName]:
    """List the manifests of a dataset, oldest commit first."""
    matches = (_NAME.fullmatch(name) for name in location.list(FOLDER))
    return sorted(ManifestName(int(match[1]), match[2], match[0]) for match in matches if match)


class DamagedManifestError(ValueError):
    """A manifest cannot be read: restore it or delete it."""


def read_manifest(location: Location, name: str) -> Manifest:
    """Read a manifest.

    :raises DamagedManifestError: it is damaged.
    :raises ValueError: it was written by a later version of this package.
    """
    content = location.read(name)
    try:
        version = msgspec.json.decode(content, type=_Version).format_version
        if version > FORMAT_VERSION:
            raise ValueError(
                f"{name} at {location} has format version {version}, this package reads up to "
                f"{FORMAT_VERSION}. Upgrade airflow-provider-customerly."
            )
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise DamagedManifestError(
            f"{name} at {location} is damaged ({error}). "
            "Restore it, or delete it to fall back to the commit before."
        ) from error


class _Version(msgspec.Struct):
    format_version: int
