"""The ledger of what Customerly has accepted, contact by contact."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from airflow_provider_customerly.sync.fingerprint import FIELD_BYTES, Fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Status(IntEnum):
    """The last outcome of a contact."""

    DELIVERED = 0
    REFUSED = 1
    """It was refused, and is not sent again until it changes."""
    VANISHED = 2
    """It is no longer in the source. If it comes back, it is sent again."""
    UNKNOWN = 3
    """It was sent, but the outcome is unknown, so it is sent again even if it has not changed."""


GONE = b"gone".ljust(16, b"\0")
"""In place of a row's digest: the vanished contact is not in Customerly any more."""

Keys = npt.NDArray[Any]
"""Keys of contacts, each a row of two 64-bit halves."""

Users = npt.NDArray[np.uint64]
"""Digests of user_ids; 0 is none."""

Positions = npt.NDArray[np.int64]

_ENTRIES_AT_ONCE = 65_536
_KEY_ONLY = np.dtype([("key", "<u8", (2,))])


def entry_type(field_count: int) -> np.dtype[Any]:
    """Return the layout of an entry, without padding, because entries are also built as bytes."""
    return np.dtype(
        [
            ("key", "<u8", (2,)),
            ("row", "<u8", (2,)),
            ("status", "u1"),
            ("at", "<i8"),
            ("user", "<u8"),
            ("fields", "V", FIELD_BYTES * field_count),
        ]
    )


def packed(key: bytes, fingerprint: Fingerprint, status: Status, at: int) -> bytes:
    """Return an entry as bytes.

    :param at: Unix seconds of the response.
    """
    when = at.to_bytes(8, "little", signed=True)
    return key + fingerprint.row + bytes([status]) + when + fingerprint.user + fingerprint.fields


class Outcomes:
    """Entries in the order in which they came.

    :param expected: how many there will probably be. More may come, at the price of memory: a large buffer
        leaves holes where it was.
    """

    def __init__(self, field_count: int, expected: int) -> None:
        self._type = entry_type(field_count)
        self._content = bytearray(expected * self._type.itemsize)
        self._end = 0

    def add(self, entry: bytes) -> None:
        """Add an entry as ``packed`` returns it."""
        end = self._end + len(entry)
        self._content[self._end : end] = entry
        self._end = end

    @property
    def array(self) -> npt.NDArray[Any]:
        """All of them. While it is used, none can be added beyond those expected."""
        return np.frombuffer(self._content, self._type, self._end // self._type.itemsize)


def keys_of(keys: Iterable[bytes]) -> Keys:
    """Return keys as an array."""
    return np.frombuffer(b"".join(keys), _KEY_ONLY)["key"]


class Ledger:
    """The fingerprints of the last delivery by contact, about 80 bytes for a contact with ten fields.

    A contact is only added after a response. Entries are sorted by key.

    :param fields: the mapped fields in the fingerprints.
    :param entries: an array of ``entry_type`` in any order; the last entry of a contact counts.
    :param sequence: number of the commit that this was read from, 0 for none.
    :param plan: name of the sealed plan that all commits since it was made have applied, if any.
    :param taken: number of the last journal page that is in this ledger, by run.
    :param ended: runs that left nothing else that the next run must know.
    """

    def __init__(
        self,
        fields: Sequence[str],
        entries: npt.NDArray[Any] | None = None,
        sequence: int = 0,
        plan: str = "",
        taken: Mapping[str, int] | None = None,
        ended: Iterable[str] = (),
    ) -> None:
        self.fields = tuple(fields)
        self.sequence = sequence
        self.plan = plan
        self.taken = dict(taken or {})
        self.ended = set(ended)
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
        """A mask of the contacts that were in the source of the last run."""
        return np.asarray(self._entries["status"] != Status.VANISHED)

    def find(self, keys: Keys) -> Positions:
        """Return the position of each contact's entry; -1 if it has none."""
        if not len(self._entries):
            return np.full(len(keys), -1)
        at = self._places(keys)
        near = self._entries["key"][np.minimum(at, len(self._entries) - 1)]
        return np.where((at < len(self._entries)) & (near == keys).all(axis=1), at, -1)

    def changed_fields(self, position: int, fingerprint: Fingerprint) -> list[str]:
        """Return the fields in which a row differs from what was delivered."""
        before = self._entries["fields"][position].tobytes()
        pieces = range(0, len(before), FIELD_BYTES)
        return [
            field
            for field, start in zip(self.fields, pieces, strict=True)
            if before[start : start + FIELD_BYTES] != fingerprint.fields[start : start + FIELD_BYTES]
        ]

    def update(self, entries: npt.NDArray[Any]) -> None:
        """Record outcomes; the last entry of a contact counts.

        An empty ledger sorts the array in place and keeps it, because a copy of a million entries is large.
        """
        if not len(entries):
            return
        newest = newest_by_key(entries["key"])
        if not len(self._entries) and entries.flags.writeable:
            self._set(_taken_in_place(entries, newest))
            return
        keys = entries["key"][newest]
        at = self.find(keys)
        is_known = at >= 0
        _copy(entries, newest[is_known], self._entries, at[is_known])
        if not is_known.all():
            self._insert(self._places(keys[~is_known]), entries, newest[~is_known])

    def _insert(self, at: Positions, entries: npt.NDArray[Any], which: Positions) -> None:
        """Insert entries, each before the one that is at its place now."""
        places = at + np.arange(len(which))
        is_old = np.ones(len(self._entries) + len(which), dtype=bool)
        is_old[places] = False
        merged = np.empty(len(is_old), self._entries.dtype)
        merged[is_old] = self._entries
        _copy(entries, which, merged, places)
        self._set(merged)

    def mark_unknown(self, keys: Keys, at: int, users: Users | None = None) -> None:
        """Record that the outcome of contacts is unknown, including those without an entry.

        :param users: digests of the user_ids that were sent with them; an entry keeps its own.
        """
        if not len(keys):
            return
        keys, first = np.unique(keys, axis=0, return_index=True)
        found = self.find(keys)
        self._entries["status"][found[found >= 0]] = Status.UNKNOWN
        self._entries["at"][found[found >= 0]] = at
        fresh = np.zeros(int((found < 0).sum()), entry_type(len(self.fields)))
        fresh["key"], fresh["status"], fresh["at"] = keys[found < 0], Status.UNKNOWN, at
        if users is not None:
            fresh["user"] = users[first][found < 0]
        self.update(fresh)

    def with_fields(self, fields: Sequence[str]) -> Ledger:
        """Return this ledger for another mapping; fields that were not mapped before count as changed."""
        if tuple(fields) == self.fields:
            return self
        if not len(self):
            return self._about(fields)
        entries = np.zeros(len(self), entry_type(len(fields)))
        for name in ("key", "row", "status", "at", "user"):
            entries[name] = self._entries[name]
        if not self.fields:
            return self._about(fields, entries)
        old = _as_columns(self._entries["fields"], len(self.fields))
        new = np.zeros((len(self), len(fields)), f"V{FIELD_BYTES}")
        for index, field in enumerate(fields):
            if field in self.fields:
                new[:, index] = old[:, self.fields.index(field)]
        entries["fields"] = np.ascontiguousarray(new).view(entries["fields"].dtype).reshape(-1)
        return self._about(fields, entries)

    def _about(self, fields: Sequence[str], entries: npt.NDArray[Any] | None = None) -> Ledger:
        return Ledger(fields, entries, self.sequence, self.plan, self.taken, self.ended)

    def _places(self, keys: Keys) -> Positions:
        """Return for each key the number of entries with a lower key."""
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
    """Sort entries by key, and keep the last one for each key."""
    if _is_ascending(entries["key"]):  # as in a file; avoid copying a large ledger
        return entries if entries.flags.writeable else entries.copy()
    return np.asarray(entries[newest_by_key(entries["key"])])


def newest_by_key(keys: Keys) -> Positions:
    """Return the position of the last entry of each contact, in the order of the keys."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable, so the last of equal keys stays last
    ordered = keys[order]
    last = np.ones(len(order), dtype=bool)
    last[:-1] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return order[last]


def _taken_in_place(entries: npt.NDArray[Any], which: Positions) -> npt.NDArray[Any]:
    """Move some entries to the front, in their order, and return that part of the array."""
    front = entries[: len(which)]
    for name in entries.dtype.names or ():
        front[name] = entries[name][which]
    return front


def _is_ascending(keys: Keys) -> bool:
    high, low = keys[:, 0], keys[:, 1]
    is_above = (high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))
    return bool(is_above.all())


def _copy(entries: npt.NDArray[Any], which: Positions, into: npt.NDArray[Any], places: Positions) -> None:
    """Copy some entries to places elsewhere, in pieces: a copy of all of them on the way would be large."""
    for start in range(0, len(which), _ENTRIES_AT_ONCE):
        some = slice(start, start + _ENTRIES_AT_ONCE)
        into[places[some]] = entries[which[some]]
