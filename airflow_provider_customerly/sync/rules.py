"""How a row becomes a contact, as far as this can be checked before the columns are known."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from airflow_provider_customerly.client import ContactType
from airflow_provider_customerly.values.arguments import Arguments, Rule
from airflow_provider_customerly.values.dates import Clock
from airflow_provider_customerly.values.tags import check_tags

OWN = ("email", "user_id", "name", "tags")
"""The fields of a contact that are not attributes, in the order of ``FieldMapping.fields``."""
PREFIX = "attributes."
_ATTRIBUTE_NAME = re.compile(r"[A-Za-z0-9_]+")
_READ_ONLY = re.compile(
    r"first_seen_at|last_activity|last_page_viewed.*|os|country|region|city|timezone|browser_language",
    re.IGNORECASE,  # it is not known whether Customerly distinguishes COUNTRY from country
)


def _check_tags(rules: Rules) -> None:
    check_tags(rules.tags)


def _check_timezone(rules: Rules) -> None:
    Clock(rules.timezone)


def _check_mapping(rules: Rules) -> None:
    taken: dict[str, str] = {}
    for column, field in (rules.field_mapping or {}).items():
        if field is not None:
            check_field(column, field, rules.contact_type)
            take(taken, field, column)


class Rules(Arguments, frozen=True, kw_only=True):
    """How a row becomes a contact.

    :param field_mapping: column to field: ``email``, ``user_id``, ``name``, ``tags``, ``attributes.`` and a
        name, or None to leave the column out. Without it, columns named email, user_id, name and tags go to
        these fields, and other columns to attributes of the same name.
    :param tags: tags that every contact gets after its own.
    :param booleans: columns whose 0 and 1 mean false and true, for databases without booleans.
    :param timezone: the zone of times without one.
    :param null_as_empty: send ``""`` for null names and attributes, which are left out otherwise.
    :param truncate_text: truncate text that is too long for an attribute instead of refusing the row.
    """

    contact_type: ContactType = "users"
    field_mapping: Mapping[str, str | None] | None = None
    tags: Sequence[str] = ()
    booleans: Sequence[str] = ()
    timezone: str | None = None
    null_as_empty: bool = False
    truncate_text: bool = False

    expected: ClassVar[Mapping[str, str]] = {
        "field_mapping": "must be a dictionary of column to field, such as {'email_address': 'email'}",
        "tags": "must be a list of text",
        "booleans": "must be a list of column names",
    }
    rules: ClassVar[Sequence[Rule]] = (_check_tags, _check_timezone, _check_mapping)


def check_field(column: object, field: object, contact_type: str) -> None:
    """Raise ``ValueError`` if a column is mapped to a field that contacts of this type do not have."""
    if field == "user_id" and contact_type == "leads":
        raise ValueError(
            f"Column {column!r} is mapped to user_id, but leads have no user_id. Leave it out with "
            f"field_mapping={{{column!r}: None}}, or map it to an attribute."
        )
    if field in OWN:
        return
    if not isinstance(field, str) or not field.startswith(PREFIX):
        raise ValueError(
            f"field_mapping maps column {column!r} to {field!r}, which is not a field of a contact. Use one "
            f"of {', '.join(OWN)}, {PREFIX}<name>, or None to leave it out."
        )
    name = field.removeprefix(PREFIX)
    instead = f"Rename it with field_mapping={{{column!r}: 'attributes.<name>'}}, or leave it out with None."
    if not _ATTRIBUTE_NAME.fullmatch(name):
        raise ValueError(
            f"Column {column!r} is mapped to the attribute {name!r}, but attribute names may only have "
            f"letters from A to Z, digits and underscores. {instead}"
        )
    if _READ_ONLY.fullmatch(name):
        raise ValueError(
            f"Column {column!r} is mapped to the attribute {name!r}, which is read-only because Customerly "
            f"sets it. {instead}"
        )


def take(taken: dict[str, str], field: str, column: str) -> None:
    """Record that a column goes to a field, to which no other column may go.

    :param taken: field to column; the column is added.
    :raises ValueError: two columns go to the same field.
    """
    if field in taken:
        raise ValueError(
            f"Columns {taken[field]!r} and {column!r} are both mapped to {field}. Leave one out with "
            f"field_mapping={{{column!r}: None}}, or map it to another field."
        )
    taken[field] = column
