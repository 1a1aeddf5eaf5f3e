"""The requests of the API, and the shapes of the data it returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import quote, urlencode

import msgspec

from airflow_provider_customerly.client.answers import Envelope
from airflow_provider_customerly.client.session import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ContactType = Literal["users", "leads"]
CONTACT_TYPES: tuple[ContactType, ...] = get_args(ContactType)

_NO_ROWS = msgspec.Raw(b"[]")

_encoder = msgspec.json.Encoder(decimal_format="number")
_Page = dict[str, msgspec.Raw] | list[msgspec.Raw] | None
_page_decoder = msgspec.json.Decoder(_Page)


class _PageEnvelope(Envelope):
    data: _Page | msgspec.UnsetType = msgspec.UNSET


PAGE = msgspec.json.Decoder(_PageEnvelope)
"""Takes the array of a list page out of its response at once."""


def get(path: str, query: Mapping[str, Any] | None = None, *, page: int | None = None) -> Request:
    """Return a read request; query values that are None are left out."""
    return Request("GET", path, path + _query(query or {}), page=page)


def about_contact(
    method: str, contact_type: ContactType, email: str | None, user_id: str | int | None
) -> Request:
    """Return a request about one contact, identified by email or, users only, by ``user_id``."""
    check_contact_type(contact_type)
    if (email is None) == (user_id is None):
        raise ValueError("Pass either email or user_id to identify the contact.")
    if contact_type == "leads" and user_id is not None:
        raise ValueError("Leads have no user_id. Pass the email.")
    if email == "" or user_id == "":
        raise ValueError("The email or user_id is empty. Pass one that identifies a contact.")
    path = f"/{contact_type}"
    return Request(method, path, path + _query({"email": email, "user_id": user_id}))


def write(method: str, path: str, body: Mapping[str, Any], id: str | int | None = None) -> Request:
    """Return a write request.

    :param path: as the vendor documents it; ``id``, percent-encoded, replaces a placeholder in braces.
    """
    target = path
    if "{" in path:
        text = "" if id is None else str(id)
        # HTTP clients would resolve a dot segment to another endpoint.
        if text.strip() in ("", ".", ".."):
            raise ValueError(f"{text!r} is not an id. Pass the id that {path} asks for.")
        target = path[: path.index("{")] + quote(text, safe="")
    return Request(method, path, target, _encoder.encode(body))


def check_contact_type(contact_type: str) -> None:
    """Raise ``ValueError`` unless this is a contact type."""
    if contact_type not in CONTACT_TYPES:
        raise ValueError(f"contact_type is {contact_type!r}. Use one of: {', '.join(CONTACT_TYPES)}.")


def page_reader(contact_type: ContactType) -> Callable[[Any], msgspec.Raw]:
    """Return a function that takes the array of records out of a page's data and leaves it as JSON text."""

    def read(data: msgspec.Raw | _Page) -> msgspec.Raw:
        page: _Page = _page_decoder.decode(data) if isinstance(data, msgspec.Raw) else data
        if not page:
            return _NO_ROWS
        if isinstance(page, list) or contact_type not in page:
            raise msgspec.ValidationError(f"no array `{contact_type}`")
        rows = page[contact_type]
        if bytes(memoryview(rows)[:1]) == b"[":
            return rows
        value = msgspec.json.decode(rows, type=dict[str, msgspec.Raw] | Any)
        if _is_array_with_gaps(value):
            return msgspec.Raw(msgspec.json.encode(list(value.values())))
        if value:
            raise msgspec.ValidationError(f"`{contact_type}` is not an array")
        return _NO_ROWS

    return read


def read_object(data: msgspec.Raw) -> dict[str, Any]:
    """Read an object; read ``[]``, null and false as an empty one."""
    value = msgspec.json.decode(data)
    if value and not isinstance(value, dict):
        raise msgspec.ValidationError("Expected `object`")
    return value or {}


def read_list(data: msgspec.Raw) -> list[Any]:
    """Read an array; read ``{}``, null and false as an empty one.

    An object keyed by position is an array with gaps. An object with a single member, as in lists of
    contacts, is replaced by that member.
    """
    value = msgspec.json.decode(data)
    if isinstance(value, dict) and len(value) == 1 and not _is_array_with_gaps(value):
        [value] = value.values()
    if _is_array_with_gaps(value):
        return list(value.values())
    if value and not isinstance(value, list):
        raise msgspec.ValidationError("Expected `array`")
    return value or []


def read_anything(data: msgspec.Raw) -> Any:
    """Read data of an undocumented shape."""
    return msgspec.json.decode(data)


def _is_array_with_gaps(value: Any) -> bool:
    """Return whether this is how PHP encodes an array with removed elements: an object keyed by position."""
    return isinstance(value, dict) and bool(value) and all(name.isdecimal() for name in value)


def _query(query: Mapping[str, Any]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"?{urlencode(given, quote_via=quote)}" if given else ""
