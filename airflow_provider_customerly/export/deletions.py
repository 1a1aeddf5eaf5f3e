"""Contacts that vanished: the API keeps no record of them, so two whole lists are compared.

A contact counts as deleted only if it is missing from a list that was proven complete **and** a look-up by
its email or user id finds it neither. A lead that became a user is told apart: it kept its id, by which the
export of users beside that of leads knows it, and its email, unless that was changed since. What cannot be
looked up, because it has no email or the column was left out or hashed, stays unconfirmed.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from airflow_provider_customerly.client import CustomerlyNotFound
from airflow_provider_customerly.export.current import open_files, open_state
from airflow_provider_customerly.export.schema import TIMESTAMP
from airflow_provider_customerly.storage import DamagedManifestError, Dataset, commits_in, is_added_to

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    import numpy.typing as npt

    from airflow_provider_customerly.client import Client, ContactType
    from airflow_provider_customerly.export.schema import Columns
    from airflow_provider_customerly.storage import Location

log = logging.getLogger(__name__)

UNREADABLE = (FileNotFoundError, DamagedManifestError, pa.ArrowInvalid)
"""What opening a state raises when files of it are gone or damaged."""

Fate = Literal["deleted", "became_user", "still_there", "unconfirmed"]

SCHEMA = pa.schema(
    [
        pa.field("crmhero_user_id", pa.int64(), nullable=False),
        pa.field("last_update", TIMESTAMP),
        pa.field("last_seen", TIMESTAMP),
        pa.field("confirmed_at", TIMESTAMP),
    ]
)
"""A deleted contact: who, its last known version, when that was exported, when the look-up found nobody."""
NOBODY = pa.RecordBatch.from_pylist([], SCHEMA)

_ID = "crmhero_user_id"
_MOST_LOOKUPS = 10_000
"""More, unless they are few of all, would take longer than the export."""
_MOST_LOOKED_UP = 0.1
"""Share of the known contacts that are looked up even if they are more than that."""


def vanished_ids(before: ds.Dataset, now: ds.Dataset) -> npt.NDArray[np.int64]:
    """Give the contacts that are in one state and not in a later one."""
    return np.setdiff1d(_ids(before), _ids(now), assume_unique=True)


def _ids(dataset: ds.Dataset) -> npt.NDArray[np.int64]:
    batches = [batch[_ID].to_numpy(zero_copy_only=False) for batch in dataset.to_batches(columns=[_ID])]
    return np.concatenate([np.empty(0, np.int64), *batches])


def known_users(folder: Location, ids: npt.NDArray[np.int64]) -> set[int]:
    """Give the leads that the newest export of users in the same folder has."""
    location = folder.join("users")
    if not len(ids):
        return set()
    try:
        newest = Dataset(location).newest()
        if newest is None:
            return set()
        return set(np.intersect1d(ids, _ids(open_state(location, newest))).tolist())
    except UNREADABLE as error:
        log.warning("Leads that became users are looked up by email only: %s", error)
        return set()


def carried_over(
    location: Location, partition: dict[str, str], found: pa.RecordBatch, now: ds.Dataset
) -> list[pa.RecordBatch]:
    """Add to deletions those told by the commits that the new one replaces: they go with their files.

    :param now: the new list; who is in it again is not told.
    """
    told = [found]
    for commit in commits_in(location, partition):
        if commit.deleted and not is_added_to(location, commit):
            known = np.concatenate([batch[_ID].to_numpy() for batch in told])
            with contextlib.suppress(FileNotFoundError):
                deleted = open_files(location, commit.deleted)
                still = pa.array(np.setdiff1d(vanished_ids(deleted, now), known), pa.int64())
                told += deleted.to_batches(filter=ds.field(_ID).isin(still))
    return told


class Deletions:
    """Looks up contacts that vanished.

    :param before: the state they were in.
    :param known: number of contacts in it.
    :param columns: the columns of that state; None if they are not known, then nothing can be looked up.
    :param users: ids of those that are users by now, as far as that is known.
    """

    def __init__(
        self,
        client: Client,
        contact_type: ContactType,
        before: ds.Dataset,
        known: int,
        columns: Columns | None,
        users: Collection[int],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._client = client
        self._contact_type = contact_type
        self._before = before
        self._most = max(_MOST_LOOKUPS, int(known * _MOST_LOOKED_UP))
        self._users = users
        self._handles: list[str] = [
            name
            for name in (("email", "user_id") if contact_type == "users" else ("email",))
            if columns and name in columns.fields and name not in columns.hashed
        ]

    def confirm(self, ids: npt.NDArray[np.int64], last_seen: datetime, now: datetime) -> pa.RecordBatch:
        """Look contacts up and give those that were deleted."""
        rows = self._before.to_table(
            columns=[_ID, "last_update", *self._handles], filter=ds.field(_ID).isin(pa.array(ids, pa.int64()))
        ).to_pylist()
        fates = self._find_fates(rows)
        self.counts.update(fates)
        if self.counts["still_there"]:
            log.warning(
                "%d contacts are missing from a list that was read completely, and are found by look-up",
                self.counts["still_there"],
            )
        gone = [row for row, fate in zip(rows, fates, strict=True) if fate == "deleted"]
        return pa.RecordBatch.from_pylist(
            [
                {
                    _ID: row[_ID],
                    "last_update": row["last_update"],
                    "last_seen": last_seen,
                    "confirmed_at": now,
                }
                for row in gone
            ],
            SCHEMA,
        )

    def _find_fates(self, rows: Sequence[dict[str, Any]]) -> list[Fate]:
        if len(rows) > self._most:
            log.warning(
                "%d contacts vanished at once, too many to look up: none of them counts as deleted", len(rows)
            )
            return ["unconfirmed"] * len(rows)
        with ThreadPoolExecutor(
            self._client.max_concurrency, thread_name_prefix="customerly-look-up"
        ) as pool:
            try:
                return list(pool.map(self._find_fate, rows))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._client.cancel()
                raise

    def _find_fate(self, row: dict[str, Any]) -> Fate:
        if row[_ID] in self._users:
            return "became_user"
        handles: dict[str, Any] = {name: row[name] for name in self._handles if row[name]}
        if not handles:
            return "unconfirmed"
        for name, value in handles.items():
            if self._is_there(row[_ID], self._contact_type, {name: value}):
                return "still_there"
        if self._contact_type == "leads" and self._is_there(row[_ID], "users", handles):
            return "became_user"
        return "deleted"

    def _is_there(self, contact_id: int, contact_type: ContactType, handle: dict[str, Any]) -> bool:
        try:
            found = self._client.get_contact(contact_type, **handle)
        except CustomerlyNotFound:
            return False
        # Somebody else may have the email by now.
        return str(found.get(_ID, contact_id)) == str(contact_id)
