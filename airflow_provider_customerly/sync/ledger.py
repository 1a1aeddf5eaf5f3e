"""What Customerly has accepted, contact by contact."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from airflow_provider_customerly.sync.fingerprint import FIELD_BYTES, Fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Status(IntEnum):
    """What became of a contact the last time."""

    DELIVERED = 0
    REFUSED = 1
    """It was not accepted; it is not sent again before it changes."""
    VANISHED = 2
    """It is no longer in the source; should it return, it is sent again."""


Keys = npt.NDArray[Any]
"""Keys of contacts: a row of two 64-bit halves each."""

_KEY_ONLY = np.dtype([("key", "<u8", (2,))])


def entry_type(field_count: int) -> np.dtype[Any]:
    """Give the layout of an entry, without padding: entries are also put together as bytes."""
    return np.dtype(
        [
            ("key", "<u8", (2,)),
            ("row", "<u8", (2,)),
            ("status", "u1"),
            ("at", "<i8"),
            ("fields", "V", FIELD_BYTES * field_count),
        ]
    )


def packed(key: bytes, fingerprint: Fingerprint, status: Status, at: int) -> bytes:
    """Give an entry as bytes.

    :param at: unix seconds of the answer.
    """
    return (
        key + fingerprint.row + bytes([status]) + at.to_bytes(8, "little", signed=True) + fingerprint.fields
    )


def keys_of(keys: Iterable[bytes]) -> Keys:
    """Put keys into an array."""
    return np.frombuffer(b"".join(keys), _KEY_ONLY)["key"]


class Ledger:
    """The fingerprint of what was delivered last, by contact; about 80 bytes for a contact of ten fields.

    A contact gets here only by an answer. Entries are kept sorted by key.

    :param fields: the mapped fields that the fingerprints are about.
    :param entries: an array of `entry_type`, in any order; of several entries for a contact the last counts.
    :param sequence: number of the commit that this was read from, 0 for none.
    :param plan: name of the sealed plan that all commits since that plan was made have applied, if one did.
    """

    def __init__(
        self,
        fields: Sequence[str],
        entries: npt.NDArray[Any] | None = None,
        sequence: int = 0,
        plan: str = "",
    ) -> None:
        self.fields = tuple(fields)
        self.sequence = sequence
        self.plan = plan
        self._entries = np.empty(0, entry_type(len(self.fields)))
        self._high: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        if entries is not None:
            self._set(_newest(entries))

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> npt.NDArray[Any]:
        """All entries, sorted by key."""
        return self._entries

    @property
    def living(self) -> npt.NDArray[np.bool_]:
        """Which entries are of contacts that were in the source the last time."""
        return np.asarray(self._entries["status"] != Status.VANISHED)

    def find(self, keys: Keys) -> npt.NDArray[np.int64]:
        """Give the position of each contact's entry, -1 for one that has none."""
        if not len(self._entries):
            return np.full(len(keys), -1)
        at = self._places(keys)
        near = self._entries["key"][np.minimum(at, len(self._entries) - 1)]
        return np.where((at < len(self._entries)) & (near == keys).all(axis=1), at, -1)

    def changed_fields(self, position: int, fingerprint: Fingerprint) -> list[str]:
        """Name the fields in which a row differs from what was delivered."""
        before = self._entries["fields"][position].tobytes()
        pieces = range(0, len(before), FIELD_BYTES)
        return [
            field
            for field, start in zip(self.fields, pieces, strict=True)
            if before[start : start + FIELD_BYTES] != fingerprint.fields[start : start + FIELD_BYTES]
        ]

    def update(self, entries: npt.NDArray[Any]) -> None:
        """Enter what became of contacts; the last entry of a contact counts."""
        if not len(entries):
            return
        entries = _newest(entries)
        at = self.find(entries["key"])
        self._entries[at[at >= 0]] = entries[at >= 0]
        if len(fresh := entries[at < 0]):
            self._set(np.insert(self._entries, self._places(fresh["key"]), fresh))

    def with_fields(self, fields: Sequence[str]) -> Ledger:
        """Give this ledger for another mapping; fields that were not mapped before count as changed."""
        if tuple(fields) == self.fields:
            return self
        if not len(self):
            return Ledger(fields, sequence=self.sequence, plan=self.plan)
        entries = np.zeros(len(self), entry_type(len(fields)))
        for name in ("key", "row", "status", "at"):
            entries[name] = self._entries[name]
        old = _as_columns(self._entries["fields"], len(self.fields))
        new = np.zeros((len(self), len(fields)), f"V{FIELD_BYTES}")
        for index, field in enumerate(fields):
            if field in self.fields:
                new[:, index] = old[:, self.fields.index(field)]
        entries["fields"] = np.ascontiguousarray(new).view(entries["fields"].dtype).reshape(-1)
        return Ledger(fields, entries, self.sequence, self.plan)

    def _places(self, keys: Keys) -> npt.NDArray[np.int64]:
        """Give for each key how many entries have a lower one."""
        at = np.searchsorted(self._high, keys[:, 0])
        last = len(self._entries) - 1
        open_ = np.arange(len(keys))
        while len(open_) and last >= 0:  # more than once only for keys that share their first half
            place = np.minimum(at[open_], last)
            entry = self._entries["key"][place]
            is_lower = (entry[:, 0] == keys[open_, 0]) & (entry[:, 1] < keys[open_, 1])
            open_ = open_[is_lower & (at[open_] <= last)]
            at[open_] += 1
        return at

    def _set(self, entries: npt.NDArray[Any]) -> None:
        self._entries = entries
        self._high = np.ascontiguousarray(entries["key"][:, 0])


def _as_columns(fields: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    return np.ascontiguousarray(fields).view(f"V{FIELD_BYTES}").reshape(-1, count)


def _newest(entries: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sort entries by key, and keep the last of each."""
    keys = entries["key"]
    if _is_ascending(keys):  # as those read from a file are: a copy of a large ledger is worth avoiding
        return entries if entries.flags.writeable else entries.copy()
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: the last of equal ones stays last
    ordered = keys[order]
    last = np.ones(len(order), dtype=bool)
    last[:-1] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return entries[order[last]]


def _is_ascending(keys: Keys) -> bool:
    high, low = keys[:, 0], keys[:, 1]
    is_above = (high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))
    return bool(is_above.all())
