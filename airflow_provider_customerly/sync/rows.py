"""What the steps of a sync hand to each other."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Reason = Literal[
    "missing_email",
    "malformed_email",
    "duplicate_email",
    "bad_value",
    "text_too_long",
    "nested_value",
    "refused",
    "unexplained",
]
"""Why a row is not delivered: the last two are the server's doing, the others are seen before."""


class Problem(NamedTuple):
    """Why a row is not delivered.

    :param field: the field meant, such as `email` or `attributes.plan`; None for the row as a whole.
    :param message: what is wrong and what to do; holds no value of the row, so that it may be logged.
    """

    reason: Reason
    field: str | None
    message: str


class MappedRow(NamedTuple):
    """A row of the source as it would be sent.

    :param number: position in the source, from 1.
    :param email: as it would be sent, None when it is missing or no text.
    :param values: one JSON value for each field of the mapping, None where there is nothing to send.
    :param problems: what keeps the row from being sent; empty for a good one.
    """

    number: int
    email: str | None
    values: tuple[Any, ...]
    problems: tuple[Problem, ...] = ()


class Outgoing(NamedTuple):
    """A row to send.

    :param number: position in the source, from 1.
    :param key: tells contacts apart without naming them.
    :param contact: what is sent: `email` and, where mapped, `user_id`, `name`, `attributes` and `tags`.
    """

    number: int
    key: bytes
    contact: dict[str, Any]


class Settled(NamedTuple):
    """What became of a row that was sent: accepted when there is no problem."""

    row: Outgoing
    problem: Problem | None = None
