"""The format of ``last_update``, and its values for seeded contacts."""

from __future__ import annotations

import math
import time
from calendar import timegm
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

NEWEST_SEEDED = 1_767_225_600  # 2026-01-01 00:00:00 UTC, so that a seed yields the same data on any day
SPAN_SECONDS = 3 * 365 * 86_400

_SMALLEST_BULK, _LARGEST_BULK = 2, 1500
_MEAN_BULK = (_LARGEST_BULK - _SMALLEST_BULK) / math.log(_LARGEST_BULK / _SMALLEST_BULK)
"""Each order of magnitude of group sizes is equally frequent."""
_FORMAT = "%Y-%m-%d %H:%M:%S"


def stamp_text(stamp: int) -> str:
    """Format epoch seconds as ``last_update``, in UTC (an assumption)."""
    return time.strftime(_FORMAT, time.gmtime(stamp))


def parse_stamp(text: Any) -> int | None:
    """Return the epoch seconds of a ``last_update``, or None if it is invalid."""
    try:
        return timegm(time.strptime(text, _FORMAT))
    except (TypeError, ValueError):
        return None


def seeded_stamps(
    ids: Sequence[int], draw: random.Random, tie_group: int, until: int, bulk_share: float = 0.0
) -> dict[int, int]:
    """Return timestamps by id, in epoch seconds, over three years; one in ten equals its neighbour.

    :param tie_group: this many in the middle share one timestamp.
    :param bulk_share: about this share is in groups of 2 to 1,500 with the same timestamp, as after bulk
        imports.
    """
    begins = bulk_share / max(1e-9, 1 - bulk_share) / _MEAN_BULK
    left = 0
    count = len(ids)
    widest = max(2, 2 * SPAN_SECONDS // max(1, count))
    first_tied = max(0, count - tie_group) // 2
    tied = range(first_tied + 1, first_tied + tie_group)
    stamps: dict[int, int] = {}
    stamp = until
    for position, contact_id in enumerate(ids):
        stamps[contact_id] = stamp
        if left:
            left -= 1
            continue
        if bulk_share and position and draw.random() < begins:
            left = int(_SMALLEST_BULK * (_LARGEST_BULK / _SMALLEST_BULK) ** draw.random()) - 1
            continue
        if position + 1 not in tied and draw.random() > 0.1:
            stamp -= int(draw.random() * widest) + 1
    return stamps
