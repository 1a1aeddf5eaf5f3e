"""The manifest of a commit, a JSON file: which files hold the data, and how they were made."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_customerly.storage.refused import RefusedError

if TYPE_CHECKING:
    from airflow_provider_customerly.storage.location import Location

MANIFESTS = "_manifests"
FORMAT_VERSION = 2
RETIRED = b'{"retired": true}'
"""Content of a manifest whose commit was replaced or removed. The file size alone identifies it."""

_NAME = re.compile(rf"{MANIFESTS}/(\d{{8,}})\.json")
_NAME_IN_0_1 = re.compile(rf"{MANIFESTS}/\d{{8,}}-[0-9A-Za-z-]+\.json")


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A data file of a commit."""

    path: str
    """Relative to the dataset."""
    rows: int
    bytes: int
    sha256: str


class Column(msgspec.Struct, frozen=True):
    """A column of a dataset; ``type`` is Arrow's name of the type."""

    name: str
    type: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A commit. Times are UTC. Its files always hold the whole state, even after an incremental read."""

    format_version: int = FORMAT_VERSION
    sequence: int = 0
    """Position among the commits of the dataset, from 1; set by the commit."""
    run: str
    owner: str = ""
    """What made it, such as DAG, run and task: the same for all attempts."""
    mode: str
    """What was read: ``snapshot`` for all contacts, ``incremental`` for those that changed."""
    contact_type: str = ""
    partition: dict[str, str]
    """Folder of the files, for instance ``{"snapshot_date": "2026-11-23"}``."""
    files: list[FileEntry]
    rows: int
    schema: list[Column]
    low: datetime | None = None
    """Oldest ``last_update`` in the files."""
    high: datetime | None = None
    """Newest ``last_update`` in the files."""
    watermark: datetime | None = None
    """Every change up to this time was seen; the next incremental export starts here."""
    since: datetime | None = None
    """Only contacts with ``last_update`` at or after this were read; None if all were."""
    refreshed_at: datetime | None = None
    """When the last full refresh began; None if it was not proven complete."""
    settings: str = ""
    """Fingerprint of the settings that affect rows; rows of different settings are never mixed."""
    changes: dict[str, int] = {}
    """Number of rows by how they differ from the previous commit: ``new``, ``changed``, ``gone``."""
    deleted: list[FileEntry] = []
    """Files that list deleted contacts, relative to the dataset's ``_deleted`` sibling."""
    deletions: dict[str, int] = {}
    """Number of contacts that vanished since the previous commit, by what became of them."""
    is_settled: bool = True
    """False while a later export must find out what became of vanished contacts."""
    certificate: dict[str, Any] = {}
    """What the export can prove about its completeness; empty if nothing was read from the API."""
    misfits: dict[str, int] = {}
    """Number of values that did not fit the type of their column, by column."""
    source: str = ""
    versions: dict[str, str] = {}
    started_at: datetime
    finished_at: datetime

    @property
    def name(self) -> str:
        """Name of the manifest file, relative to the dataset."""
        return manifest_name(self.sequence)

    @property
    def folder(self) -> str:
        """Name of the folder of its files, relative to the dataset."""
        return partition_folder(self.partition)

    def encode(self) -> bytes:
        """Return the manifest as human-readable JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)


class DamagedManifestError(RefusedError):
    """A manifest is damaged: restore it or delete it.

    :param name: name of its file.
    :param problem: what is wrong with it.
    """

    def __init__(self, location: Location, name: str, problem: str) -> None:
        super().__init__(
            f"{location}/{name} is damaged: {problem}. "
            "Restore it, or delete it to fall back to the previous commit."
        )
        self.name = name
        self.problem = problem


class OldFormatError(RefusedError):
    """An older version wrote what is there, and this one does not read it."""


def partition_folder(partition: dict[str, str]) -> str:
    """Return the name of a partition's folder, ``key=value/...``, as all engines understand it."""
    return "/".join(f"{key}={value}" for key, value in partition.items())


def manifest_name(sequence: int) -> str:
    """Return the file name of the manifest with this number."""
    return f"{MANIFESTS}/{sequence:08d}.json"


class Numbers(msgspec.Struct, frozen=True):
    """The numbers of a dataset's commits, in order."""

    living: list[int]
    """Existing commits."""
    retired: list[int]
    """Replaced or removed commits, whose numbers stay taken."""

    @property
    def last(self) -> int:
        """The highest number taken; 0 if none is."""
        return max([0, *self.living[-1:], *self.retired[-1:]])


def list_numbers(location: Location) -> Numbers:
    """List the commits of a dataset.

    :raises OldFormatError: version 0.1 wrote it.
    """
    living: list[int] = []
    retired: list[int] = []
    for name, size in location.list(MANIFESTS).items():
        if match := _NAME.fullmatch(name):
            (retired if size == len(RETIRED) else living).append(int(match[1]))
        elif _NAME_IN_0_1.fullmatch(name):
            raise OldFormatError(
                f"{location} was written by version 0.1 of airflow-provider-customerly, and this version "
                "cannot read its files. Use another path, or remove them with "
                f"`airflow customerly state reset {location}`."
            )
    return Numbers(sorted(living), sorted(retired))


def refuse_folders(location: Location, last: int) -> None:
    """Raise if a folder is in the place of a manifest after the last one: no commit could take its number.

    :raises DamagedManifestError: there is one.
    """
    for name in location.folders(MANIFESTS):
        if (match := _NAME.fullmatch(name)) and int(match[1]) > last:
            raise DamagedManifestError(location, name, "it is a folder")


def read_manifest(location: Location, sequence: int) -> Manifest:
    """Read a manifest.

    :raises FileNotFoundError: it does not exist, or was retired.
    :raises DamagedManifestError: it is damaged.
    :raises RefusedError: a newer version of this package wrote it.
    """
    return _decode(location, sequence, location.read(manifest_name(sequence)))


def read_manifests(location: Location, sequences: list[int]) -> list[Manifest | DamagedManifestError]:
    """Read several manifests, except those that were retired meanwhile."""
    found: list[Manifest | DamagedManifestError] = []
    contents = location.read_many([manifest_name(number) for number in sequences])
    for number, content in zip(sequences, contents, strict=True):
        if content is not None and content != RETIRED:
            try:
                found.append(_decode(location, number, content))
            except DamagedManifestError as error:
                found.append(error)
    return found


def _decode(location: Location, sequence: int, content: bytes) -> Manifest:
    name = manifest_name(sequence)
    if content == RETIRED:
        raise FileNotFoundError(f"{name} at {location} was replaced or removed.")
    try:
        version = msgspec.json.decode(content, type=_Version).format_version
        if version > FORMAT_VERSION:
            raise RefusedError(
                f"{name} at {location} has format version {version}, but this package only reads versions up "
                f"to {FORMAT_VERSION}. Upgrade airflow-provider-customerly."
            )
        return msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedManifestError(location, name, str(error)) from error


class _Version(msgspec.Struct):
    format_version: int
