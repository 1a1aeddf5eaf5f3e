"""Judge the vendor's clock, the time zone of its timestamps, and its speed."""

from __future__ import annotations

import re
import statistics
import time
from calendar import timegm
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.check.judgement import Judgement, span
from airflow_provider_customerly.values.words import count

if TYPE_CHECKING:
    from airflow_provider_customerly.check.inquiry import Observed
    from airflow_provider_customerly.check.wire import Exchange

_FORMAT = "%Y-%m-%d %H:%M:%S"
_STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_TOLERANCE = 60.0  # seconds by which clocks may differ and still count as equal
_RECENT = 15 * 60.0  # the smallest distance between two time zones


def clock(seen: Observed) -> Judgement:
    """Judge the vendor's clock by the ``Date`` header."""
    ahead = _ahead(seen.exchanges)
    if ahead is None:
        return Judgement("not checked", "No response has a Date header.")
    where = "ahead of" if ahead > 0 else "behind"
    evidence = (
        f"By its Date header the vendor's clock is {span(ahead)} {where} this machine's, give or take 1 s."
    )
    return Judgement("holds" if abs(ahead) <= _TOLERANCE else "differs", evidence)


def stamp_format(seen: Observed) -> Judgement:
    """Judge the format of ``last_update``."""
    rows = seen.rows
    if not rows:
        return Judgement("not checked", "No contact was seen.")
    odd = sum(_stamp(row.get("last_update")) is None for row in rows)
    if odd:
        return Judgement(
            "differs",
            f"{odd} of {count(len(rows), 'contact')} have a last_update in another format, or none.",
        )
    return Judgement("holds", f"All of {count(len(rows), 'contact')} have this format.")


def utc(seen: Observed) -> Judgement:
    """Judge the zone of ``last_update`` by the vendor's clock and by the fields with epoch seconds."""
    rows = [(stamp, row) for row in seen.rows if (stamp := _stamp(row.get("last_update"))) is not None]
    if not rows:
        return Judgement("not checked", "No contact with a last_update was seen.")
    now = max(exchange.middle for exchange in seen.exchanges) + (_ahead(seen.exchanges) or 0.0)
    age = now - max(stamp for stamp, _ in rows)
    newest = f"The newest last_update, read as UTC, is {span(age)} {'old' if age >= 0 else 'in the future'}"
    if age < -_TOLERANCE:
        return Judgement("differs", f"{newest} by the vendor's clock.")
    if age < _RECENT:
        return Judgement("holds", f"{newest} by the vendor's clock.")
    early = [
        since - stamp for stamp, row in rows if (since := _seconds(row.get("first_seen_at"))) > stamp + 60
    ]
    if early:
        return Judgement(
            "differs",
            f"{newest}, and {len(early)} of {count(len(rows), 'contact')} were first seen after it, "
            f"by up to {span(max(early))}.",
        )
    return Judgement(
        "not checked", f"{newest}. Update any contact in Customerly, then check again immediately."
    )


def epoch_seconds(seen: Observed) -> Judgement:
    """Judge the unit of ``first_seen_at`` and ``last_activity``."""
    values = [
        seconds
        for row in seen.rows
        for name in ("first_seen_at", "last_activity")
        if (seconds := _seconds(row.get(name)))
    ]
    if not values:
        return Judgement("not checked", "No contact with first_seen_at or last_activity was seen.")
    large = sum(value > 1e11 for value in values)
    if large:
        return Judgement("differs", f"{large} of {count(len(values), 'value')} look like milliseconds.")
    return Judgement("holds", f"{count(len(values), 'value')} of first_seen_at and last_activity fit.")


def speed(seen: Observed) -> Judgement:
    """Judge whether the connection's timeout leaves room."""
    seconds = sorted(page.exchange.seconds for page in seen.pages if not page.error)
    if not seconds:
        return Judgement("not checked", "No page could be read.")
    evidence = (
        f"A page of {seen.full} took {1000 * statistics.median(seconds):.0f} ms (median of {len(seconds)}), "
        f"the slowest {1000 * seconds[-1]:.0f} ms; the timeout is {seen.timeout:g} s."
    )
    return Judgement("holds" if seconds[-1] <= seen.timeout / 2 else "differs", evidence)


def _ahead(exchanges: list[Exchange]) -> float | None:
    """Return how many seconds the vendor's clock is ahead of this machine's; None if it is unknown."""
    found = []
    for exchange in exchanges:
        date = exchange.answer.headers.get("Date") if exchange.answer is not None else None
        try:
            told = parsedate_to_datetime(date or "").timestamp()
        except (ValueError, TypeError, OverflowError):
            continue
        found.append(told + 0.5 - exchange.middle)  # a Date header is rounded down to a second
    return statistics.median(found) if found else None


def _stamp(text: Any) -> int | None:
    try:
        return timegm(time.strptime(text, _FORMAT)) if _STAMP.fullmatch(text) else None
    except (TypeError, ValueError):
        return None


def _seconds(value: Any) -> float:
    """Read epoch seconds from a number or text; 0 if there are none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0
