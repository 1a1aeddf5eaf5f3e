"""How a row becomes a contact, as far as it can be said before the source's columns are known."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from airflow_provider_customerly.client import ContactType  # noqa: TC001  (msgspec reads the annotations)
from airflow_provider_customerly.client.endpoints import check_contact_type
from airflow_provider_customerly.sync.tags import check_tags

OWN = ("email", "user_id", "name", "tags")
"""The fields of a contact that are no attributes, in the order of `FieldMapping.fields`."""
PREFIX = "attributes."
_ATTRIBUTE_NAME = re.compile(r"[A-Za-z0-9_]+")
_READ_ONLY = re.compile(
    r"first_seen_at|last_activity|last_page_viewed.*|os|country|region|city|timezone|browser_language",
    re.IGNORECASE,  # whether Customerly tells COUNTRY from country is not known
)


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How a row becomes a contact.

    :param field_mapping: column to field where a column named email, user_id, name or tags is not to go to
        that field, or any other not to the attribute of its name: `email`, `user_id`, `name`, `tags`,
        `attributes.` and a name, or None to leave the column out.
    :param tags: tags that every contact gets after its own.
    :param booleans: columns whose 0 and 1 mean false and true, for databases that have no booleans.
    :param timezone: the zone of dates and of times that have none.
    :param null_as_empty: send "" for names and attributes without a value, which are left out otherwise.
    :param truncate_text: cut text that is too long for an attribute instead of refusing the row.
    """

    contact_type: ContactType = "users"
    field_mapping: Mapping[str, str | None] | None = None
    tags: Sequence[str] = ()
    booleans: Sequence[str] = ()
    timezone: str | None = None
    null_as_empty: bool = False
    truncate_text: bool = False

    def check(self) -> None:
        """Refuse what cannot be meant.

        :raises ValueError: says which column or rule, and what to do.
        """
        check_contact_type(self.contact_type)
        check_tags(self.tags)
        if self.field_mapping is None:
            return
        if not isinstance(self.field_mapping, Mapping):
            raise ValueError(
                f"field_mapping is {self.field_mapping!r}: give a dictionary of column to field, such as "
                '{"email_address": "email"}.'
            )
        taken: dict[str, str] = {}
        for column, field in self.field_mapping.items():
            if field is not None:
                check_field(column, field, self.contact_type)
                take(taken, field, column)


def check_field(column: object, field: object, contact_type: str) -> None:
    """Refuse to map a column to what is no field of such a contact.

    :raises ValueError: says what to do.
    """
    if field == "user_id" and contact_type == "leads":
        raise ValueError(
            f"The column {column!r} would go to user_id, which a lead does not have: leave it out with "
            f"field_mapping={{{column!r}: None}}, or map it to an attribute."
        )
    if field in OWN:
        return
    if not isinstance(field, str) or not field.startswith(PREFIX):
        raise ValueError(
            f"field_mapping maps the column {column!r} to {field!r}, which is no field of a contact: use one "
            f"of {', '.join(OWN)}, {PREFIX}<name>, or None to leave it out."
        )
    name = field.removeprefix(PREFIX)
    instead = f"name another in field_mapping={{{column!r}: 'attributes.<name>'}}, or leave it out with None."
    if not _ATTRIBUTE_NAME.fullmatch(name):
        raise ValueError(
            f"The column {column!r} would go to the attribute {name!r}, but the name of an attribute has "
            f"only the letters A to Z, digits and underscores: {instead}"
        )
    if _READ_ONLY.fullmatch(name):
        raise ValueError(
            f"The column {column!r} would go to the attribute {name!r}, which Customerly sets itself and "
            f"nobody can write: {instead}"
        )


def take(taken: dict[str, str], field: str, column: str) -> None:
    """Note that a column goes to a field; two cannot go to the same.

    :param taken: field to column; the column is added.
    :raises ValueError: says what to do.
    """
    if field in taken:
        raise ValueError(
            f"The columns {taken[field]!r} and {column!r} would both go to {field}: leave one out with "
            f"field_mapping={{{column!r}: None}}, or map it to another field."
        )
    taken[field] = column
