"""Calculate with ``last_update``, whose text defines the order of the list."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

_DATED = re.compile(r"(\d{4}-\d\d-\d\d)([ T])(\d\d:\d\d:\d\d)")
_DIGITS = re.compile(r"\d{8,17}")
_BETWEEN_DIGITS = dict.fromkeys(map(ord, "-: T.Z+"))
_MILLISECONDS = 100_000_000_000  # as seconds, this would be in the year 5138


def earlier(stamp: str, seconds: float) -> str:
    """Return the text of the time this many seconds before ``stamp``, which sorts before it.

    If the format is unknown, return blank text, which sorts before everything.
    """
    if match := _DATED.match(stamp):
        try:
            instant = datetime.fromisoformat(f"{match[1]}T{match[3]}") - timedelta(seconds=seconds)
        except (ValueError, OverflowError):
            return ""
        return instant.isoformat(match[2], "seconds")
    if _DIGITS.fullmatch(stamp):
        number = int(stamp)
        number -= int(seconds * 1000 if number > _MILLISECONDS else seconds)
        return str(max(0, number)).zfill(len(stamp))
    return ""


def written_like(stamp: str, instant: float) -> str:
    """Return epoch seconds as text in the format of ``stamp``, for comparison."""
    if match := _DATED.match(stamp):
        return datetime.fromtimestamp(instant, timezone.utc).strftime(f"%Y-%m-%d{match[2]}%H:%M:%S")
    if _DIGITS.fullmatch(stamp):
        return str(int(instant * 1000 if int(stamp) > _MILLISECONDS else instant))
    return stamp


def number_of(stamp: str) -> int:
    """Return a number that sorts timestamps of one format like their text; -1 if there is none."""
    digits = stamp.translate(_BETWEEN_DIGITS)[:18]
    return int(digits) if digits.isdecimal() else -1
