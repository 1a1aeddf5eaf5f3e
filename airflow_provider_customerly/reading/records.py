"""Decode contacts of the API without losing a digit or a field."""

from __future__ import annotations

import keyword
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from airflow_provider_customerly.client.errors import CustomerlyProtocolError
from airflow_provider_customerly.client.json_text import NOT_READABLE, readable

if TYPE_CHECKING:
    from collections.abc import Iterable

Record = Any
"""A decoded contact, with an attribute for each JSON field.

``crmhero_user_id`` is an int. ``attributes`` and all fields unknown to the decoder are ``msgspec.Raw`` (the
unchanged JSON text), or ``msgspec.UNSET`` if missing. Others are plain Python values, or None if missing.
"""

_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_SECONDS = re.compile(r"[0-9]{9,10}(?:\.[0-9]+)?")
_UNMATCHABLE = re.compile(r'["\\\x00-\x1f]')
_MaybeRaw = msgspec.Raw | msgspec.UnsetType


class RecordDecoder:
    """Decode the JSON array of a list page to records.

    The fields are not fully documented, so the decoder learns each unknown name when it first appears, and
    keeps its values as JSON text.

    :param fields: names of fields to decode to Python values.
    """

    def __init__(self, fields: Iterable[str]) -> None:
        self._fields = tuple(dict.fromkeys(name for name in fields if name not in _KEY_FIELDS))
        self.extra_names: tuple[str, ...] = ()
        self._decoder = self._build()

    def decode(self, page: bytes | msgspec.Raw) -> list[Record]:
        """Decode one page.

        :raises CustomerlyProtocolError: an entry is not an object or has no valid ``crmhero_user_id``.
        """
        is_repaired = False
        while True:
            try:
                return self._decoder.decode(page)
            except NOT_READABLE as error:
                understood = self._learn(page)
                if understood is None and not is_repaired:
                    # Only once: a wrapped value is one level deeper, and may look invalid again.
                    understood, is_repaired = _without_odd_values(page), True
                if understood is None:
                    raise CustomerlyProtocolError(
                        f"a contact in the list cannot be read: {error}",
                        advice="Every contact needs an integer crmhero_user_id. Report this to Customerly.",
                    ) from None
                page = understood

    def attribute_name(self, json_name: str) -> str:
        """Return the name of the record attribute for the JSON field ``json_name``."""
        if json_name.isidentifier() and not keyword.iskeyword(json_name) and not json_name.startswith("__"):
            return json_name
        return "field_" + json_name.encode().hex()

    def _learn(self, page: bytes | msgspec.Raw) -> bytes | msgspec.Raw | None:
        """Learn new names, and return the page in a form that can now be decoded; None if there is none."""
        try:
            contacts = msgspec.json.decode(page, type=list[dict[str, msgspec.Raw]])
        except NOT_READABLE:
            return None
        names = dict.fromkeys(name for contact in contacts for name in contact)
        known = {*_KEY_FIELDS, *self._fields, *self.extra_names, *map(self._sent_as, self.extra_names)}
        if new := tuple(name for name in names if name not in known):
            self.extra_names += new
            self._decoder = self._build()
        if any(_UNMATCHABLE.search(name) for name in names):
            return msgspec.json.encode(
                [{self._sent_as(name): value for name, value in contact.items()} for contact in contacts]
            )
        return page if new else None

    def _sent_as(self, json_name: str) -> str:
        """Return the name that the decoder expects, because a struct cannot have certain names."""
        return self.attribute_name(json_name) if _UNMATCHABLE.search(json_name) else json_name

    def _build(self) -> msgspec.json.Decoder[list[Any]]:
        names = {
            **_KEY_FIELDS,
            **dict.fromkeys(self._fields, Any),
            **dict.fromkeys(self.extra_names, _MaybeRaw),
        }
        attributes = {name: self.attribute_name(name) for name in names}
        struct = msgspec.defstruct(
            "Record",
            [
                (attributes[name], kind)
                if name == "crmhero_user_id"
                else (attributes[name], kind, None if kind is Any else msgspec.UNSET)
                for name, kind in names.items()
            ],
            rename={attribute: self._sent_as(name) for name, attribute in attributes.items()},
            forbid_unknown_fields=True,
            gc=False,
        )
        # Not strict, because a PHP server may send ids as numeric text.
        return msgspec.json.Decoder(list[struct], strict=False)  # type: ignore[valid-type]


def _without_odd_values(page: bytes | msgspec.Raw) -> bytes | None:
    """Return the page with each undecodable value wrapped; None if it has none."""
    text, odd = readable(bytes(page))
    return text if odd else None


_KEY_FIELDS: dict[str, Any] = {"crmhero_user_id": _Int64, "last_update": Any, "attributes": _MaybeRaw}


def stamp_of(record: Record) -> str:
    """Return a record's ``last_update`` as text in the order of the list; records without one come first.

    The text is always in the API's usual format, because the start of a read is in that format. In another
    format, such as a number, each timestamp would sort before the start.
    """
    stamp = record.last_update
    if type(stamp) is str and len(stamp) == _LENGTH and stamp[10] == " ":
        return stamp
    return "" if stamp is None else _in_usual_form(stamp)


_FORM, _LENGTH = "%Y-%m-%d %H:%M:%S", 19


def _in_usual_form(stamp: Any) -> str:
    """Convert Unix seconds, or a date and time with a zone or a T, to the API's usual format."""
    text = str(stamp).strip()
    try:
        if _SECONDS.fullmatch(text):
            moment = datetime.fromtimestamp(float(text), timezone.utc)
        elif "-" in text:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        else:
            return str(stamp)
    except (ValueError, OverflowError, OSError):
        return str(stamp)
    if moment.tzinfo is not None:
        moment = moment.astimezone(timezone.utc)
    return moment.strftime(f"{_FORM}.%f" if moment.microsecond else _FORM)
