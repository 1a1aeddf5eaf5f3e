"""Convert the vendor's message about a row to a problem that may be logged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.client.errors import redact
from airflow_provider_customerly.values.rows import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_customerly.client import CustomerlyError

_NO_WORDS = "Customerly refused this contact without a reason. Compare it with one that was accepted."
_UNEXPLAINED = (
    "Customerly counted this contact neither as accepted nor as refused. Look it up there, then try again."
)
_SHORTEST_VALUE = 3
"""Shorter values of attributes and tags are not hidden, because they occur in any text."""

_FIELDS = ("email", "user_id", "name", "tags", "attributes")
_QUOTED_ATTRIBUTE = re.compile(r"""\battributes?(?: name)?\s*:?\s*(['"`])(.+?)\1""", re.IGNORECASE)
_DOTTED_ATTRIBUTE = re.compile(r"\battributes\.(\w+)", re.IGNORECASE)
_FIRST_WORD = re.compile(r"(?:<\w+>|the |\W)*(email|user[_ ]?id|name|tags|attributes)\b", re.IGNORECASE)


def refused(contact: Mapping[str, Any], message: str | None, field: str | None = None) -> Problem:
    """Return the problem of a row that the vendor refused.

    :param message: the vendor's message, from which the row's values are removed.
    :param field: the field that the vendor names; ignored if the row does not have it.
    """
    named = _own_field(contact, field)
    if message is None:
        return Problem("refused", named, _NO_WORDS)
    text = without_values(contact, message)
    return Problem("refused", named or _field_in(contact, message, text), text)


def failed(contact: Mapping[str, Any], error: CustomerlyError) -> Problem:
    """Return the problem of a row that failed alone in a request."""
    words = (error.vendor_message or "").strip() or "The request was refused"
    problem = refused(contact, words)
    return problem._replace(message=f"{problem.message} (HTTP {error.status})")


def unexplained() -> Problem:
    """Return the problem of a row that was sent alone, and that the response does not mention."""
    return Problem("unexplained", None, _UNEXPLAINED)


def without_values(contact: Mapping[str, Any], text: str) -> str:
    """Return the vendor's text as one short line, without the values of a contact."""
    labels = {" ".join(value.split()).lower(): label for label, value in _values(contact)}
    labels.pop("", None)
    line = " ".join(text.split())
    if labels:
        longest_first = "|".join(re.escape(value) for value in sorted(labels, key=len, reverse=True))
        line = re.sub(
            rf"(?<!\w)(?:{longest_first})(?!\w)",
            lambda match: f"<{labels.get(match[0].lower(), 'value')}>",
            line,
            flags=re.IGNORECASE,
        )
    return redact(line)


def _values(contact: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    attributes = contact.get("attributes")
    others = [*attributes.values()] if isinstance(attributes, dict) else []
    for value in [*others, *(contact.get("tags") or ())]:
        if not isinstance(value, bool) and len(str(value)) >= _SHORTEST_VALUE:
            yield "value", str(value)
    for name in ("name", "user_id", "email"):
        if contact.get(name) is not None:
            yield name, str(contact[name])


def _own_field(contact: Mapping[str, Any], field: str | None) -> str | None:
    """Return the field's name if the row has such a field; anything else could be a value."""
    if field is None:
        return None
    attributes = contact.get("attributes") or {}
    name = field.strip()
    if name in _FIELDS:
        return name
    name = name.removeprefix("attributes.")
    return f"attributes.{name}" if name in attributes else None


def _field_in(contact: Mapping[str, Any], message: str, text: str) -> str | None:
    for pattern in (_QUOTED_ATTRIBUTE, _DOTTED_ATTRIBUTE):
        match = pattern.search(message)
        if match and (field := _own_field(contact, f"attributes.{match[match.lastindex or 0]}")):
            return field
    start = _FIRST_WORD.match(text)
    if start is None:
        return None
    word = start[1].lower()
    return "user_id" if word.startswith("user") else word
