"""Sweep over a list that changes: from a timestamp to the end, in windows that overlap without a gap.

This is only the logic, without network or threads: ``ask`` returns the next request, ``receive`` takes its
response. Responses may arrive in any order.

The proof uses timestamps, not positions. A window shows every contact with a timestamp between those of its
first and last row (see ``Seen``), so overlapping windows without a gap show all contacts. Positions only help
to guess the next window. An update or a deletion moves rows up, and a guess that was too high leaves a gap,
which is filled from an earlier position. All gaps are read in parallel.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Literal, NamedTuple

from airflow_provider_customerly.client.errors import CustomerlyProtocolError
from airflow_provider_customerly.reading.list_end import EmptyList, ListEnd
from airflow_provider_customerly.reading.strips import Strip, Strips
from airflow_provider_customerly.reading.tie import TieGroup
from airflow_provider_customerly.reading.windows import (
    START,
    Mark,
    Seen,
    Window,
    window_around,
    window_from,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_customerly.reading.certificate import Certificate
    from airflow_provider_customerly.reading.fold import Fold
    from airflow_provider_customerly.reading.list_end import ServedSizes
    from airflow_provider_customerly.reading.records import Record
    from airflow_provider_customerly.reading.tie_order import TieOrder

_WRONG_ENDS = 16
_VAIN_ANSWERS = 60
_TRIES_IN_GROUP = 3
"""How often the window that continues a group is requested, each time from an earlier position."""
_MOST_ANSWERS, _TIMES_ITS_PAGES = 300, 4
"""The most responses a sweep takes, not counting those for groups, because a growing list never ends."""

Purpose = Literal["next", "ahead", "behind", "tie", "order", "probe"]


class Ticket(NamedTuple):
    """A request in flight."""

    number: int
    sweep: Sweep
    purpose: Purpose
    window: Window
    strip: Strip | None
    """For ``next``: the strip that the window should continue."""
    shown: tuple[Mark, int]
    """How far that strip reached at the time of the request."""
    tie: TieGroup | None
    moves: int
    """How often the proven part had grown by the time of the request."""


class _Wanted(NamedTuple):
    purpose: Purpose
    window: Window
    strip: Strip | None = None
    tie: TieGroup | None = None


class Sweep:
    """The state of one sweep.

    :param floor: read the list from this mark on.
    :param start: position to start at, a guess of where ``floor`` is.
    :param sizes: page sizes that the server returns.
    :param fold: takes the rows with a timestamp of ``low`` or later.
    :param order: what is known of the order among equal timestamps.
    :param prefetch: how many windows may be in flight or beyond the proven part.
    :param ahead_until: position up to which windows may be requested before they are known to be needed.
        Later ones are read one at a time.
    :param trusts_short: whether a short page is the end of the list without further proof.
    :param is_catch_up: whether an earlier sweep has counted the groups with equal timestamps.
    :param clock: returns monotonic seconds.
    """

    def __init__(
        self,
        floor: Mark,
        start: int,
        sizes: ServedSizes,
        fold: Fold,
        order: TieOrder,
        certificate: Certificate,
        clock: Callable[[], float],
        *,
        low: str = "",
        prefetch: int = 0,
        ahead_until: int | None = None,
        trusts_short: bool = False,
        is_catch_up: bool = False,
    ) -> None:
        self.done = False
        self.reasons: list[str] = []
        """Why the sweep proves nothing."""
        self.has_moved = False
        """Rows were seen at different positions than before."""
        self.has_short_pages = False
        """A page was short, but not the end of the list."""
        self.trail: list[tuple[Mark, int]] = []
        """Marks in the list, with their positions at the time they were seen."""
        self._certificate = certificate
        self._fold = fold
        self._low = low
        self._clock = clock
        self._prefetch = prefetch
        self._ahead_until = ahead_until
        self._trusts_short = trusts_short
        self._is_catch_up = is_catch_up
        self._sizes = sizes
        self._order = order
        self._order.begin()
        self._strips = Strips(Strip.floor(floor, start), order)
        self._moves = 0  # how often the proven part has grown
        self._planned = start  # position up to which windows were requested
        self._dry: int | None = None  # position of a window ahead that was empty
        self._slack = 1  # rows of overlap beyond the two that are needed; grows when links break
        self._empty = EmptyList(clock)
        self._ties: dict[str, TieGroup] = {}
        self._has_counted = False  # a group had to be counted, and so may the next ones
        self._end: ListEnd | None = None
        self._doubted: list[tuple[Ticket, Seen]] = []  # short pages, until a clamp is ruled out
        self._windows = 0
        self._wrong_ends = 0  # wrong ends since the proven part last grew
        self._vain = 0
        self._passed: Mark = START  # how far pages before the end of the proven part have advanced
        self._in_flight: dict[int, Ticket] = {}
        self._tickets = 0

    @property
    def settled(self) -> str:
        """Unchanged contacts with an earlier ``last_update`` were returned; blank if that is not certain."""
        return "" if self.reasons else min([self._strips.proven.last, *self._order.doubts])

    def ask(self) -> Ticket | None:
        """Return the next request worth sending now; None to wait for responses (or until ``done``)."""
        wanted = None if self.done or not self._empty.is_due else self._wanted()
        if wanted is None:
            return None
        purpose, window, strip, tie = wanted
        self._tickets += 1
        shown = (strip.high, len(strip.tail)) if strip is not None else (START, 0)
        ticket = Ticket(self._tickets, self, purpose, window, strip, shown, tie, self._moves)
        self._in_flight[ticket.number] = ticket
        if purpose in ("next", "ahead"):
            self._planned = max(self._planned, window.reach)
        return ticket

    def receive(self, ticket: Ticket, rows: list[Record]) -> list[Record]:
        """Take the response to a request.

        :return: contacts not seen before, and newer versions of others.
        :raises OrderBrokenError: the server does not sort by ``last_update``.
        :raises CustomerlyProtocolError: the responses make no progress through the list.
        """
        del self._in_flight[ticket.number]
        if not rows:
            self._take_empty(ticket)
            return []
        self._empty.looks = 0
        self._sizes.note(len(rows))
        if ticket.purpose == "behind" and self._end is not None and self._end.is_asked_by(ticket.window):
            self._end_was_wrong(self._end)
        seen = Seen.of(self._sizes.as_served(ticket.window), rows)
        given = self._fold.take(rows[bisect_left(seen.stamps, self._low) :])
        if given:
            self._vain = 0
        self._certificate.windows += 1
        self._take(ticket, seen)
        if ticket.purpose == "probe":
            doubted, self._doubted = self._doubted, []
            for earlier, short in doubted:
                if earlier.window.per_page <= self._sizes.sure:
                    self._take(earlier, short)
        return given

    # what to request

    def _wanted(self) -> _Wanted | None:
        if self._doubted:
            is_under_way = any(ticket.purpose == "probe" for ticket in self._in_flight.values())
            return None if is_under_way else _Wanted("probe", Window(0, self._sizes.largest))
        if self._order.doubts and not any(ticket.purpose == "order" for ticket in self._in_flight.values()):
            return _Wanted("order", self._order.ask(self._sizes.largest))
        if self._end is not None:
            return self._wanted_at(self._end)
        proven = self._strips.proven
        for strip, upper in self._strips.with_upper():
            if (tie := self._ties.get(strip.last)) is not None and not strip.is_closed:
                if (window := tie.ask()) is not None:
                    return _Wanted("tie", window, tie=tie)
            elif upper is not None and not self._is_under_way(strip):
                # A gap close to the proven part has usually closed by the time that part reaches it.
                if strip is proven or strip.end > proven.end + self._sizes.largest:
                    self._note_gap(strip, upper)
                    return _Wanted("next", self._window_between(strip, upper), strip)
            elif upper is None and len(self._strips) == 1 and not self._is_under_way(strip):
                return _Wanted("next", self._window_behind(strip), strip)
        return self._wanted_ahead()

    def _wanted_at(self, end: ListEnd) -> _Wanted | None:
        if not end.is_read:
            if not self._is_latest_under_way():
                proven = self._strips.proven
                return _Wanted("next", self._window_behind(proven), proven)
            if self._certificate.end_moved:
                return None  # a busy list: look past its end only once the end is known
        window = end.ask(self._sizes.sure)
        return None if window is None else _Wanted("behind", window)

    def _wanted_ahead(self) -> _Wanted | None:
        # Start with one window, because many lists fit in a page.
        room = self._prefetch if self._windows else 1
        if len(self._in_flight) + self._strips.windows_ahead >= room:
            return None
        window = self._window_past(self._planned, 2 + self._slack)
        if self._dry is not None and window.offset >= self._dry:
            return None
        if self._ahead_until is not None and window.reach > self._ahead_until:
            return None
        return _Wanted("ahead", window)

    def _window_behind(self, strip: Strip) -> Window:
        """Choose the window that should continue a strip."""
        largest = self._sizes.largest
        window = window_from(strip.aim - 1 - max(strip.step, self._slack), largest)
        looks_lower = strip.step or strip.stuck
        gains_little = not strip.step and window.reach - strip.top < largest // 4
        if gains_little or len(strip.tail) > largest // 2:  # inside a large group
            overlap = 2 + self._slack + strip.step + largest // 8 * strip.stuck
            if looks_lower:
                window = window_from(strip.top - overlap, largest)
            else:
                window = self._window_past(strip.top, overlap)
        return window._replace(per_page=window.per_page - self._empty.looks)

    def _window_past(self, position: int, overlap: int) -> Window:
        """Choose a window with ``overlap`` rows before a position, or fewer if needed to reach past it."""
        while True:
            window = window_from(position - overlap, self._sizes.largest)
            if window.reach > position or overlap <= 1:
                return window
            overlap = overlap // 2

    def _window_between(self, strip: Strip, upper: Strip) -> Window:
        if strip.last == upper.first and not strip.step:
            around = None
            if not strip.has_one_stamp and not upper.has_one_stamp:
                around = window_around(strip.aim - 1, upper.head_end + 1, self._sizes.largest)
            if around is None and not strip.stuck:
                around = window_around(strip.end - 3, upper.offset + 3, self._sizes.largest)
            if around is not None:
                return around
        return self._window_behind(strip)

    def _note_gap(self, strip: Strip, upper: Strip) -> None:
        self._certificate.bridges += 1
        if upper.offset < strip.aim and strip.last < upper.first:
            self._slack = min(2 * self._slack + 1, self._sizes.largest // 3)  # rows moved up in between

    def _is_under_way(self, strip: Strip) -> bool:
        return any(
            ticket.strip is strip
            or (ticket.purpose == "ahead" and ticket.window.offset < strip.end < ticket.window.reach)
            for ticket in self._in_flight.values()
        )

    def _is_latest_under_way(self) -> bool:
        tickets = self._in_flight.values()
        return any(ticket.purpose == "next" and ticket.moves == self._moves for ticket in tickets)

    # what a response shows

    def _take(self, ticket: Ticket, seen: Seen) -> None:
        if ticket.purpose != "tie":
            self._windows += 1
        if self._dry is not None and seen.end > self._dry:
            self._dry = None
        if seen.is_short and not self.has_short_pages:
            self._dry = min(seen.end, self._dry or seen.end)
        if (
            ticket.purpose not in ("behind", "tie")
            and seen.is_short
            and seen.window.per_page > self._sizes.sure
        ):
            # This may be the end, or a clamped page. The first page of the list shows which.
            if seen.window.offset:
                # The rows of a clamped page are not at the requested positions.
                self._doubted.append((ticket, seen))
                return
            self._planned = self._strips.proven.aim
            self._sizes.largest = self._sizes.sure
            self._slack = min(self._slack, self._sizes.largest // 3)
        self._compare_order(seen)
        self._note_positions(seen)
        proven, is_latest = self._strips.proven.high, ticket.moves == self._moves
        has_grown, is_linked = self._strips.add(Strip.of(seen))
        self._certificate.links += has_grown
        is_end = seen.is_short and is_linked and len(self._strips) == 1
        if self._certificate.links % 16 == 0:
            self._slack = max(1, self._slack - 1)
        self._take_tied(ticket, seen)
        is_at_end = seen.is_short and not self.has_short_pages
        if self._order.show(seen.low, (seen.stamps[-1], 1) if is_at_end else seen.high):
            # A contact that was missing until now may have moved to the end after that was read.
            self._moves += 1
            self._end = None
        if ticket.purpose == "order":
            self._take_order(ticket, seen)
        if ticket.strip is not None:
            self._take_next(ticket, ticket.strip, seen, is_end=is_end)
        if self._strips.proven.high > proven:
            self._moves += 1
            self._wrong_ends = 0
            self._end = None
        if len(self._strips) > 1 or self._ties:
            self._end = None  # otherwise only the end would be requested, and never the gap
        if self._sizes.largest < self._certificate.page_size and not seen.is_short:
            self._certificate.page_size = self._sizes.largest
            self._certificate.clamped = True
        if is_end and not self._ties:
            self._take_end(seen, is_latest=is_latest)
        elif self._end is not None:
            self._finish_at(self._end)
        most = _MOST_ANSWERS + _TIMES_ITS_PAGES * len(self._fold) // self._sizes.largest
        if not self.done and self._windows > most:
            self._finish("the list's end moved faster than it could be read")

    def _take_empty(self, ticket: Ticket) -> None:
        if ticket.purpose == "behind":
            if self._end is not None:
                self._end.confirm(ticket.window)
                self._finish_at(self._end)
        elif ticket.tie is not None:
            ticket.tie.receive(ticket.window, None)
            self._close_tie(ticket.tie)
        elif ticket.purpose == "order" and ticket.window.offset:
            self._take_order(ticket, None)
        elif ticket.window.offset == 0:
            self._empty.note(len(self._fold), self._sizes.largest)
            if self._empty.is_believed:
                self._finish()
        elif ticket.purpose == "ahead":
            self._dry = min(ticket.window.offset, self._dry or ticket.window.offset)
        elif ticket.strip is not None:
            self._certificate.empty_answers += 1
            self._look_lower(ticket.strip, ticket.window)
            self._note_vain()

    def _note_positions(self, seen: Seen) -> None:
        """Compare the positions of strip ends in the window with their known positions."""
        ends = ((seen.stamps[0], 1), seen.high)
        self.trail += [(mark, seen.position(mark)) for mark in ends if seen.shows(mark)]
        for strip, _ in self._strips.with_upper():
            top = strip.end if strip.is_closed else strip.tail_start
            if strip.windows and not strip.has_one_stamp:
                for mark, position in ((strip.high, top), (strip.low, strip.head_end)):
                    if seen.shows(mark):
                        self.has_moved |= seen.position(mark) != position

    def _take_next(self, ticket: Ticket, strip: Strip, seen: Seen, *, is_end: bool) -> None:
        """Take a window that was requested to continue a strip."""
        if strip not in self._strips or (strip.high, len(strip.tail)) != ticket.shown:
            self._vain = 0
            return
        if seen.low > strip.high and seen.stamps[0] != strip.last:
            self._look_lower(strip, ticket.window)
        elif seen.high < strip.high:
            strip.aim, strip.top = max(strip.aim, seen.end), max(strip.top, seen.end)
            strip.step = 0
            if seen.high > self._passed:
                self._passed = seen.high  # started too early in the list, but the pages make progress
                self._vain = self._wrong_ends = 0
            if strip.stuck:
                self._stick(strip, seen)
        elif not is_end:
            self._stick(strip, seen)
        self._note_vain()

    def _look_lower(self, strip: Strip, window: Window) -> None:
        """Aim at an earlier position, because rows have moved up."""
        strip.aim, strip.top = min(strip.aim, window.offset), min(strip.top, window.offset)
        strip.step = 3 * strip.step + 4

    def _note_vain(self) -> None:
        if self._ties or (self._end is not None and self._end.is_read):
            return
        self._vain += 1
        if self._vain == _VAIN_ANSWERS:
            raise CustomerlyProtocolError(
                f"{_VAIN_ANSWERS} list pages in a row brought nothing new after {len(self._fold)} contacts: "
                "the server seems to repeat pages or to ignore `page`",
                advice="Compare two list pages yourself, and report this to Customerly's support.",
            )

    # the order among equal timestamps

    def _compare_order(self, seen: Seen) -> None:
        """Compare the order in the window with the order in earlier ones; start over if it does not stay."""
        self._order.compare(seen, self._strips.orders(seen.stamps[0], seen.stamps[-1]))
        if self._order.has_changed and self._order.relied_on is not None:
            self._start_over(*self._order.relied_on)

    def _start_over(self, stamp: str, position: int) -> None:
        """Read again from a timestamp on."""
        self._order.begin()
        self._strips = Strips(Strip.floor((stamp, 0), position), self._order)
        self._ties.clear()
        self._end = None
        self._planned = position
        self._passed = START
        self._moves += 1
        self._vain = self._wrong_ends = 0

    def _take_order(self, ticket: Ticket, seen: Seen | None) -> None:
        self._order.receive(ticket.window, seen)
        if self._order.doubts and self._order.is_exhausted:
            stamp = min(self._order.doubts)
            self.reasons.append(
                f"contacts that share last_update {stamp} kept moving, so their order could not be checked"
            )
            self._order.doubts.clear()
        if self._end is not None:
            self._finish_at(self._end)

    # timestamps shared by more contacts than fit in a window

    def _stick(self, strip: Strip, seen: Seen) -> None:
        """Take a window that adds nothing, because it ends in the group at the end of a strip."""
        stamp = strip.last
        if seen.stamps[0] < stamp:
            strip.aim = seen.position((stamp, 0))
        else:
            strip.aim = min(strip.aim, seen.window.offset)
            strip.top = min(strip.top, seen.window.offset)
        strip.step = 0
        strip.stuck += 1
        if strip.stuck > (1 if self._has_counted else _TRIES_IN_GROUP) and stamp not in self._ties:
            self._has_counted = True
            self._ties[stamp] = TieGroup(
                stamp, strip.aim, self._sizes.sure, self._clock, counted=self._is_catch_up
            )
            self._certificate.tie_groups += 1

    def _take_tied(self, ticket: Ticket, seen: Seen) -> None:
        for tie in list(self._ties.values()):
            if not any(strip.last == tie.stamp for strip, _ in self._strips.with_upper()):
                del self._ties[tie.stamp]  # other windows have shown both sides of it
            if seen.stamps[0] <= tie.stamp <= seen.stamps[-1]:
                tie.note(seen.with_stamp(tie.stamp))
        if ticket.tie is not None:
            self._certificate.tie_rereads += 1
            ticket.tie.receive(ticket.window, seen)
            self._close_tie(ticket.tie)

    def _close_tie(self, tie: TieGroup) -> None:
        if self._ties.get(tie.stamp) is not tie or not (tie.proven or tie.exhausted):
            return
        del self._ties[tie.stamp]
        self._vain = 0
        if not tie.proven:
            self.reasons.append(
                f"about {tie.size} contacts share last_update {tie.stamp} and could not be counted completely"
            )
        self.trail.append(((tie.stamp, 1), tie.end))
        self._strips.close(tie.stamp, tie.end)

    # the end of the list

    def _take_end(self, seen: Seen, *, is_latest: bool) -> None:
        # If the newest window ends before the proven part does, everything after it was deleted.
        is_top = (seen.stamps[-1], 1) >= self._strips.proven.high
        if not (is_latest or is_top) or seen.window.per_page > self._sizes.sure:
            return
        if self._end is None or self._end.position != seen.window.reach:
            self._end = ListEnd(seen.window.reach)
        self._end.count = len(seen.rows)
        if is_latest:
            # Only an end read after everything else counts, because updated contacts move there.
            self._end.is_read = True
        self._finish_at(self._end)

    def _finish_at(self, end: ListEnd) -> None:
        if end.is_read and (self._trusts_short or end.is_confirmed) and not self._order.doubts:
            self._finish()

    def _end_was_wrong(self, end: ListEnd) -> None:
        """Note rows after a supposed end: the list grew, or pages leave rows out."""
        self._certificate.end_moved += 1
        self.has_short_pages = True
        self._wrong_ends += 1
        self._end = None
        self._sizes.check(end)
        if self._wrong_ends > _WRONG_ENDS:
            self._finish("contacts came again and again from behind what looked like the list's end")

    def _finish(self, reason: str | None = None) -> None:
        if reason is not None:
            self.reasons.append(reason)
        self.done = True
