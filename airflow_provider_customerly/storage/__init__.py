"""Commit several files as one, on a disk or in an object store: parts first, then the manifest."""

from airflow_provider_customerly.storage.commit import CommitConflictError, Dataset, Write
from airflow_provider_customerly.storage.location import Location
from airflow_provider_customerly.storage.lock import Lock, LockedError, LockLostError
from airflow_provider_customerly.storage.manifest import (
    Column,
    DamagedManifestError,
    FileEntry,
    Manifest,
    OldFormatError,
)
from airflow_provider_customerly.storage.parquet import VERSIONS, ParquetFile, read_batches
from airflow_provider_customerly.storage.refused import RefusedError
from airflow_provider_customerly.storage.run_id import RunId

__all__ = [
    "VERSIONS",
    "Column",
    "CommitConflictError",
    "DamagedManifestError",
    "Dataset",
    "FileEntry",
    "Location",
    "Lock",
    "LockLostError",
    "LockedError",
    "Manifest",
    "OldFormatError",
    "ParquetFile",
    "RefusedError",
    "RunId",
    "Write",
    "read_batches",
]
