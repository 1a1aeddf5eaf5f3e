"""Numbers as people read them."""

from __future__ import annotations

import math

_UNITS = ((60, 1, "second"), (3600, 60, "minute"), (3 * 86_400, 3600, "hour"), (math.inf, 86_400, "day"))


def count(number: int, noun: str) -> str:
    """Return ``1 contact`` or ``2 contacts``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """Return a duration in a readable unit, rounded up: ``40 seconds``, ``1.5 hours``."""
    unit, noun = next((unit, noun) for end, unit, noun in _UNITS if seconds < end)
    tenths = math.ceil(seconds * 10 / unit)
    number = f"{tenths / 10:.1f}".removesuffix(".0")
    return f"{number} {noun}" if number == "1" else f"{number} {noun}s"


def size(number: float) -> str:
    """Return a number of bytes in a readable unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
