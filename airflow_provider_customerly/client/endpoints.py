"""The requests the API knows and the shapes of the data it answers with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import quote, urlencode

import msgspec

from airflow_provider_customerly.client.session import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ContactType = Literal["users", "leads"]
CONTACT_TYPES: tuple[ContactType, ...] = get_args(ContactType)

_NO_ROWS = msgspec.Raw(b"[]")

_encoder = msgspec.json.Encoder(decimal_format="number")
_page_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw] | list[msgspec.Raw] | None)
_object_decoder = msgspec.json.Decoder(dict[str, Any] | list[Any] | None)


def get(path: str, query: Mapping[str, Any] | None = None, *, page: int | None = None) -> Request:
    """Build a read; query values that are None are left out."""
    return Request("GET", path, path + _query(query or {}), page=page)


def about_contact(
    method: str, contact_type: ContactType, email: str | None, user_id: str | int | None
) -> Request:
    """Build a request about one contact, named by email or, users only, by the caller's own id."""
    check_contact_type(contact_type)
    if (email is None) == (user_id is None):
        raise ValueError("Name the contact by either email or user_id.")
    if contact_type == "leads" and user_id is not None:
        raise ValueError("A lead has no user_id: name it by email.")
    if email == "" or user_id == "":
        raise ValueError("The email or user_id is empty: name one contact.")
    path = f"/{contact_type}"
    return Request(method, path, path + _query({"email": email, "user_id": user_id}))


def write(method: str, path: str, body: Mapping[str, Any], id: str | int | None = None) -> Request:
    """Build a write.

    :param path: as the vendor lists it; a placeholder in braces is replaced by `id`, percent-encoded.
    """
    target = path
    if "{" in path:
        text = "" if id is None else str(id)
        # A dot segment would be resolved by HTTP clients into another endpoint.
        if text.strip() in ("", ".", ".."):
            raise ValueError(f"{text!r} is not an id: give the id that {path} asks for.")
        target = path[: path.index("{")] + quote(text, safe="")
    return Request(method, path, target, _encoder.encode(body))


def check_contact_type(contact_type: str) -> None:
    """Refuse anything but the two kinds of contact."""
    if contact_type not in CONTACT_TYPES:
        raise ValueError(f"contact_type is {contact_type!r}: use one of {', '.join(CONTACT_TYPES)}.")


def page_reader(contact_type: ContactType) -> Callable[[msgspec.Raw], msgspec.Raw]:
    """Make a reader of one page's array of records, which stays JSON text."""

    def read(data: msgspec.Raw) -> msgspec.Raw:
        page: dict[str, msgspec.Raw] | list[msgspec.Raw] | None = _page_decoder.decode(data)
        if not page:
            return _NO_ROWS
        if isinstance(page, list) or contact_type not in page:
            raise msgspec.ValidationError(f"no array `{contact_type}`")
        rows = page[contact_type]
        if bytes(memoryview(rows)[:1]) == b"[":
            return rows
        if msgspec.json.decode(rows):
            raise msgspec.ValidationError(f"`{contact_type}` is not an array")
        return _NO_ROWS

    return read


def read_object(data: msgspec.Raw) -> dict[str, Any]:
    """Read an object; ``[]`` and null are empty ones."""
    value = _object_decoder.decode(data)
    if value and not isinstance(value, dict):
        raise msgspec.ValidationError("Expected `object`, got `array`")
    return value if isinstance(value, dict) else {}


def read_list(data: msgspec.Raw) -> list[Any]:
    """Read an array; ``{}`` and null are empty ones, an object keyed by position is one with gaps."""
    value = _object_decoder.decode(data)
    return list(value.values()) if isinstance(value, dict) else value or []


def read_anything(data: msgspec.Raw) -> Any:
    """Read data whose shape the vendor does not document."""
    return msgspec.json.decode(data)


def _query(query: Mapping[str, Any]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"?{urlencode(given, quote_via=quote)}" if given else ""
