"""Find deleted contacts. The API keeps no record of deletions, so two full exports are compared.

A contact counts as deleted only if it is missing from a list that was proven complete **and** a look-up by
email or ``user_id`` does not find it. A lead that became a user is recognised by its id, which is in the
export of users, or by its email, unless that was changed since. A contact that cannot be looked up, because
it has no email or the column was left out or hashed, stays unconfirmed. If a look-up fails, the contact stays
unconfirmed until the next full refresh tries again.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_customerly.client import CustomerlyAuthError, CustomerlyError, CustomerlyNotFound
from airflow_provider_customerly.export.columns import DELETIONS
from airflow_provider_customerly.export.read import open_intact, stream_batches
from airflow_provider_customerly.storage import Dataset, RefusedError
from airflow_provider_customerly.values.words import count

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    import numpy.typing as npt
    import pyarrow.dataset as ds

    from airflow_provider_customerly.client import Client, ContactType
    from airflow_provider_customerly.export.columns import Columns
    from airflow_provider_customerly.storage import Location, Manifest

log = logging.getLogger(__name__)

UNREADABLE = (FileNotFoundError, RefusedError, pa.ArrowException)
"""Errors of opening a table whose files are missing or damaged."""

Fate = Literal["deleted", "became_user", "still_there", "unconfirmed", "failed"]

NOBODY = pa.record_batch([pa.nulls(0, field.type) for field in DELETIONS], schema=DELETIONS)

_ID = "crmhero_user_id"
_MOST_LOOKUPS = 10_000
"""More look-ups would take longer than the export, unless they are few compared to all contacts."""
_MOST_LOOKED_UP = 0.1
"""Share of the known contacts that are looked up even if they are more than ``_MOST_LOOKUPS``."""
_MOST_FAILURES = 10
"""Failed look-ups after which the rest is left for the next full refresh: each may use up a retry budget."""
_CONTROLS = 5
"""Contacts of the list that are looked up to check that look-ups work; some may be deleted meanwhile."""
_MOST_TABLES = 30
"""Number of earlier tables to search for contacts whose look-up has failed so far."""


class Known(NamedTuple):
    """The known contacts and the tables that have them, newest first."""

    tables: list[tuple[Manifest, ds.Dataset]]
    ids: npt.NDArray[np.int64]

    @property
    def in_newest(self) -> int:
        """Number of contacts in the newest table."""
        return self.tables[0][0].rows if self.tables else 0


def known_contacts(dataset: Dataset, before: Manifest) -> Known:
    """Return the contacts of the newest commit, and earlier ones that may still turn out to be deleted.

    A commit that is not settled may lack contacts that no export has resolved yet, because its table was not
    proven complete or look-ups failed. Contacts that an unsettled commit found to be deleted are left out.

    :raises FileNotFoundError: a file of the newest commit is missing. Or another error of ``UNREADABLE``.
    """
    tables = [(before, open_intact(dataset.location, before.files))]
    found = ids_of(tables[0][1])
    if before.is_settled:
        return Known(tables, found)
    told = [_told(dataset, before)]
    earlier = [one for one in reversed(dataset.commits()) if one.sequence < before.sequence]
    for commit in earlier[:_MOST_TABLES]:
        try:
            table = open_intact(dataset.location, commit.files)
            found = np.union1d(found, ids_of(table))
        except UNREADABLE as error:
            log.warning("Skipped %s in the search for deleted contacts: %s", commit.name, error)
            continue
        tables.append((commit, table))
        if commit.is_settled:
            break
        told.append(_told(dataset, commit))
    return Known(tables, np.setdiff1d(found, np.concatenate(told)))


def ids_of(table: ds.Dataset) -> npt.NDArray[np.int64]:
    """Return the ids of the contacts in a table."""
    batches = stream_batches(table, [_ID])
    ids = [batch[_ID].to_numpy(zero_copy_only=False) for batch in batches]
    return np.concatenate([np.empty(0, np.int64), *ids])


def known_users(folder: Location, ids: npt.NDArray[np.int64]) -> set[int]:
    """Return the leads that are in the newest export of users in the same folder."""
    dataset = Dataset(folder.join("users"))
    if not len(ids):
        return set()
    try:
        newest = dataset.newest()
        if newest is None:
            return set()
        return set(np.intersect1d(ids, ids_of(open_intact(dataset.location, newest.files))).tolist())
    except UNREADABLE as error:
        log.warning(
            "Could not read the export of users, so leads that became users are only recognised by email: %s",
            error,
        )
        return set()


def carried_over(
    dataset: Dataset, partition: dict[str, str], found: pa.RecordBatch, now: ds.Dataset
) -> list[pa.RecordBatch]:
    """Add the deletions of the commits that the new one replaces, whose files will be removed.

    :param now: the new table; contacts that are in it again are left out.
    """
    told = [found]
    for commit in dataset.commits():
        if commit.partition == partition and commit.deleted:
            try:
                deleted = open_intact(dataset.deleted, commit.deleted)
            except UNREADABLE as error:
                log.warning("Deletions that %s recorded are lost: %s", commit.name, error)
                continue
            known = np.concatenate([batch[_ID].to_numpy() for batch in told])
            still = np.setdiff1d(ids_of(deleted), np.union1d(ids_of(now), known))
            told += deleted.to_batches(filter=pc.field(_ID).isin(pa.array(still, pa.int64())))
    return told


def _told(dataset: Dataset, commit: Manifest) -> npt.NDArray[np.int64]:
    return ids_of(open_intact(dataset.deleted, commit.deleted)) if commit.deleted else np.empty(0, np.int64)


class Deletions:
    """Look up vanished contacts.

    :param columns: the columns of the new table.
    :param settings: their fingerprint; values from a table with other settings cannot be looked up.
    :param users: ids of leads that are known to be users by now.
    """

    def __init__(
        self,
        client: Client,
        contact_type: ContactType,
        known: Known,
        columns: Columns,
        settings: str,
        users: Collection[int],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.is_settled = True
        """False if a look-up failed that may succeed later."""
        self._client = client
        self._contact_type = contact_type
        self._known = known
        self._settings = settings
        self._most = max(_MOST_LOOKUPS, int(known.in_newest * _MOST_LOOKED_UP))
        self._users = users
        self._handles: list[str] = [
            name
            for name in (("email", "user_id") if contact_type == "users" else ("email",))
            if name in columns.fields and name not in columns.hashed
        ]
        self._failures = 0
        self._failing = threading.Lock()

    def confirm(
        self, ids: npt.NDArray[np.int64], present: npt.NDArray[np.int64], now: datetime
    ) -> pa.RecordBatch:
        """Look up contacts and return those that were deleted.

        :param present: contacts that are still in the list. A few of them are looked up as a check: if none
            is found, look-ups prove nothing, and all vanished contacts stay unconfirmed.
        """
        rows = self._rows(ids)
        fates = self._find_fates(rows)
        if "deleted" in fates and not self._finds_any(present):
            log.warning(
                "Look-ups do not even find contacts that are in the list, so no deletion is confirmed"
            )
            fates = ["failed" if fate == "deleted" else fate for fate in fates]
        for fate in fates:
            self.counts["unconfirmed" if fate == "failed" else fate] += 1
        if "failed" in fates:
            self.is_settled = False
            log.warning(
                "%s could not be looked up. The next full refresh tries again",
                count(fates.count("failed"), "vanished contact"),
            )
        if self.counts["still_there"]:
            log.warning(
                "The complete list lacks %s that a look-up finds",
                count(self.counts["still_there"], "contact"),
            )
        gone = [row for row, fate in zip(rows, fates, strict=True) if fate == "deleted"]
        told = [{**row, "confirmed_at": now} for row in gone]
        return pa.RecordBatch.from_pylist(
            [{name: row[name] for name in DELETIONS.names} for row in told], DELETIONS
        )

    def _finds_any(self, present: npt.NDArray[np.int64]) -> bool:
        rows = [
            row for row in self._rows(present[-_CONTROLS:]) if any(row.get(name) for name in self._handles)
        ]
        return not rows or any(self._find_fate(row) == "still_there" for row in rows)

    def _rows(self, ids: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
        """Return the newest known version of each contact."""
        rows: list[dict[str, Any]] = []
        missing = ids
        for commit, table in self._known.tables:
            handles = self._handles if commit.settings == self._settings else []
            wanted = pc.field(_ID).isin(pa.array(missing, pa.int64()))
            found = table.to_table(columns=[_ID, "last_update", *handles], filter=wanted).to_pylist()
            rows += [{**row, "last_seen": commit.finished_at} for row in found]
            missing = np.setdiff1d(missing, np.array([row[_ID] for row in found], np.int64))
            if not len(missing):
                break
        return rows

    def _find_fates(self, rows: Sequence[dict[str, Any]]) -> list[Fate]:
        if len(rows) > self._most:
            log.warning(
                "%d contacts vanished at once, too many to look up. None of them counts as deleted", len(rows)
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
        handles: dict[str, Any] = {name: row[name] for name in self._handles if row.get(name)}
        if not handles:
            return "unconfirmed"
        if self._failures >= _MOST_FAILURES:
            return "failed"
        try:
            return self._look_up(row[_ID], handles)
        except CustomerlyError as error:
            if isinstance(error, CustomerlyAuthError):
                raise
            with self._failing:
                self._failures += 1
            log.warning("Could not look up a vanished contact: %s", type(error).__name__)
            return "failed"

    def _look_up(self, contact_id: int, handles: dict[str, Any]) -> Fate:
        for name, value in handles.items():
            if self._is_there(contact_id, self._contact_type, {name: value}):
                return "still_there"
        # Users never become leads, but leads become users every day.
        if self._contact_type == "leads" and self._is_there(contact_id, "users", handles):
            return "became_user"
        return "deleted"

    def _is_there(self, contact_id: int, contact_type: ContactType, handle: dict[str, Any]) -> bool:
        try:
            found = self._client.get_contact(contact_type, **handle)
        except CustomerlyNotFound:
            return False
        # Another contact may have the email by now.
        return str(found.get(_ID, contact_id)) == str(contact_id)
