"""Sweep over a list that changes: from a timestamp to the end, in windows that overlap without a gap.

This is only the logic, without network or threads: ``ask`` returns the next request, ``receive`` takes its
response. Responses may arrive in any order.

The proof uses timestamps, not positions. A window shows every contact with a timestamp between those of its
first and last row (see ``Seen``), so overlapping windows without a gap show all contacts. Positions only help
to guess the next window (see ``Choice``).
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from airflow_provider_customerly.client.errors import CustomerlyProtocolError
from airflow_provider_customerly.reading.choice import Choice, Ticket
from airflow_provider_customerly.reading.list_end import EmptyList, ListEnd
from airflow_provider_customerly.reading.strips import Strip, Strips
from airflow_provider_customerly.reading.tie import TieGroup
from airflow_provider_customerly.reading.windows import START, Mark, Seen

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


class Sweep:
    """The state of one sweep.

    :param floor: read the list from this mark on.
    :param start: position to start at, a guess of where ``floor`` is.
    :param sizes: page sizes that the server returns.
    :param fold: takes the rows with a timestamp of ``low`` or later.
    :param order: what is known of the order among equal timestamps.
    :param prefetch: see ``Choice``, also for ``ahead_until``.
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
        low: str,
        prefetch: int,
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
        self._trusts_short = trusts_short
        self._is_catch_up = is_catch_up
        self._sizes = sizes
        self._order = order
        self._order.begin()
        self._strips = Strips(Strip.floor(floor, start), order)
        self._empty = EmptyList(clock)
        self._choice = Choice(
            start, sizes, order, self._empty, certificate, prefetch=prefetch, ahead_until=ahead_until
        )
        self._ties: dict[str, TieGroup] = {}
        self._has_counted = False  # a group had to be counted, and so may the next ones
        self._end: ListEnd | None = None
        self._doubted: list[tuple[Ticket, Seen]] = []  # short pages, until a clamp is ruled out
        self._windows = 0
        self._wrong_ends = 0  # wrong ends since the proven part last grew
        self._vain = 0
        self._passed: Mark = START  # how far pages before the end of the proven part have advanced

    @property
    def settled(self) -> str:
        """Unchanged contacts with an earlier ``last_update`` were returned; blank if that is not certain."""
        return "" if self.reasons else min([self._strips.proven.last, *self._order.doubts])

    def ask(self) -> Ticket | None:
        """Return the next request worth sending now; None to wait for responses (or until ``done``)."""
        if self.done or not self._empty.is_due:
            return None
        return self._choice.ask(self._strips, self._ties, self._end, may_be_clamped=bool(self._doubted))

    def awaits(self, ticket: Ticket) -> bool:
        """Return whether this sweep has a request in flight."""
        return ticket in self._choice.in_flight

    def receive(self, ticket: Ticket, rows: list[Record]) -> list[Record]:
        """Take the response to a request.

        :return: contacts not seen before, and newer versions of others.
        :raises OrderBrokenError: the server does not sort by ``last_update``.
        :raises CustomerlyProtocolError: the responses make no progress through the list.
        """
        self._choice.in_flight.remove(ticket)
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

    # what a response shows

    def _take(self, ticket: Ticket, seen: Seen) -> None:
        if ticket.purpose != "tie":
            self._windows += 1
        is_last = seen.is_short and not self.has_short_pages
        self._choice.note_rows(seen.end, is_last=is_last)
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
            self._sizes.largest = self._sizes.sure
            self._choice.go_back(self._strips.proven.aim)
        self._compare_order(seen)
        self._note_positions(seen)
        proven, is_latest = self._strips.proven.high, ticket in self._choice.latest
        has_grown, is_linked = self._strips.add(Strip.of(seen))
        self._certificate.links += has_grown
        self._choice.note_links()
        is_end = seen.is_short and is_linked and len(self._strips) == 1
        self._take_tied(ticket, seen)
        if self._order.show(seen.low, (seen.stamps[-1], 1) if is_last else seen.high):
            # A contact that was missing until now may have moved to the end after that was read.
            self._choice.latest.clear()
            self._end = None
        if ticket.purpose == "order":
            self._take_order(ticket, seen)
        if ticket.strip is not None:
            self._take_next(ticket, ticket.strip, seen, is_end=is_end)
        if self._strips.proven.high > proven:
            self._choice.latest.clear()
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
            self._choice.note_nothing(ticket.window.offset)
        elif ticket.strip is not None:
            self._certificate.empty_answers += 1
            ticket.strip.look_lower(ticket.window.offset)
            self._note_vain()

    def _note_positions(self, seen: Seen) -> None:
        ends = ((seen.stamps[0], 1), seen.high)
        self.trail += [(mark, seen.position(mark)) for mark in ends if seen.shows(mark)]
        self.has_moved |= any(strip.has_moved(seen) for strip in self._strips)

    def _take_next(self, ticket: Ticket, strip: Strip, seen: Seen, *, is_end: bool) -> None:
        """Take a window that was requested to continue a strip."""
        if strip not in self._strips or strip.extent != ticket.extent:
            self._vain = 0
            return
        if seen.low > strip.high and seen.stamps[0] != strip.last:
            strip.look_lower(ticket.window.offset)
        elif seen.high < strip.high:
            strip.look_higher(seen.end)
            if seen.high > self._passed:
                self._passed = seen.high  # started too early in the list, but the pages make progress
                self._vain = self._wrong_ends = 0
            if strip.stuck:
                self._stick(strip, seen)
        elif not is_end:
            self._stick(strip, seen)
        self._note_vain()

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
        self._choice.go_back(position)
        self._passed = START
        self._choice.latest.clear()
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
        strip.stick(seen)
        if strip.stuck > (1 if self._has_counted else _TRIES_IN_GROUP) and stamp not in self._ties:
            self._has_counted = True
            self._ties[stamp] = TieGroup(
                stamp, strip.aim, self._sizes.sure, self._clock, counted=self._is_catch_up
            )
            self._certificate.tie_groups += 1

    def _take_tied(self, ticket: Ticket, seen: Seen) -> None:
        for tie in list(self._ties.values()):
            if all(strip.last != tie.stamp for strip in self._strips):
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
        # A contact of the group may have moved to the end since that was read.
        self._choice.latest.clear()

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
