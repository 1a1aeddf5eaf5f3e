"""The rows that the steps of a sync pass to each other.

Those that wait in large numbers are structs that the garbage collector does not follow: otherwise it looks
through all objects of Airflow again every few thousand rows, which takes longer than the rows themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec import Raw, Struct, json

if TYPE_CHECKING:
    from collections.abc import Mapping

Reason = Literal[
    "missing_email",
    "malformed_email",
    "duplicate_email",
    "duplicate_user_id",
    "edited_in_customerly",
    "bad_value",
    "text_too_long",
    "nested_value",
    "refused",
    "unexplained",
    "unknown",
]
"""Why a row is not delivered. ``refused`` and ``unexplained`` come from the server, ``unknown`` means the
response was lost, and the others are found before anything is sent."""


class Problem(NamedTuple):
    """Why a row is not delivered.

    :param field: the affected field, such as ``email`` or ``attributes.plan``; None for the whole row.
    :param message: what is wrong and what to do. It holds no value of the row, so it may be logged.
    """

    reason: Reason
    field: str | None
    message: str


class MappedRow(NamedTuple):
    """A row of the source as it would be sent.

    :param number: position in the source, from 1.
    :param email: as it would be sent; None if it is missing or not text.
    :param values: a JSON value for each field of the mapping; None if there is nothing to send.
    :param problems: why the row cannot be sent; empty if it can.
    """

    number: int
    email: str | None
    values: tuple[Any, ...]
    problems: tuple[Problem, ...] = ()


class Outgoing(Struct, frozen=True, gc=False):
    """A row to send.

    :param number: position in the source, from 1.
    :param key: identifies the contact without personal data.
    :param text: the JSON of what is sent, see ``contact``. Most rows are sent without anyone reading it.
    """

    number: int
    key: bytes
    text: Raw

    @classmethod
    def of(cls, number: int, key: bytes, contact: Mapping[str, Any]) -> Outgoing:
        """Return the row for a contact."""
        return cls(number, key, Raw(json.encode(contact)))

    @property
    def contact(self) -> dict[str, Any]:
        """What is sent: ``email`` and, if mapped, ``user_id``, ``name``, ``attributes``, ``tags``."""
        return json.decode(self.text)  # type: ignore[no-any-return]


class Settled(NamedTuple):
    """The outcome of a row that was sent: accepted if there is no problem."""

    row: Outgoing
    problem: Problem | None = None
