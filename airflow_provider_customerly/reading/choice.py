"""Choose the next request of a sweep: what it is for, and which window serves that best.

Windows are chosen by position, and every position is a guess: an update or a deletion moves rows up. A guess
that was too high leaves a gap between two strips, which is filled from an earlier position. All gaps are read
in parallel.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from airflow_provider_customerly.reading.windows import Window, window_around, window_from, window_past

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_customerly.reading.certificate import Certificate
    from airflow_provider_customerly.reading.list_end import EmptyList, ListEnd, ServedSizes
    from airflow_provider_customerly.reading.strips import Strip, Strips
    from airflow_provider_customerly.reading.tie import TieGroup
    from airflow_provider_customerly.reading.tie_order import TieOrder
    from airflow_provider_customerly.reading.windows import Mark

_LINKS_PER_ROW = 16  # the overlap shrinks by a row after so many links

Purpose = Literal["next", "ahead", "behind", "tie", "order", "probe"]
"""What a request is for: to continue a strip, to read on before that is known to be needed, to look past the
end of the list, to count a group, to see a group's order again, or to find out whether pages are clamped."""


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Ticket:
    """A request in flight."""

    purpose: Purpose
    window: Window
    strip: Strip | None = None
    """For ``next``: the strip that the window should continue."""
    extent: tuple[Mark, int] | None = None
    """How far that strip reached at the time of the request."""
    tie: TieGroup | None = None


class Choice:
    """What a sweep has requested, and where it looks next.

    :param start: position to start at.
    :param prefetch: how many windows may be in flight or beyond the proven part.
    :param ahead_until: position up to which windows may be requested before they are known to be needed.
        Later ones are read one at a time.
    """

    def __init__(
        self,
        start: int,
        sizes: ServedSizes,
        order: TieOrder,
        empty: EmptyList,
        certificate: Certificate,
        *,
        prefetch: int,
        ahead_until: int | None,
    ) -> None:
        self.in_flight: set[Ticket] = set()
        self.latest: set[Ticket] = set()
        """Those requested since the proven part last grew, in flight or not."""
        self._sizes = sizes
        self._order = order
        self._empty = empty
        self._certificate = certificate
        self._prefetch = prefetch
        self._ahead_until = ahead_until
        self._room = 1  # one window at first, because many lists fit in a page
        self._planned = start  # position up to which windows were requested
        self._dry: int | None = None  # no rows were seen from this position on
        self._slack = 1  # rows of overlap beyond the two that are needed; grows when links break

    def ask(
        self, strips: Strips, ties: Mapping[str, TieGroup], end: ListEnd | None, *, may_be_clamped: bool
    ) -> Ticket | None:
        """Return the next request worth sending now; None to wait for responses.

        :param ties: groups to count, by timestamp.
        :param end: a possible end of the list.
        :param may_be_clamped: whether short pages wait until a clamp is ruled out.
        """
        if may_be_clamped:
            ticket = None if self._is_asking("probe") else Ticket("probe", Window(0, self._sizes.largest))
        elif self._order.doubts and not self._is_asking("order"):
            ticket = Ticket("order", self._order.ask(self._sizes.largest))
        elif end is not None:
            ticket = self._at_end(end, strips.proven)
        else:
            ticket = self._at_strips(strips, ties) or self._ahead(strips)
        if ticket is not None:
            self.in_flight.add(ticket)
            self.latest.add(ticket)
            if ticket.purpose in ("next", "ahead"):
                self._planned = max(self._planned, ticket.window.reach)
        return ticket

    def note_rows(self, end: int, *, is_last: bool) -> None:
        """Note that rows were seen up to a position.

        :param is_last: whether the list seems to end there.
        """
        self._room = self._prefetch
        if self._dry is not None and end > self._dry:
            self._dry = None
        if is_last:
            self.note_nothing(end)

    def note_nothing(self, position: int) -> None:
        """Note that no rows were seen from a position on."""
        self._dry = position if self._dry is None else min(position, self._dry)

    def note_links(self) -> None:
        """Try a smaller overlap once many more links have held."""
        if self._certificate.links % _LINKS_PER_ROW == 0:
            self._slack = max(1, self._slack - 1)

    def go_back(self, position: int) -> None:
        """Request windows again from a position on, with pages that may have become smaller."""
        self._planned = position
        self._slack = min(self._slack, self._sizes.largest // 3)

    def _at_end(self, end: ListEnd, proven: Strip) -> Ticket | None:
        if not end.is_read:
            if not any(ticket.purpose == "next" for ticket in self.in_flight & self.latest):
                return self._next(proven, self._window_behind(proven))
            if self._certificate.end_moved:
                return None  # a busy list: look past its end only once the end is known
        window = end.ask(self._sizes.sure)
        return None if window is None else Ticket("behind", window)

    def _at_strips(self, strips: Strips, ties: Mapping[str, TieGroup]) -> Ticket | None:
        # A gap close to the proven part has usually closed by the time that part reaches it.
        far = strips.proven.end + self._sizes.largest
        for strip, upper in strips.with_upper():
            if (tie := ties.get(strip.last)) is not None and not strip.is_closed:
                if (window := tie.ask()) is not None:
                    return Ticket("tie", window, tie=tie)
            elif self._is_under_way(strip):
                continue
            elif upper is not None and (strip is strips.proven or strip.end > far):
                return self._next(strip, self._window_between(strip, upper))
            elif len(strips) == 1:
                return self._next(strip, self._window_behind(strip))
        return None

    def _ahead(self, strips: Strips) -> Ticket | None:
        if len(self.in_flight) + strips.windows_ahead >= self._room:
            return None
        window = window_past(self._planned, 2 + self._slack, self._sizes.largest)
        if self._dry is not None and window.offset >= self._dry:
            return None
        if self._ahead_until is not None and window.reach > self._ahead_until:
            return None
        return Ticket("ahead", window)

    def _next(self, strip: Strip, window: Window) -> Ticket:
        return Ticket("next", window, strip, strip.extent)

    def _is_asking(self, purpose: Purpose) -> bool:
        return any(ticket.purpose == purpose for ticket in self.in_flight)

    def _is_under_way(self, strip: Strip) -> bool:
        return any(
            ticket.strip is strip
            or (ticket.purpose == "ahead" and ticket.window.offset < strip.end < ticket.window.reach)
            for ticket in self.in_flight
        )

    def _window_between(self, strip: Strip, upper: Strip) -> Window:
        """Choose the window that should close the gap between two strips."""
        largest = self._sizes.largest
        self._certificate.bridges += 1
        if upper.offset < strip.aim and strip.last < upper.first:
            self._slack = min(2 * self._slack + 1, largest // 3)  # rows moved up in between
        around = None
        if strip.last == upper.first and not strip.step:
            if not strip.has_one_stamp and not upper.has_one_stamp:
                around = window_around(strip.aim - 1, upper.head_end + 1, largest)
            if around is None and not strip.stuck:
                around = window_around(strip.end - 3, upper.offset + 3, largest)
        return around or self._window_behind(strip)

    def _window_behind(self, strip: Strip) -> Window:
        """Choose the window that should continue a strip."""
        largest = self._sizes.largest
        window = window_from(strip.aim - 1 - max(strip.step, self._slack), largest)
        gains_little = not strip.step and window.reach - strip.top < largest // 4
        if gains_little or len(strip.tail) > largest // 2:  # inside a large group
            overlap = 2 + self._slack + strip.step + largest // 8 * strip.stuck
            if strip.step or strip.stuck:
                window = window_from(strip.top - overlap, largest)
            else:
                window = window_past(strip.top, overlap, largest)
        return window._replace(per_page=window.per_page - self._empty.looks)
