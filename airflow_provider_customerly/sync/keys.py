"""Keys of contacts as arrays, and how to find one among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable

Keys = npt.NDArray[Any]
"""Keys of contacts, each a row of two 64-bit halves."""

Users = npt.NDArray[np.uint64]
"""Digests of user_ids; 0 is none."""

Positions = npt.NDArray[np.int64]

_KEY_ONLY = np.dtype([("key", "<u8", (2,))])


def keys_of(keys: Iterable[bytes]) -> Keys:
    """Return keys as an array."""
    return np.frombuffer(b"".join(keys), _KEY_ONLY)["key"]


def newest_by_key(keys: Keys) -> Positions:
    """Return the position of the last entry of each contact, in the order of the keys."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable, so the last of equal keys stays last
    is_last = np.zeros(len(order), dtype=bool)
    is_last[-1:] = True
    for half in range(2):  # one after the other, to hold only one in another order
        ordered = keys[order, half]
        is_last[:-1] |= ordered[1:] != ordered[:-1]
    return order[is_last]


def is_ascending(keys: Keys) -> bool:
    """Return whether keys are in order, and none comes twice."""
    high, low = keys[:, 0], keys[:, 1]
    is_above = (high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))
    return bool(is_above.all())


class SortedKeys:
    """Finds keys among others.

    :param keys: those to look among, in order and each once.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._high = np.ascontiguousarray(keys[:, 0])

    @classmethod
    def of(cls, keys: Keys) -> SortedKeys:
        """Return a finder for keys in any order."""
        return cls(keys[newest_by_key(keys)])

    def find(self, keys: Keys) -> Positions:
        """Return the position of each key; -1 if it is not there."""
        if not len(self._keys):
            return np.full(len(keys), -1)
        at = self.places(keys)
        near = self._keys[np.minimum(at, len(self._keys) - 1)]
        return np.where((at < len(self._keys)) & (near == keys).all(axis=1), at, -1)

    def places(self, keys: Keys) -> Positions:
        """Return how many are lower than each key."""
        at = np.searchsorted(self._high, keys[:, 0])
        last = len(self._keys) - 1
        open_ = np.arange(len(keys))
        while len(open_) and last >= 0:  # more than once only for keys that share their first half
            near = self._keys[np.minimum(at[open_], last)]
            is_lower = (near[:, 0] == keys[open_, 0]) & (near[:, 1] < keys[open_, 1])
            open_ = open_[is_lower & (at[open_] <= last)]
            at[open_] += 1
        return at
