"""Keeps the newest version of each contact while a moving list is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_customerly.client.keyset import KeySet
from airflow_provider_customerly.client.records import Record, stamp_of

if TYPE_CHECKING:
    from collections.abc import Sequence


class Fold:
    """Remembers which contacts were given out, and which of them came again in a newer version.

    `superseded` maps a contact's id to the `last_update` of its newest version: versions given out before
    with an older stamp are to be dropped when the reading is over. Only contacts that changed while the
    list was read get there, so it stays small.
    """

    def __init__(self) -> None:
        self.superseded: dict[int, str] = {}
        self.duplicates = 0
        self._given = KeySet()

    def __len__(self) -> int:
        return len(self._given)

    def fresh(self, rows: Sequence[Record]) -> list[Record]:
        """Take rows that are newer than any version given out before; all of them are given out."""
        for row, known in zip(rows, self._given.add([row.crmhero_user_id for row in rows]), strict=True):
            if known:
                self.duplicates += 1
                self.superseded[row.crmhero_user_id] = stamp_of(row)
        return list(rows)

    def unknown(self, rows: Sequence[Record]) -> list[Record]:
        """Take rows that may have been given out before; only contacts never seen are given out."""
        known = self._given.add([row.crmhero_user_id for row in rows])
        self.duplicates += sum(known)
        return [row for row, old in zip(rows, known, strict=True) if not old]
