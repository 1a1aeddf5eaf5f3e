"""``last_update``: how it is written, and when the seeded contacts were last updated."""

from __future__ import annotations

import time
from calendar import timegm
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

NEWEST_SEEDED = 1_767_225_600  # 2026-01-01 00:00:00 UTC, fixed so that a seed means the same data on any day
SPAN_SECONDS = 3 * 365 * 86_400

_FORMAT = "%Y-%m-%d %H:%M:%S"


def stamp_text(stamp: int) -> str:
    """Return epoch seconds the way the API writes ``last_update``. That it means UTC is an assumption."""
    return time.strftime(_FORMAT, time.gmtime(stamp))


def parse_stamp(text: Any) -> int | None:
    """Return the epoch seconds of a ``last_update``, or None when it is not one."""
    try:
        return timegm(time.strptime(text, _FORMAT))
    except (TypeError, ValueError):
        return None


def seeded_stamps(ids: Sequence[int], draw: random.Random, tie_group: int, until: int) -> dict[int, int]:
    """Return epoch seconds by id: over three years, one in ten equal to its neighbour.

    :param tie_group: this many in the middle share one stamp.
    """
    count = len(ids)
    widest = max(2, 2 * SPAN_SECONDS // max(1, count))
    first_tied = max(0, count - tie_group) // 2
    tied = range(first_tied + 1, first_tied + tie_group)
    stamps: dict[int, int] = {}
    stamp = until
    for position, contact_id in enumerate(ids):
        stamps[contact_id] = stamp
        if position + 1 not in tied and draw.random() > 0.1:
            stamp -= int(draw.random() * widest) + 1
    return stamps
