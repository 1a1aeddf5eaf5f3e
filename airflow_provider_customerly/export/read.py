"""Reads the newest committed state of a dataset."""

from __future__ import annotations

from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import FSSpecHandler, LocalFileSystem, PyFileSystem

from airflow_provider_customerly.export.schema import FIELDS
from airflow_provider_customerly.storage import Dataset, Location


def read_contacts(path: Any, contact_type: str) -> ds.Dataset:
    """Open the newest committed export; nothing that is being written is seen.

    :param path: the `path` of the export: text, `os.PathLike`, or Airflow's `ObjectStoragePath`.
    :param contact_type: `users` or `leads`.
    :raises ValueError: the path is blank or the contact type unknown.
    :raises FileNotFoundError: nothing has been committed there yet.
    """
    if contact_type not in FIELDS:
        raise ValueError(f"Unknown contact type {contact_type!r}. Choose one of: {', '.join(FIELDS)}.")
    location = Location.of(path).join(contact_type)
    manifest = Dataset(location).newest()
    if manifest is None:
        raise FileNotFoundError(
            f"No export of {contact_type} has been committed at {location}. Run one, or check the path."
        )
    filesystem = LocalFileSystem() if location.is_local else PyFileSystem(FSSpecHandler(location.fs))
    paths = [location.path(entry.path) for entry in manifest.files]
    schema = pq.read_schema(paths[0], filesystem=filesystem)
    return ds.dataset(paths, schema=schema, format="parquet", filesystem=filesystem)
