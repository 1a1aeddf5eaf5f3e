"""Keep the newest version of each contact while a changing list is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from airflow_provider_customerly.reading.instants import number_of
from airflow_provider_customerly.reading.records import Record, stamp_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_BUFFER = 1 << 15
_NONE = -2


class Fold:
    """Track which contacts were returned, and in which version.

    The newest version of a contact is the one with the latest ``last_update``, because pages may come in any
    order and from a lagging replica. ``superseded`` maps a contact's id to the ``last_update`` of its newest
    version. At the end of the read, drop older versions that were returned before. It stays small, because it
    only has contacts that changed during the read.
    """

    def __init__(self) -> None:
        self.superseded: dict[int, str] = {}
        self.duplicates = 0
        self.watched: str | None = None
        """Versions with an earlier timestamp are added to ``late`` when they are first seen."""
        self.late: list[str] = []
        self._older: set[tuple[int, int]] = set()  # versions that came after a newer one of their contact
        self._versions = _Versions()

    def __len__(self) -> int:
        return len(self._versions)

    def take(self, rows: Sequence[Record]) -> list[Record]:
        """Add the rows of a page, and return those that are new contacts or newer versions."""
        keys = [row.crmhero_user_id for row in rows]
        stamps = [stamp_of(row) for row in rows]
        numbers = [number_of(stamp) for stamp in stamps]
        given = []
        for row, stamp, number, before in zip(
            rows, stamps, numbers, self._versions.put(keys, numbers), strict=True
        ):
            key = row.crmhero_user_id
            self.duplicates += before != _NONE
            if number > before:
                given.append(row)
                if before != _NONE:
                    self.superseded[key] = stamp
            elif number == before or (key, number) in self._older:
                continue
            else:
                self._older.add((key, number))
            if self.watched is not None and stamp < self.watched:
                self.late.append(stamp)
        return given


class _Versions:
    """The newest version of each contact as a number, in sixteen bytes per contact."""

    def __init__(self) -> None:
        self._keys: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._numbers: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._recent: dict[int, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, keys: Sequence[int], numbers: Sequence[int]) -> list[int]:
        """Keep the larger number for each key; return the previous numbers, ``_NONE`` for a new key."""
        before = self._old(keys)
        recent = self._recent
        for index, (key, number) in enumerate(zip(keys, numbers, strict=True)):
            known = before[index] = recent.get(key, before[index])
            self._count += known == _NONE
            if number > known:
                recent[key] = number
        if len(recent) >= _BUFFER:
            self._merge()
        return before

    def _old(self, keys: Sequence[int]) -> list[int]:
        if not len(self._keys):
            return [_NONE] * len(keys)
        wanted = np.asarray(keys, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        found: list[int] = np.where(self._keys[at] == wanted, self._numbers[at], _NONE).tolist()
        return found

    def _merge(self) -> None:
        # Only the recent ones are sorted: sorting all of them each time would hold several copies of them.
        keys = np.fromiter(self._recent, dtype=np.int64)
        order = np.argsort(keys)
        keys = keys[order]
        numbers = np.fromiter(self._recent.values(), dtype=np.int64)[order]
        self._recent = {}
        at = np.searchsorted(self._keys, keys)
        is_old = np.zeros(len(keys), dtype=bool)
        if len(self._keys):
            is_old = self._keys[np.minimum(at, len(self._keys) - 1)] == keys
        self._numbers[at[is_old]] = numbers[is_old]
        self._keys = np.insert(self._keys, at[~is_old], keys[~is_old])
        self._numbers = np.insert(self._numbers, at[~is_old], numbers[~is_old])
