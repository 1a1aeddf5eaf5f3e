"""Contacts as the API sends them, decoded without losing a digit or a field."""

from __future__ import annotations

import keyword
import re
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from airflow_provider_customerly.client.errors import CustomerlyProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

Record = Any
"""A decoded contact: one attribute for each JSON field.

`crmhero_user_id` is an int. `attributes` and every field that the decoder was not told of are `msgspec.Raw`
(the JSON text as it came), `msgspec.UNSET` where absent. All others are plain Python values, None where
absent.
"""

_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_UNMATCHABLE = re.compile(r'["\\\x00-\x1f]')
_MaybeRaw = msgspec.Raw | msgspec.UnsetType


class RecordDecoder:
    """Turns the JSON array of a list page into records.

    The fields of a project are not documented in full, so the decoder learns each unknown name when it
    meets it first and keeps its value as JSON text from then on.

    :param fields: names whose values are wanted as Python values.
    """

    def __init__(self, fields: Iterable[str]) -> None:
        self._fields = tuple(dict.fromkeys(name for name in fields if name not in _KEY_FIELDS))
        self.extra_names: tuple[str, ...] = ()
        self._decoder = self._build()

    def decode(self, page: bytes | msgspec.Raw) -> list[Record]:
        """Decode one page.

        :raises CustomerlyProtocolError: an entry is not an object or has no usable `crmhero_user_id`.
        """
        try:
            return self._decoder.decode(page)
        except msgspec.ValidationError as error:
            readable = self._learn(page)
            if readable is None:
                raise CustomerlyProtocolError(
                    f"a contact in the list cannot be read: {error}",
                    advice="Every contact needs an integer crmhero_user_id: report it to Customerly.",
                ) from None
            return self.decode(readable)

    def attribute_name(self, json_name: str) -> str:
        """Give the record attribute that holds the JSON field `json_name`."""
        if json_name.isidentifier() and not keyword.iskeyword(json_name) and not json_name.startswith("__"):
            return json_name
        return "field_" + json_name.encode().hex()

    def _learn(self, page: bytes | msgspec.Raw) -> bytes | msgspec.Raw | None:
        """Get to know new names; give the page in a form that can be decoded now, None if nothing helps."""
        try:
            contacts = msgspec.json.decode(page, type=list[dict[str, msgspec.Raw]])
        except msgspec.ValidationError:
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
        """Give the name that the decoder looks for: no struct can have some names."""
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
        # Not strict: the API may send ids as numeric strings, being PHP behind.
        return msgspec.json.Decoder(list[struct], strict=False)  # type: ignore[valid-type]


_KEY_FIELDS: dict[str, Any] = {"crmhero_user_id": _Int64, "last_update": Any, "attributes": _MaybeRaw}


def stamp_of(record: Record) -> str:
    """Give a record's `last_update` as the text that orders the list; records without one come first."""
    stamp = record.last_update
    if type(stamp) is str:
        return stamp
    return "" if stamp is None else str(stamp)
