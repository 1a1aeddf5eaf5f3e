"""Positions of problems in a source, so that no error needs to name a contact."""

from __future__ import annotations

_MOST_POSITIONS = 10
_MOST_REASONS = 5


class Positions:
    """Positions in a source, from 1, grouped by reason. The text form lists only a few of each."""

    def __init__(self) -> None:
        self.total = 0
        self._counts: dict[str, int] = {}
        self._first: dict[str, list[int]] = {}

    def add(self, reason: str, position: int) -> None:
        """Add a position."""
        self.total += 1
        self._counts[reason] = self._counts.get(reason, 0) + 1
        first = self._first.setdefault(reason, [])
        if len(first) < _MOST_POSITIONS:
            first.append(position)

    def __str__(self) -> str:
        reasons = sorted(self._counts, key=lambda reason: -self._counts[reason])
        told = [f"at {self._places(reason)}: {reason}" for reason in reasons[:_MOST_REASONS]]
        if len(reasons) > _MOST_REASONS:
            told.append(f"and {len(reasons) - _MOST_REASONS} other reasons")
        return "; ".join(told)

    def _places(self, reason: str) -> str:
        first = self._first[reason]
        more = self._counts[reason] - len(first)
        return ", ".join(map(str, first)) + (f" and {more} more" if more else "")
