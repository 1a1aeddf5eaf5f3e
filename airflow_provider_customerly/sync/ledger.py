"""The ledger of what Customerly has accepted, contact by contact."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from airflow_provider_customerly.sync.fingerprint import FIELD_BYTES, Fingerprint
from airflow_provider_customerly.sync.keys import SortedKeys, is_ascending, keys_of, newest_by_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from airflow_provider_customerly.sync.keys import Keys, Positions, Users


class Status(IntEnum):
    """The last outcome of a contact."""

    DELIVERED = 0
    REFUSED = 1
    """It was refused, and is not sent again until it changes."""
    VANISHED = 2
    """It is no longer in the source. If it comes back, it is sent again."""
    UNKNOWN = 3
    """It was sent, but the outcome is unknown, so it is sent again even if it has not changed."""
    LEAVING = 4
    """It was delivered, its row has vanished, and a request about it may have been sent. That only removes
    something, so it is known who the contact was. If its row comes back, it is sent again."""


GONE = b"gone".ljust(16, b"\0")
"""In place of a row's digest: the vanished contact is not in Customerly any more."""

_ENTRIES_AT_ONCE = 65_536


def entry_type(field_count: int) -> np.dtype[Any]:
    """Return the layout of an entry, without padding, because entries are also built as bytes."""
    return np.dtype(
        [
            ("key", "<u8", (2,)),
            ("row", "<u8", (2,)),
            ("status", "u1"),
            ("at", "<i8"),
            ("user", "<u8"),
            ("field_digests", f"<u{FIELD_BYTES}", (field_count,)),
        ]
    )


def packed(key: bytes, fingerprint: Fingerprint, status: Status, at: int) -> bytes:
    """Return an entry as bytes.

    :param at: Unix seconds of the response.
    """
    when = at.to_bytes(8, "little", signed=True)
    return key + fingerprint.row + bytes([status]) + when + fingerprint.user + fingerprint.fields


def entries_of(keys: Keys, field_count: int, status: Status, at: int = 0) -> npt.NDArray[Any]:
    """Return an entry for each key, of which nothing else is known."""
    entries = np.zeros(len(keys), entry_type(field_count))
    entries["key"], entries["status"], entries["at"] = keys, status, at
    return entries


class Outcomes:
    """Entries in the order in which they came.

    :param expected: how many there will probably be. More may come, at the price of memory: a large buffer
        leaves holes where it was.
    """

    def __init__(self, field_count: int, expected: int) -> None:
        self._type = entry_type(field_count)
        self._content = bytearray(expected * self._type.itemsize)
        self._end = 0

    def add(self, entries: npt.NDArray[Any]) -> None:
        """Add entries."""
        end = self._end + entries.nbytes
        self._content[self._end : end] = entries.tobytes()
        self._end = end

    @property
    def array(self) -> npt.NDArray[Any]:
        """All of them. While it is used, none can be added beyond those expected."""
        return np.frombuffer(self._content, self._type, self._end // self._type.itemsize)


class Ledger:
    """The fingerprints of the last delivery by contact: with ten fields about 100 bytes of memory each.

    A contact is added once it was answered, or once it may have been sent. Entries are sorted by key.

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
        nothing = np.empty(0, entry_type(len(self.fields)))
        self._set(nothing if entries is None else _newest(entries))

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> npt.NDArray[Any]:
        """All entries, sorted by key."""
        return self._entries

    @property
    def living(self) -> npt.NDArray[np.bool_]:
        """A mask of the contacts that the ledger does not hold as vanished.

        They are those of the last run's source, and those that it had still to remove.
        """
        return np.asarray(self._entries["status"] != Status.VANISHED)

    def find(self, keys: Keys) -> Positions:
        """Return the position of each contact's entry; -1 if it has none."""
        return self._index.find(keys)

    def entry(self, key: bytes) -> np.void | None:
        """Return the entry of a contact, if it has one."""
        [at] = self.find(keys_of([key])) if key else [-1]
        return self._entries[at] if at >= 0 else None

    def changed_fields(self, position: int, fields: bytes) -> list[str]:
        """Return the fields in which a row differs from what was delivered.

        :param fields: the digests of the row's fields.
        """
        now = np.frombuffer(fields, f"<u{FIELD_BYTES}")
        before = self._entries["field_digests"][position]
        return [self.fields[index] for index in np.flatnonzero(before != now).tolist()]

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
            self._insert(self._index.places(keys[~is_known]), entries, newest[~is_known])

    def _insert(self, at: Positions, entries: npt.NDArray[Any], which: Positions) -> None:
        """Insert entries, each before the one that is at its place now."""
        places = at + np.arange(len(which))
        is_old = np.ones(len(self._entries) + len(which), dtype=bool)
        is_old[places] = False
        merged = np.empty(len(is_old), self._entries.dtype)
        merged[is_old] = self._entries
        _copy(entries, which, merged, places)
        self._set(merged)

    def mark_unknown(self, keys: Keys, at: int, users: Users) -> None:
        """Record that the outcome of contacts is unknown, including those without an entry.

        :param users: digests of the user_ids that were sent with them; an entry keeps its own.
        """
        if not len(keys):
            return
        keys, first = np.unique(keys, axis=0, return_index=True)
        found = self.find(keys)
        self._entries["status"][found[found >= 0]] = Status.UNKNOWN
        self._entries["at"][found[found >= 0]] = at
        fresh = entries_of(keys[found < 0], len(self.fields), Status.UNKNOWN, at)
        fresh["user"] = users[first][found < 0]
        self.update(fresh)

    def mark_leaving(self, keys: Keys, at: int) -> None:
        """Record that contacts may have been removed. Only delivered ones get another status."""
        found = self.find(keys)
        found = found[found >= 0]
        is_delivered = self._entries["status"][found] == Status.DELIVERED
        self._entries["status"][found[is_delivered]] = Status.LEAVING
        self._entries["at"][found] = at  # what an earlier export shows of them is out of date

    def with_fields(self, fields: Sequence[str]) -> Ledger:
        """Return this ledger for another mapping; fields that were not mapped before count as changed."""
        if tuple(fields) == self.fields:
            return self
        entries = np.zeros(len(self), entry_type(len(fields)))
        for name in ("key", "row", "status", "at", "user"):
            entries[name] = self._entries[name]
        for index, field in enumerate(fields):
            if field in self.fields:
                before = self._entries["field_digests"][:, self.fields.index(field)]
                entries["field_digests"][:, index] = before
        return Ledger(fields, entries, self.sequence, self.plan, self.taken, self.ended)

    def _set(self, entries: npt.NDArray[Any]) -> None:
        self._entries = entries
        self._index = SortedKeys(entries["key"])


def _newest(entries: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sort entries by key, and keep the last one for each key."""
    if is_ascending(entries["key"]):  # as in a file; avoid copying a large ledger
        return entries if entries.flags.writeable else entries.copy()
    return np.asarray(entries[newest_by_key(entries["key"])])


def _taken_in_place(entries: npt.NDArray[Any], which: Positions) -> npt.NDArray[Any]:
    """Move some entries to the front, in their order, and return that part of the array."""
    front = entries[: len(which)]
    for column, new in zip(_columns(entries), _columns(front), strict=True):
        new[:] = column[which]
    return front


def _columns(entries: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Return what entries consist of, in pieces of at most eight bytes an entry."""
    for name in entries.dtype.names or ():
        values = entries[name]
        yield from (values.T if values.ndim > 1 else [values])


def _copy(entries: npt.NDArray[Any], which: Positions, into: npt.NDArray[Any], places: Positions) -> None:
    """Copy some entries to places elsewhere, in pieces: a copy of all of them on the way would be large."""
    for start in range(0, len(which), _ENTRIES_AT_ONCE):
        some = slice(start, start + _ENTRIES_AT_ONCE)
        into[places[some]] = entries[which[some]]
