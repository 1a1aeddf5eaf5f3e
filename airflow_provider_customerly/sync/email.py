"""Email addresses: the vendor's key of a contact."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.sync.plain import plain
from airflow_provider_customerly.sync.rows import Problem
from airflow_provider_customerly.sync.unsendable import Converted

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST = 254
_SHAPE = re.compile(r"[^@\s]{1,64}@(?:[^@\s.]+\.)+[^@\s.]+")
"""Catches what was never an address; whether one exists is for the server to say."""

_MISSING = Problem("missing_email", "email", "No email address: add one to the source, or leave the row out.")
_NO_TEXT = Problem("malformed_email", "email", "Not text: convert it in the query, or check the mapping.")
_MALFORMED = Problem("malformed_email", "email", "Not an email address: correct it in the source.")


def identity_of(email: str) -> str:
    """Give what two addresses are compared by: Customerly, like mail itself, does not tell cases apart."""
    return email.strip().lower()


def emails(values: Sequence[Any]) -> Converted:
    """Convert a column of addresses: trimmed, with their case kept. A malformed one is kept if it is text."""
    converted: list[str | None] = []
    problems: dict[int, Problem] = {}
    for position, value in enumerate(values):
        email, problem = _email(value)
        converted.append(email)
        if problem is not None:
            problems[position] = problem
    return Converted(converted, problems)


def _email(value: Any) -> tuple[str | None, Problem | None]:
    value = plain(value)
    if value is None:
        return None, _MISSING
    if not isinstance(value, str) or not _is_unicode(value):
        return None, _NO_TEXT
    email = value.strip()
    if not email:
        return None, _MISSING
    # What cannot be printed is a control character, or one that a browser's clipboard slipped in unseen.
    if len(email) <= _LONGEST and email.isprintable() and _SHAPE.fullmatch(email):
        return email, None
    return email, _MALFORMED


def _is_unicode(text: str) -> bool:
    """Tell whether an encoding has a place for all of it, which a lone surrogate has in none."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False
