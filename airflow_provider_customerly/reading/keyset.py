"""A compact set of contact ids, with eight bytes per id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

_BUFFER = 1 << 15


class KeySet:
    """A growing set of int64 keys. A Python set of the same size would take ten times the memory."""

    def __init__(self) -> None:
        self._sorted: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._recent: set[int] = set()

    def __len__(self) -> int:
        return len(self._sorted) + len(self._recent)

    def known(self, keys: Sequence[int]) -> list[bool]:
        """Return for each key whether it is in the set."""
        recent = self._recent
        if not len(self._sorted):
            return [key in recent for key in keys]
        wanted = np.asarray(keys, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        old: list[bool] = (self._sorted[at] == wanted).tolist()
        return [found or key in recent for key, found in zip(keys, old, strict=True)]

    def add(self, keys: Sequence[int]) -> list[bool]:
        """Add keys; return for each whether it was there before, or earlier in ``keys``."""
        known = self.known(keys)
        for index, key in enumerate(keys):
            if not known[index]:
                known[index] = key in self._recent
                self._recent.add(key)
        if len(self._recent) >= _BUFFER:
            merged = np.concatenate([self._sorted, np.fromiter(self._recent, dtype=np.int64)])
            merged.sort(kind="stable")
            self._sorted, self._recent = merged, set()
        return known
