"""Contacts that vanished: the API keeps no record of them, so two whole lists are compared.

A contact counts as deleted only if it is missing from a list that was proven complete **and** a look-up by
its email or user id finds it neither. A lead that became a user is told apart: it kept its id. What cannot be
looked up, because it has no email or the column was left out or hashed, stays unconfirmed.
"""

from __future__ import annotations

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from airflow_provider_customerly.client import CustomerlyNotFound
from airflow_provider_customerly.export.schema import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import numpy.typing as npt

    from airflow_provider_customerly.client import Client, ContactType
    from airflow_provider_customerly.export.schema import Columns

log = logging.getLogger(__name__)

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

_ID = "crmhero_user_id"
_MOST_LOOKUPS = 10_000
"""More would take longer than most exports, and mean that something else has happened."""


def vanished_ids(before: ds.Dataset, now: ds.Dataset) -> npt.NDArray[np.int64]:
    """Give the contacts that are in one state and not in a later one."""
    return np.setdiff1d(_ids(before), _ids(now), assume_unique=True)


def _ids(dataset: ds.Dataset) -> npt.NDArray[np.int64]:
    batches = [batch[_ID].to_numpy(zero_copy_only=False) for batch in dataset.to_batches(columns=[_ID])]
    return np.concatenate([np.empty(0, np.int64), *batches])


class Deletions:
    """Looks up contacts that vanished.

    :param before: the state they were in.
    :param columns: the columns of that state; None if they are not known, then nothing can be looked up.
    """

    def __init__(
        self, client: Client, contact_type: ContactType, before: ds.Dataset, columns: Columns | None
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._client = client
        self._contact_type = contact_type
        self._before = before
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
        if len(rows) > _MOST_LOOKUPS:
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
