"""Finds rows of the source that share an email or a user_id."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ROWS_AT_ONCE = 65_536


class Twins:
    """Finds the rows that share a name, by its digest.

    A digest may also be a hash that holds in this process only. One of zeros is no name.

    :param width: bytes of a digest.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._digests = bytearray()
        self._met: npt.NDArray[np.uint32] = np.empty(0, np.uint32)
        self._suspects: dict[bytes, str] = {}

    def add(self, digests: bytes, names: Sequence[str | None]) -> None:
        """Take the names of the next rows.

        :param digests: the names' digests, concatenated.
        """
        first = len(self._digests) // self._width + 1
        self._digests += digests
        # Part of a digest is enough to suspect; whether the whole one is shared is looked at in the end.
        parts = np.frombuffer(digests, np.uint32)[:: self._width // 4]
        for index in np.flatnonzero(self._has_met(parts)).tolist():
            name = names[index]
            if name is not None and (digest := self.digest(first + index)):
                self._suspects[digest] = name

    def _has_met(self, parts: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
        """Return which parts were seen before, in earlier rows or among these, and remember them all."""
        order = np.argsort(parts, kind="stable")
        ordered = parts[order]
        met = np.zeros(len(parts), dtype=bool)
        met[order[1:]] = ordered[1:] == ordered[:-1]
        if len(self._met):
            at = np.minimum(np.searchsorted(self._met, ordered), len(self._met) - 1)
            met[order] |= self._met[at] == ordered
        before = len(self._met)
        self._met.resize(before + len(ordered), refcheck=False)  # in place, unlike concatenating
        self._met[before:] = ordered
        self._met.sort(kind="stable")  # two runs that are sorted already are merged
        return met

    def digest(self, number: int) -> bytes:
        """Return the digest of a row's name, empty if it has none."""
        digest = bytes(self._digests[(number - 1) * self._width : number * self._width])
        return digest if digest.strip(b"\0") else b""

    def rows(self) -> Iterator[tuple[str, list[int]]]:
        """Return each name that rows share, with their numbers."""
        if not self._suspects:
            return
        parts = np.frombuffer(self._digests, np.uint32)[:: self._width // 4]
        wanted = np.unique(np.frombuffer(b"".join(digest[:4] for digest in self._suspects), np.uint32))
        numbers: dict[bytes, list[int]] = defaultdict(list)
        for start in range(0, len(parts), _ROWS_AT_ONCE):
            for index in np.flatnonzero(np.isin(parts[start : start + _ROWS_AT_ONCE], wanted)).tolist():
                number = start + index + 1
                if (digest := self.digest(number)) in self._suspects:
                    numbers[digest].append(number)
        yield from ((self._suspects[digest], some) for digest, some in numbers.items() if len(some) > 1)
