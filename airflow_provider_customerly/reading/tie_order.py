"""Watch whether contacts with one ``last_update`` keep their order from request to request.

Windows that meet inside a group of such contacts show that none is missing between them if both have the same
contacts in the same order. That holds only if the server keeps the order, which nothing promises: it may draw
it anew at each request. Then ``n`` contacts come in the same order by chance once in ``n!`` times. So each
agreement tells something, and together they must be too rare to be chance.

Until then, each link that relies on the order is in doubt. For each one, a window is read that shows the
whole group or more of its order. If the order ever changes, the sweep starts again at the first such link.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from airflow_provider_customerly.reading.windows import Window, window_around, window_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_customerly.reading.windows import Mark, Seen

SURE = 13
"""So many contacts are in the same order by chance once in six billion times."""
_MOST_LOOKS = 40


@dataclasses.dataclass
class Doubt:
    """A link that relies on the order of a group.

    :param start: likely position of the group's first member.
    :param joint: likely position of the link.
    :param end: likely position after the group's last member; None if that was not seen yet.
    :param keys: members around the link, in the order in which they were seen.
    """

    start: int
    joint: int
    end: int | None
    keys: Sequence[int]

    def move_by(self, rows: int) -> None:
        """Note that the rows have moved."""
        self.start += rows
        self.joint += rows
        if self.end is not None:
            self.end += rows


class TieOrder:
    """What was seen of the order among equal timestamps, in all sweeps of a reading."""

    def __init__(self) -> None:
        self.has_changed = False
        self.doubts: dict[str, Doubt] = {}
        """By timestamp; empty once the order is known to stay."""
        self.relied_on: tuple[str, int] | None = None
        """The first timestamp whose order the sweep relies on, and the position of its first contact."""
        self._agreement = 0.0  # logarithm of how rare all agreement so far is by chance
        self._looks = 0
        self._looked_at = ""

    @property
    def is_exhausted(self) -> bool:
        """Whether windows were read for doubts too often."""
        return self._looks > _MOST_LOOKS

    @property
    def _is_known(self) -> bool:
        return not self.has_changed and self._agreement >= math.lgamma(SURE + 1)

    def begin(self) -> None:
        """Forget what the last sweep relied on."""
        self.doubts.clear()
        self.relied_on = None
        self._looks = 0

    def compare(self, seen: Seen, before: Iterable[tuple[str, Sequence[int]]]) -> None:
        """Compare the order of each group in a window with its order in earlier ones.

        :param before: timestamps, with the ids of contacts that share them.
        """
        most: dict[str, int] = {}
        for stamp, keys in [*before, *((stamp, doubt.keys) for stamp, doubt in self.doubts.items())]:
            now = [row.crmhero_user_id for row in seen.with_stamp(stamp)]
            shared = set(keys).intersection(now)
            if [key for key in keys if key in shared] != [key for key in now if key in shared]:
                self.has_changed = True
            most[stamp] = max(len(shared), most.get(stamp, 0))
        self._agreement += sum(math.lgamma(count + 1) for count in most.values())
        if self._is_known:
            self.doubts.clear()

    def rely(self, stamp: str, doubt: Doubt) -> None:
        """Record a link that relies on the order of fewer than ``SURE`` contacts."""
        if self.relied_on is None or stamp < self.relied_on[0]:
            self.relied_on = (stamp, doubt.start)
        if not self._is_known:
            self.doubts.setdefault(stamp, doubt)

    def ask(self, largest: int) -> Window:
        """Return the window to read for the first doubt."""
        self._looked_at = min(self.doubts)
        doubt = self.doubts[self._looked_at]
        whole = None if doubt.end is None else window_around(doubt.start - 1, doubt.end + 1, largest)
        # Another window each time: a server may keep the order only for the same request.
        return whole or window_from(doubt.joint - largest // 2 - self._looks % 8, largest)

    def receive(self, window: Window, seen: Seen | None) -> None:
        """Take the answer, and aim better if it was too early or too late in the list."""
        self._looks += 1
        stamp = self._looked_at
        doubt = self.doubts.get(stamp)
        if doubt is None:
            return
        if seen is None or seen.stamps[0] > stamp:
            doubt.move_by(min(-1, window.offset - doubt.joint))
        elif seen.stamps[-1] < stamp:
            doubt.move_by(max(1, seen.end - doubt.start))
        elif seen.stamps[0] < stamp:
            doubt.move_by(seen.position((stamp, 0)) - doubt.start)
        elif doubt.end is not None and seen.stamps[-1] > stamp:
            doubt.move_by(seen.position((stamp, 1)) - doubt.end)

    def show(self, low: Mark, high: Mark) -> bool:
        """Note that all contacts between two marks were seen; return whether that settled a doubt."""
        shown = [stamp for stamp in self.doubts if low <= (stamp, 0) and (stamp, 1) <= high]
        for stamp in shown:
            del self.doubts[stamp]
        return bool(shown)
