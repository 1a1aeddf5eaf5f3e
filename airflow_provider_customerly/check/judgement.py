"""What a judgement is, and the words that several share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow_provider_customerly.check.wire import Exchange
    from airflow_provider_customerly.client import CustomerlyError

Verdict = Literal["holds", "differs", "not checked"]


class Judgement(NamedTuple):
    """A verdict on an assumption and what it rests on; neither ever quotes a contact."""

    verdict: Verdict
    evidence: str
    consequence: str | None = None
    """Instead of the assumption's own, where a case needs other words."""


def told(exchange: Exchange) -> str:
    """Tell what became of a request, as the rest of a sentence about it."""
    return "was answered with data" if exchange.error is None else failure(exchange.error)


def failure(error: CustomerlyError) -> str:
    """Tell what went wrong, as the rest of a sentence: status and vendor's words, else the client's."""
    words = [f"HTTP {error.status}"] if error.status is not None else []
    words += [f'"{error.vendor_message}"'] if error.vendor_message else []
    return f"was answered with {', '.join(words)}" if words else f"came to nothing: {error.what}"


def count(number: int, noun: str) -> str:
    """Give `1 contact` or `2 contacts`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def span(seconds: float) -> str:
    """Give a time in the unit a person would use."""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= 2 * size:
            return f"{abs(seconds) / size:.1f} {unit}"
    return f"{abs(seconds):.1f} s"


def listed(names: Collection[str]) -> str:
    """Give names, sorted."""
    return ", ".join(sorted(names))
