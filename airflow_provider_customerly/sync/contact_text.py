"""Convert a contact between the JSON text that is sent and its values by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_customerly.sync.rules import OWN, PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def values_of(contact: str | None) -> dict[str, Any]:
    """Return the values of a contact by the names of the mapped fields."""
    content = msgspec.json.decode(contact) if contact else {}
    attributes = content.pop("attributes", {})
    return {**content, **{PREFIX + name: value for name, value in attributes.items()}}


def contact_of(values: Mapping[str, Any]) -> str:
    """Return the contact with these values: the inverse of ``values_of``."""
    contact = {name: value for name, value in values.items() if name in OWN}
    attributes = {
        name.removeprefix(PREFIX): value for name, value in values.items() if name.startswith(PREFIX)
    }
    return msgspec.json.encode({**contact, **({"attributes": attributes} if attributes else {})}).decode()


def without(contact: str, fields: Sequence[str], email: str | None) -> str:
    """Return a contact without some fields, so that they stay as they are.

    :param email: the contact's current email, to identify it if its email stays.
    """
    values = {name: value for name, value in values_of(contact).items() if name not in fields}
    return contact_of({"email": email, **values})
