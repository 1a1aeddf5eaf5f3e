"""Find the export to compare with, and refuse one that would be misleading."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from airflow_provider_customerly.export.read import commit_as_of, locate, open_commit
from airflow_provider_customerly.values.words import duration

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow.dataset as ds

    from airflow_provider_customerly.storage import Manifest

T = TypeVar("T")

_TRIES = 3


class Export(NamedTuple):
    """A commit of an export, with its table."""

    commit: Manifest
    table: ds.Dataset
    age: timedelta
    """Time since the export started: later changes in Customerly may be missing."""

    @property
    def run(self) -> str:
        """The id of the run that wrote it."""
        return self.commit.run

    @property
    def time(self) -> datetime:
        """When the export started: every contact is as it was then, or later."""
        return self.commit.started_at


def find_export(
    path: Any,
    contact_type: str,
    base_url: str,
    *,
    max_age: timedelta | None = None,
    name: str = "compare_with",
) -> Export:
    """Open the newest export at a path.

    :param path: the ``path`` of the export, as for ``read_contacts``.
    :param base_url: the API from which the contacts must have been exported.
    :param max_age: refuse an export that started longer ago.
    :param name: the name of the argument with the path, for errors.
    :raises ValueError: there is no such export, it is of another project, or it is too old. The message says
        how to fix it.
    """
    found: list[Manifest] = []

    def newest() -> Manifest:
        found.append(commit_as_of(location, None))
        return found[-1]

    try:
        location = locate(path, contact_type)
        table = open_commit(location, newest)
    except FileNotFoundError as error:
        raise ValueError(
            f"{name} is not the path of an export of {contact_type}: {error} Export {contact_type} there "
            f"first, or set {name} to the path of the CustomerlyToParquetOperator."
        ) from None
    commit = found[-1]
    if commit.source not in ("", base_url):
        raise ValueError(
            f"{name}: the export at {location} was read from {commit.source}, not from {base_url}. Compare "
            "with an export of the same project, or fix the connection."
        )
    age = max(datetime.now(timezone.utc) - commit.started_at, timedelta(0))
    if max_age is not None and age > max_age:
        raise ValueError(
            f"{name}: the newest export at {location} is {duration(age.total_seconds())} old, more than the "
            f"{duration(max_age.total_seconds())} allowed. Run the export again, then this task, or "
            "allow older exports."
        )
    return Export(commit, table, age)


def while_it_lasts(find: Callable[[], Export], use: Callable[[Export], T]) -> T:
    """Read an export, and try again if a later one replaces it in an object store meanwhile.

    :param find: opens the newest export.
    :param use: reads it.
    """
    for _ in range(_TRIES - 1):
        export = find()
        try:
            return use(export)
        except FileNotFoundError:
            if find().run == export.run:
                raise
    return use(find())
