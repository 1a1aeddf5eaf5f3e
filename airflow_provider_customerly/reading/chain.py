"""Read a list that changes while it is read, and prove that no contact was missed.

This is only the logic, without network or threads: ``ask`` returns the next request, ``receive`` takes its
response and returns new rows. Responses may arrive in any order.

A ``Sweep`` reads the list from a timestamp to its end. It finds every contact that does not change during the
sweep, and every changed one that its change moves to the end of the list. Some changes do not move a contact
there: when the vendor's clock is set back (the hour that repeats in autumn), when other contacts have
timestamps in the future, or when a page comes from a lagging replica. So a *catch-up* follows the first
sweep: more sweeps over everything that may have been stamped since the read began. Such a sweep finds each
contact that changed before it, wherever the change put it. A contact that changes again during the sweep gets
a later timestamp, which the sweep has yet to reach. The catch-up repeats while it finds versions that are
older than the sweep itself, because then timestamps are not in the order of the changes.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.reading.certificate import Certificate
from airflow_provider_customerly.reading.fold import Fold
from airflow_provider_customerly.reading.instants import earlier, written_like
from airflow_provider_customerly.reading.list_end import ServedSizes
from airflow_provider_customerly.reading.records import stamp_of
from airflow_provider_customerly.reading.sweep import Sweep
from airflow_provider_customerly.reading.tie_order import TieOrder
from airflow_provider_customerly.reading.windows import START, Mark

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_customerly.reading.choice import Ticket
    from airflow_provider_customerly.reading.records import Record

WINDOWS_AHEAD = 80
"""How many windows to read beyond the proven part. A retry would read them again. About 10 MB."""
_CLOCK_STEP = 3660.0  # seconds: clocks are set back by an hour, and a minute allows for drift
_DRIFT = 300.0  # seconds before the newest stamp: contacts stamped later may move during a catch-up
_LAG = 1.0  # seconds until a lagging replica has caught up
_MOST_SWEEPS = 12


class Chain:
    """The state of one read.

    :param low: read only contacts with ``last_update`` at or after this text; all of them by default.
    :param start: position to start at, a guess of where ``low`` is.
    :param largest: maximum number of rows per page, 20 to 100.
    :param prefetch: how many windows may be in flight or beyond the proven part.
    :param lookback: seconds, beyond an hour, by which the timestamp of a change may be too early.
    :param clock: returns monotonic seconds.
    :param wall: returns Unix seconds.
    """

    def __init__(
        self,
        *,
        low: str | None = None,
        start: int = 0,
        largest: int = 100,
        prefetch: int = WINDOWS_AHEAD,
        lookback: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.certificate = Certificate(page_size=largest)
        self.fold = Fold()
        self.done = False
        self._low = low or ""
        self._start = start
        self._prefetch = prefetch
        self._margin = _CLOCK_STEP + lookback
        self._clock = clock
        self._wall = wall
        self._began = clock()
        self._began_wall = wall()
        self._sizes = ServedSizes(largest)
        self._order = TieOrder()
        self._floor: Mark = (low, 0) if low else START
        self._sweep = self._begin_sweep(self._floor, start, prefetch=prefetch)
        self._sweeps = 0  # finished ones
        self._whole_sweeps = 0  # finished ones of the catch-up that covered everything that may have changed
        self._is_whole = False  # whether the current sweep is one
        self._not_before = self._lag_ends = 0.0
        self._has_moved = False
        self._newest = ""  # newest stamp that is not in the future
        self._found_newest = ""  # the newest one first seen by the current sweep
        self._changed_since = ""  # contacts stamped since may have changed during the read
        self._trail: list[tuple[Mark, int]] = []

    @property
    def settled(self) -> str:
        """Where a later read may start: whatever changed during this one has a timestamp at or after it.

        Unchanged contacts with an earlier ``last_update`` were returned. Blank if that is not certain.
        """
        settled = self._sweep.settled if self._sweeps == 0 else self._newest
        settled = min(settled, earlier(written_like(settled, self._began_wall), self._margin))
        return settled if settled > self._low else ""

    def ask(self) -> Ticket | None:
        """Return the next request worth sending now; None to wait for responses (or until ``done``)."""
        if self.done or self._clock() < self._not_before:
            return None
        return self._sweep.ask()

    def receive(self, ticket: Ticket, rows: list[Record]) -> list[Record]:
        """Take the response to a request.

        :return: contacts not seen before, and newer versions of others.
        :raises OrderBrokenError: the server does not sort by ``last_update``.
        :raises CustomerlyProtocolError: the responses make no progress through the list.
        """
        sweep = self._sweep
        if self.done or not sweep.awaits(ticket):
            return []  # requested by a sweep that has finished
        given = sweep.receive(ticket, rows)
        self._found_newest = max(self._found_newest, self._newest_of(given))
        self.certificate.duplicates = self.fold.duplicates
        if self._sweeps:
            self.certificate.catch_up_windows += bool(rows)
            self.certificate.catch_up_found += len(given)
        if sweep.done:
            self._end_sweep(sweep)
        return given

    def _newest_of(self, rows: Sequence[Record]) -> str:
        for row in reversed(rows):
            stamp = stamp_of(row)
            if stamp <= written_like(stamp, self._wall()):
                return stamp
        return ""

    # the catch-up

    def _end_sweep(self, sweep: Sweep) -> None:
        self._sweeps += 1
        self._whole_sweeps += self._is_whole
        self._trail = sorted(sweep.trail + self._trail)
        late, self.fold.late = self.fold.late, []
        self._has_moved = bool(self._has_moved or sweep.has_moved or self.fold.superseded or late)
        if sweep.reasons:
            self._finish("; ".join(sweep.reasons))
        elif self._sweeps == 1:
            self._catch_up_first()
        elif late or (self._has_moved and self._whole_sweeps < 2):
            self._catch_up_again(late)
        else:
            self._finish()

    def _catch_up_first(self) -> None:
        if not len(self.fold):
            self._finish()
            return
        self._newest = self._found_newest
        elapsed = max(0.0, self._clock() - self._began)
        # In the vendor's time, because its clock may differ from ours. Changes that were seen bound it.
        began = min([earlier(self._newest, elapsed), *self.fold.superseded.values()])
        self._changed_since = earlier(began, self._margin)
        self._lag_ends = self._clock() + _LAG
        self._begin_catch_up(whole=self._has_moved)

    def _catch_up_again(self, late: list[str]) -> None:
        if self._sweeps == _MOST_SWEEPS:
            self._finish(
                f"even sweep {self._sweeps} found changes with a last_update before that of changes seen "
                "earlier: the vendor's clock was set back, or its replicas lag"
            )
            return
        if late:
            self._changed_since = min(self._changed_since, earlier(min(late), self._margin))
        self._newest = self._found_newest or max(late, default=self._newest)
        if self._whole_sweeps:
            self._not_before = self._lag_ends
        self._begin_catch_up(whole=True)

    def _begin_catch_up(self, *, whole: bool) -> None:
        """Read again what was stamped since the read began.

        :param whole: False reads only the last page of it, because nothing was seen to move.
        """
        floor: Mark = (self._changed_since, 0) if self._changed_since > self._low else self._floor
        if not whole and self._trail:
            before_end = self._trail[-1][1] - 1.5 * self._sizes.largest
            floor = max(floor, min(mark for mark, position in self._trail if position >= before_end))
        self._is_whole = whole
        self._found_newest = ""
        self.fold.watched = self._newest
        self.certificate.catch_ups += 1
        self._sweep = self._begin_sweep(
            floor,
            self._position_of(floor),
            prefetch=self._prefetch,
            ahead_until=self._position_of((earlier(self._newest, _DRIFT), 0)),
            trusts_short=not self._sweep.has_short_pages,
            is_catch_up=True,
        )

    def _begin_sweep(self, floor: Mark, start: int, **options: Any) -> Sweep:
        return Sweep(
            floor,
            start,
            self._sizes,
            self.fold,
            self._order,
            self.certificate,
            self._clock,
            low=self._low,
            **options,
        )

    def _position_of(self, mark: Mark) -> int:
        at = bisect_right(self._trail, mark, key=itemgetter(0))
        return self._trail[at - 1][1] if at else self._start

    def _finish(self, reason: str | None = None) -> None:
        self.certificate.verdict = "unproven" if reason else "complete"
        self.certificate.reason = reason
        self.done = True
