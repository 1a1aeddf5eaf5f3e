"""Custom attributes: all of them as JSON text, and some as typed columns."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
from msgspec import UNSET

from airflow_provider_customerly.client.json_text import NOT_READABLE
from airflow_provider_customerly.export.arrays import to_array

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Sequence

EMPTY = b"{}"
_LONGEST_EMPTY = 16


def attribute_texts(values: Iterable[msgspec.Raw | msgspec.UnsetType]) -> list[bytes]:
    """Return the JSON text of each contact's attributes, unchanged.

    PHP writes an empty map as ``[]``. That, null and a missing field become ``{}``.
    """
    texts = [EMPTY if value is UNSET else bytes(value) for value in values]
    return [text if len(text) > _LONGEST_EMPTY else _unless_empty(text) for text in texts]


def _unless_empty(text: bytes) -> bytes:
    return EMPTY if text == b"null" or b"".join(text.split()) in (b"[]", EMPTY) else text


def text_array(texts: Sequence[bytes]) -> pa.Array:
    """Build a text column of JSON texts; invalid UTF-8, which no valid JSON has, is replaced."""
    try:
        return pa.array(texts, pa.string())
    except pa.ArrowInvalid:
        return pa.array([text.decode("utf-8", "replace") for text in texts], pa.string())


def is_object(text: bytes) -> bool:
    """Return whether a JSON text is an object."""
    return text[:1] == b"{" or text.lstrip()[:1] == b"{"


class Promotion:
    """Extract chosen attributes from the JSON texts without decoding the others.

    :param columns: the type of the column for each attribute, by name.
    """

    absent: set[str]
    """Attributes that no contact has had so far."""
    names: dict[str, None]
    """Names of attributes that some contacts have, in order of appearance."""

    def __init__(self, columns: dict[str, pa.DataType]) -> None:
        self._columns = columns
        self.absent = set(columns)
        self.names = {}
        self._whole = _decoder(columns, Any, absent=None)
        self._apart = _decoder(columns, msgspec.Raw, absent=_NULL)

    def convert(self, texts: Sequence[bytes], misfits: Counter[str]) -> list[pa.Array]:
        """Return a column for each attribute; values that do not fit become null and count in ``misfits``."""
        if self.absent:
            self._look_for_absent(texts)
        rows = [self._values(text) for text in texts]
        arrays = []
        for (name, kind), values in zip(self._columns.items(), zip(*rows, strict=True), strict=True):
            array, strays = to_array(values, kind, promoted=True)
            if strays:
                misfits[name] += len(strays)
            arrays.append(array)
        return arrays

    def _values(self, text: bytes) -> tuple[Any, ...]:
        if not is_object(text):
            return (None,) * len(self._columns)
        try:
            return msgspec.structs.astuple(self._whole.decode(text))
        except NOT_READABLE:
            pass
        try:
            return tuple(_value(raw) for raw in msgspec.structs.astuple(self._apart.decode(text)))
        except NOT_READABLE:
            return (_UNREADABLE,) * len(self._columns)

    def _look_for_absent(self, texts: Sequence[bytes]) -> None:
        for text in texts[:_LOOKED_AT] if len(self.names) < _MOST_NAMES else ():
            with suppress(*NOT_READABLE):
                self.names.update(dict.fromkeys(_MEMBERS.decode(text)))
        together = b"".join(texts)
        self.absent = {name for name in self.absent if not any(one in together for one in _spellings(name))}


def _value(raw: Any) -> Any:
    try:
        return msgspec.json.decode(raw)
    except NOT_READABLE:  # such as a number beyond any float
        return _UNREADABLE


def _spellings(name: str) -> set[bytes]:
    """Return the JSON forms of a name: by default PHP escapes slashes and non-ASCII characters."""
    texts = (msgspec.json.encode(name), json.dumps(name).encode())
    return {one for text in texts for one in (text, text.replace(b"/", b"\\/"))}


_LOOKED_AT, _MOST_NAMES = 20, 50
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NULL = msgspec.Raw(b"null")
_UNREADABLE = object()
"""Fits no type, so it counts as a misfit."""


def _decoder(columns: dict[str, pa.DataType], kind: Any, absent: Any) -> msgspec.json.Decoder[Any]:
    names = {f"c{index}": name for index, name in enumerate(columns)}
    struct = msgspec.defstruct(
        "Attributes", [(field, kind, absent) for field in names], rename=names, gc=False
    )
    return msgspec.json.Decoder(struct)
