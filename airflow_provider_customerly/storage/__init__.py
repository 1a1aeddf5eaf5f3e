"""Files that commit as one, on any disk or object store: parts first, then the manifest that names them."""

from airflow_provider_customerly.storage.dataset import Dataset
from airflow_provider_customerly.storage.history import (
    chain,
    commits_in,
    find_commit,
    is_added_to,
    newest_whole,
    remove_old_commits,
)
from airflow_provider_customerly.storage.lease import Lease, LeaseLostError
from airflow_provider_customerly.storage.location import Location
from airflow_provider_customerly.storage.lock import Lock, LockedError
from airflow_provider_customerly.storage.manifest import (
    Column,
    DamagedManifestError,
    FileEntry,
    Manifest,
    manifest_names,
)
from airflow_provider_customerly.storage.write import Write

__all__ = [
    "Column",
    "DamagedManifestError",
    "Dataset",
    "FileEntry",
    "Lease",
    "LeaseLostError",
    "Location",
    "Lock",
    "LockedError",
    "Manifest",
    "Write",
    "chain",
    "commits_in",
    "find_commit",
    "is_added_to",
    "manifest_names",
    "newest_whole",
    "remove_old_commits",
]
