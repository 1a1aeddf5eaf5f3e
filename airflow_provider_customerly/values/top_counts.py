"""Counts by name, cut to what fits into a task's result."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

OTHERS = "(others)"
"""Stands for the names that are left out, with their sum."""

_MOST_NAMES = 30
_MOST_REASONS = 15
_MOST_CHARACTERS = 100


def most_frequent(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the highest counts and the sum of the others, so that nothing is missing from the total.

    Columns and attributes are named by users: there may be hundreds, with long names.
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown: dict[str, int] = {}
    for name, count in ordered[:_MOST_NAMES]:
        shown[shortened(name)] = shown.get(shortened(name), 0) + count
    if rest := sum(count for _, count in ordered[_MOST_NAMES:]):
        shown[OTHERS] = rest
    return shown


def some_reasons(reasons: Mapping[str, str]) -> dict[str, str]:
    """Return the first of many reasons by name, and how many more there are."""
    shown = {shortened(name): reason for name, reason in islice(reasons.items(), _MOST_REASONS)}
    if (rest := len(reasons) - _MOST_REASONS) > 0:
        shown[OTHERS] = f"{rest} more fields"
    return shown


def shortened(name: str) -> str:
    """Return a name of at most a hundred characters."""
    return name if len(name) <= _MOST_CHARACTERS else f"{name[: _MOST_CHARACTERS - 1]}…"
