"""The type of a judgement, and wording that judgements share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow_provider_customerly.check.wire import Exchange
    from airflow_provider_customerly.client import CustomerlyError

Standing = Literal["holds", "differs", "not checked"]


class Judgement(NamedTuple):
    """Whether an assumption holds, with evidence that never quotes a contact."""

    verdict: Standing
    evidence: str
    consequence: str | None = None
    """Replaces the consequence of the assumption."""


def outcome(exchange: Exchange) -> str:
    """Return the outcome of a request, as the rest of a sentence about it."""
    return "returned data" if exchange.error is None else failure(exchange.error)


def failure(error: CustomerlyError) -> str:
    """Return an error as the rest of a sentence: status and vendor's message, or else the client's."""
    words = [f"HTTP {error.status}"] if error.status is not None else []
    words += [f'"{error.vendor_message}"'] if error.vendor_message else []
    return f"returned {', '.join(words)}" if words else f"got no response: {error.what}"


def span(seconds: float) -> str:
    """Return a duration in a readable unit."""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= 2 * size:
            return f"{abs(seconds) / size:.1f} {unit}"
    return f"{abs(seconds):.1f} s"


def listed(names: Collection[str]) -> str:
    """Return the names, sorted and separated by commas."""
    return ", ".join(sorted(names))
