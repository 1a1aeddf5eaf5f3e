"""Reads what was committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds

from airflow_provider_customerly.export.current import open_files, open_state
from airflow_provider_customerly.export.deletions import SCHEMA as DELETIONS
from airflow_provider_customerly.export.schema import FIELDS
from airflow_provider_customerly.storage import Dataset, Location, find_commit, manifest_names

if TYPE_CHECKING:
    from datetime import date

    from airflow_provider_customerly.storage import Manifest

_TRIES = 3


def read_contacts(path: Any, contact_type: str, *, as_of: int | str | date | None = None) -> ds.Dataset:
    """Open the newest version of each contact; nothing that is being written is seen.

    It is read as a stream, over a whole export and the changes committed after it. Only the ids of changed
    contacts are held in memory.

    :param path: the `path` of the export: text, `os.PathLike`, or Airflow's `ObjectStoragePath`.
    :param contact_type: `users` or `leads`.
    :param as_of: the state of an earlier commit: its sequence, the name of its manifest, or an instant at
        which it was the newest (UTC unless it says otherwise; a day without a time is the end of that day).
        All of it may be text.
    :raises ValueError: the path is blank or the contact type unknown.
    :raises FileNotFoundError: nothing has been committed there yet, or not as of then, or it was removed.
    """
    location = locate(path, contact_type)
    for _ in range(_TRIES):
        manifest = commit_as_of(location, as_of)
        try:
            return open_state(location, manifest)
        except FileNotFoundError:
            if as_of is not None or Dataset(location).newest() == manifest:
                raise  # else it was replaced since: there is a newer one
    return open_state(location, commit_as_of(location, as_of))


def read_deletions(path: Any, contact_type: str) -> ds.Dataset:
    """Open what is told about deleted contacts, by all commits that are kept.

    The columns are `crmhero_user_id`, `last_update` (its last known version), `last_seen` (when that was
    exported) and `confirmed_at`.

    :param path: the `path` of the export, as for `read_contacts`.
    :raises ValueError: the path is blank or the contact type unknown.
    """
    location = locate(path, contact_type)
    dataset = Dataset(location)
    files = [entry for name in manifest_names(location) for entry in dataset.at(name.name).deleted]
    return open_files(location, files) if files else ds.dataset(DELETIONS.empty_table())


def locate(path: Any, contact_type: str) -> Location:
    """Give the folder of one type of contacts.

    :raises ValueError: the path is blank or the contact type unknown.
    """
    if contact_type not in FIELDS:
        raise ValueError(f"Unknown contact type {contact_type!r}. Choose one of: {', '.join(FIELDS)}.")
    return Location.of(path).join(contact_type)


def commit_as_of(location: Location, as_of: int | str | date | None) -> Manifest:
    """Find the newest commit, or an earlier one.

    :raises FileNotFoundError: there is none.
    """
    if as_of is not None:
        return find_commit(location, as_of)
    manifest = Dataset(location).newest()
    if manifest is None:
        raise FileNotFoundError(
            f"No export has been committed at {location}. Run one, or check the path and the contact type."
        )
    return manifest
