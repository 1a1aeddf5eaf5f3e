"""When the seeded contacts were last updated."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

NEWEST_SEEDED = 1_767_225_600  # 2026-01-01 00:00:00 UTC, fixed so that a seed means the same data on any day
SPAN_SECONDS = 3 * 365 * 86_400


def seeded_stamps(ids: Sequence[int], draw: random.Random, tie_group: int, until: int) -> dict[int, int]:
    """Return epoch seconds by id: over three years, one in ten equal to its neighbour.

    :param tie_group: this many in the middle share one stamp.
    """
    count = len(ids)
    widest = max(2, 2 * SPAN_SECONDS // max(1, count))
    first_tied = (count - tie_group) // 2 if tie_group else count
    tied = range(max(0, first_tied) + 1, max(0, first_tied) + min(tie_group, count))
    stamps: dict[int, int] = {}
    stamp = until
    for position, contact_id in enumerate(ids):
        stamps[contact_id] = stamp
        if position + 1 not in tied and draw.random() > 0.1:
            stamp -= int(draw.random() * widest) + 1
    return stamps
