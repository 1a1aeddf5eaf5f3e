"""Chained windows: reads a list that moves while it is read, and proves that nothing was lost.

This is the rule alone, without network or threads: `ask` says what to request next, `receive` takes an
answer and gives back the rows that became certain. Answers may come in any order.

The proof is by stamps, not by positions. A window shows every contact with a stamp between its first and
its last row (see `Seen`), so the windows together show all of them once their stretches overlap without a
gap: the *frontier* is the place up to which they do. Positions only serve to guess which window to ask for
next; an update or a deletion moves rows up, and a guess that was too high leaves a gap, which is bridged
from lower down.
"""

from __future__ import annotations

import time
from bisect import insort
from typing import TYPE_CHECKING, Literal, NamedTuple

from airflow_provider_customerly.client.certificate import Certificate
from airflow_provider_customerly.client.errors import CustomerlyProtocolError
from airflow_provider_customerly.client.fold import Fold
from airflow_provider_customerly.client.list_end import EmptyList, ListEnd
from airflow_provider_customerly.client.page_size import PageSize
from airflow_provider_customerly.client.seen import END, START, Mark, Seen
from airflow_provider_customerly.client.tie import TieGroup
from airflow_provider_customerly.client.window import Window, window_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_customerly.client.records import Record

_WRONG_ENDS = 16
_VAIN_ANSWERS = 60


class Ticket(NamedTuple):
    """A request that the chain waits for."""

    number: int
    purpose: Literal["next", "ahead", "behind", "tie"]
    window: Window
    moves: int
    """How often the frontier had moved when this was asked for."""


class Chain:
    """The state of one reading.

    :param low: read only contacts with `last_update` at or after this text; all of them by default.
    :param start: position to begin at, a guess of where `low` is.
    :param largest: most rows a page may have, 20 to 100.
    :param prefetch: how many windows may be asked for or kept beyond the frontier.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        low: str | None = None,
        start: int = 0,
        largest: int = 100,
        prefetch: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.certificate = Certificate(page_size=largest)
        self.fold = Fold()
        self.done = False
        self._clock = clock
        self._prefetch = prefetch
        self._sizes = PageSize(largest)
        self._floor: Mark = START if low is None else (low, 0)
        self._frontier = self._floor
        self._moves = 0  # how often the frontier has moved
        self._position = start  # where the first row behind the frontier is believed to be
        self._planned = start  # position up to which windows were asked for
        self._dry: int | None = None  # position at which a window ahead came back empty
        self._slack = 1  # rows that neighbours overlap beyond the two they need, grown when links break
        self._step = 0  # how far below `position` to look, grown while a gap is being bridged
        self._empty = EmptyList(clock)
        self._wrong_ends = 0  # ends that were none, since the frontier moved
        self._vain = 0
        self._passed: Mark = START  # how far pages were passed that end before the frontier
        self._stuck_at: str | None = None
        self._ahead: list[Seen] = []
        self._in_flight: dict[int, Ticket] = {}
        self._tickets = 0
        self._tie: TieGroup | None = None
        self._end: ListEnd | None = None
        self._reasons: list[str] = []
        self._out: list[Record] = []

    @property
    def settled(self) -> str:
        """Unchanged contacts with a `last_update` before this were given out; blank if that is not sure."""
        return "" if self._reasons else self._frontier[0]

    def ask(self) -> Ticket | None:
        """Give the next request worth sending now; None to wait for answers (or until `done`)."""
        wanted = None if self.done else self._wanted()
        if wanted is None:
            return None
        self._tickets += 1
        ticket = Ticket(self._tickets, *wanted, self._moves)
        self._in_flight[ticket.number] = ticket
        if ticket.purpose in ("next", "ahead"):
            self._planned = max(self._planned, ticket.window.reach)
        return ticket

    def receive(self, ticket: Ticket, rows: list[Record]) -> list[Record]:
        """Take the answer to a request.

        :return: rows that are certain now; a contact given out before may come again in a newer version.
        :raises OrderBrokenError: the server does not sort by `last_update`.
        :raises CustomerlyProtocolError: the server's answers do not lead through the list.
        """
        del self._in_flight[ticket.number]
        if rows:
            self._empty.looks = 0
            self._sizes.note(len(rows))
            if ticket.purpose == "behind" and self._end is not None and self._end.is_asked_by(ticket.window):
                self._end_was_wrong(self._end)
            ticket = ticket._replace(window=self._sizes.as_served(ticket.window))
            self._take(ticket, Seen.of(ticket.window, rows, ticket.moves))
        else:
            self._take_empty(ticket)
        self.certificate.duplicates = self.fold.duplicates
        given, self._out = self._out, []
        return given

    # what to ask for

    def _wanted(self) -> tuple[Literal["next", "ahead", "behind", "tie"], Window] | None:
        if not self._empty.is_due:
            return None
        if self._tie is not None:
            window = self._tie.ask()
            return None if window is None else ("tie", window)
        if self._end is not None:
            if self._end.tail is None:
                if not self._is_latest_under_way():
                    return "next", self._next_window()
                if self.certificate.end_moved:
                    return None  # a busy list: what is behind its end is asked for when the end is known
            window = self._end.ask(self._sizes.sure)
            return None if window is None else ("behind", window)
        if not self._is_next_under_way():
            self._note_gap()
            return "next", self._next_window()
        # One look first: many lists fit in a page.
        room = self._prefetch if self.certificate.links else 1
        if len(self._in_flight) + len(self._ahead) >= room:
            return None
        window = window_from(self._planned - 2 - self._slack, self._sizes.largest)
        if self._dry is not None and window.offset >= self._dry:
            return None
        return "ahead", window

    def _next_window(self) -> Window:
        window = window_from(self._position - 1 - max(self._step, self._slack), self._sizes.largest)
        return window._replace(per_page=window.per_page - self._empty.looks)

    def _note_gap(self) -> None:
        if self._ahead:
            self.certificate.bridges += 1
            if self._ahead[0].window.offset < self._position:
                self._slack = min(2 * self._slack + 1, self._sizes.largest // 3)  # rows moved up in between

    def _is_next_under_way(self) -> bool:
        return any(
            ticket.purpose == "next"
            or (ticket.purpose == "ahead" and ticket.window.offset < self._position < ticket.window.reach)
            for ticket in self._in_flight.values()
        )

    def _is_latest_under_way(self) -> bool:
        tickets = self._in_flight.values()
        return any(ticket.purpose == "next" and ticket.moves == self._moves for ticket in tickets)

    # what an answer tells

    def _take(self, ticket: Ticket, seen: Seen) -> None:
        self.certificate.windows += 1
        if self._dry is not None and seen.end > self._dry:
            self._dry = None
        frontier = self._frontier
        if ticket.purpose == "next" and seen.low > frontier:
            self._look_lower(ticket.window)
        if self._tie is not None:
            self._take_tied(self._tie, ticket, seen)
        if ticket.purpose != "tie" or seen.high > self._frontier:
            insort(self._ahead, seen, key=lambda one: one.low)
        while not self.done and self._ahead and self._ahead[0].low <= self._frontier:
            self._link(self._ahead.pop(0))
        if ticket.purpose == "next":
            self._note_progress(moved=self._frontier > frontier)

    def _take_empty(self, ticket: Ticket) -> None:
        if ticket.purpose == "behind":
            if self._end is not None:
                self._end.confirm(ticket.window)
                self._finish_at(self._end)
        elif ticket.purpose == "tie":
            if self._tie is not None:
                self._tie.receive(ticket.window, None)
                self._close_tie(self._tie)
        elif ticket.window.offset == 0:
            self._empty.note(len(self.fold), self._sizes.largest)
            if self._empty.is_believed:
                self._finish([])
        elif ticket.purpose == "ahead":
            self._dry = min(ticket.window.offset, self._dry or ticket.window.offset)
        else:
            self.certificate.empty_answers += 1
            self._look_lower(ticket.window)
            self._note_progress(moved=False)

    def _look_lower(self, window: Window) -> None:
        """Rows have moved up since their positions were learned."""
        self._position = min(self._position, window.offset)
        self._step = 2 * self._step + 2

    def _note_progress(self, *, moved: bool) -> None:
        moved = moved or self._tie is not None or (self._end is not None and self._end.tail is not None)
        self._vain = 0 if moved else self._vain + 1
        if self._vain == _VAIN_ANSWERS:
            raise CustomerlyProtocolError(
                f"{_VAIN_ANSWERS} list pages in a row brought nothing new after {len(self.fold)} contacts: "
                "the server seems to repeat pages or to ignore `page`",
                advice="Compare two list pages by hand, and report it to Customerly's support.",
            )

    def _link(self, seen: Seen) -> None:
        """Take a window whose stretch begins at or before the frontier."""
        first = seen.index(self._frontier)
        is_latest = seen.moves == self._moves
        self._out += self.fold.unknown(seen.rows[seen.index(self._floor) : first])
        if seen.high > self._frontier:
            last = seen.index(seen.high)
            self._give(seen.rows[first:last], seen.stamps[first:last])
            self._advance(seen.high, seen.window.offset + last)
            if self._sizes.largest < self.certificate.page_size and not seen.short:
                self.certificate.page_size = self._sizes.largest
                self.certificate.clamped = True
            self.certificate.links += 1
            if self.certificate.links % 16 == 0:
                self._slack = max(1, self._slack - 1)
        elif seen.high == self._frontier and not seen.short and self._tie is None:
            self._stuck(seen, seen.window.offset + first)
        elif seen.high < self._frontier:
            self._position = max(self._position, seen.end)
            self._step = 0
            if seen.high > self._passed:
                self._passed = seen.high  # begun too far below, but the pages lead up
                self._vain = self._wrong_ends = 0
        # A latest look that ends before the frontier shows that all behind it was deleted, or never was.
        if seen.short and self._tie is None and (is_latest or (seen.stamps[-1], 1) >= self._frontier):
            self._take_end(seen, is_latest=is_latest)

    def _advance(self, mark: Mark, position: int) -> None:
        self._frontier = mark
        self._moves += 1
        self._position = position
        self._step = 0
        self._stuck_at = None
        self._wrong_ends = 0
        self._tie = None
        self._end = None

    def _give(self, rows: list[Record], stamps: list[str]) -> None:
        if self._tie is not None:
            rows = [
                row for row, stamp in zip(rows, stamps, strict=True) if stamp != self._tie.stamp
            ] + self._tie.new(
                [row for row, stamp in zip(rows, stamps, strict=True) if stamp == self._tie.stamp]
            )
        self._out += self.fold.fresh(rows)

    # stamps shared by more contacts than a window holds

    def _stuck(self, seen: Seen, position: int) -> None:
        self._position = position
        self._step = 0
        stamp = seen.stamps[-1]
        if self._stuck_at != stamp:
            self._stuck_at = stamp  # a better placed window may still show the whole group
            return
        self._tie = TieGroup(stamp, position, self._sizes.sure, self._clock)
        self.certificate.tie_groups += 1

    def _take_tied(self, tie: TieGroup, ticket: Ticket, seen: Seen) -> None:
        self._out += self.fold.fresh(tie.new(tie.members(seen)))
        if ticket.purpose == "tie":
            self.certificate.tie_rereads += 1
            tie.receive(ticket.window, seen)
            self._close_tie(tie)

    def _close_tie(self, tie: TieGroup) -> None:
        if not (tie.proven or tie.exhausted):
            return
        if not tie.proven:
            self._reasons.append(
                f"about {tie.size} contacts share last_update {tie.stamp} and could not be counted completely"
            )
        at_end, position = tie.is_at_list_end, tie.end
        self._advance((tie.stamp, 1), position)
        if at_end:
            self._finish([])

    # the end of the list

    def _take_end(self, seen: Seen, *, is_latest: bool) -> None:
        if seen.window.per_page > self._sizes.sure:
            self._ask_for_less()
            return
        if self._end is None or self._end.position != seen.window.reach:
            self._end = ListEnd(seen.window.reach)
        self._end.count = len(seen.rows)
        if is_latest:
            # Only the end as it was after everything else was read: what was updated meanwhile went there.
            self._end.tail = seen.rows[seen.index(self._frontier) :]
        self._finish_at(self._end)

    def _ask_for_less(self) -> None:
        """This may be the end, or a page that was clamped: only what is surely served shows which."""
        self._sizes.largest = self._sizes.sure
        self._planned = self._position
        self._slack = min(self._slack, self._sizes.largest // 3)

    def _finish_at(self, end: ListEnd) -> None:
        if end.tail is not None and end.is_confirmed:
            self._finish(end.tail)

    def _end_was_wrong(self, end: ListEnd) -> None:
        """Rows came from behind what looked like the end: the list grew, or rows are left out of pages."""
        self.certificate.end_moved += 1
        self._wrong_ends += 1
        self._end = None
        self._sizes.check(end)
        if self._wrong_ends > _WRONG_ENDS:
            self._reasons.append("contacts came again and again from behind what looked like the list's end")
            self._finish(end.tail or [])

    def _finish(self, tail: list[Record]) -> None:
        self._give(tail, [""] * len(tail))
        self._advance(END, self._position)
        self._ahead.clear()
        self.certificate.verdict = "unproven" if self._reasons else "complete"
        self.certificate.reason = "; ".join(self._reasons) or None
        self.done = True
