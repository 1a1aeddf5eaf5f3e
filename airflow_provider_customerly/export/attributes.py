"""The project's own attributes: whole as JSON text, and some of them as typed columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
from msgspec import UNSET

from airflow_provider_customerly.export.arrays import to_array

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Sequence

EMPTY = b"{}"
_LONGEST_EMPTY = 16


def attribute_texts(values: Iterable[msgspec.Raw | msgspec.UnsetType]) -> list[bytes]:
    """Give the JSON text of each contact's attributes, as it came.

    PHP writes an empty map as `[]`; that, null and an absent field become `{}`.
    """
    texts = [EMPTY if value is UNSET else bytes(value) for value in values]
    return [text if len(text) > _LONGEST_EMPTY else _unless_empty(text) for text in texts]


def _unless_empty(text: bytes) -> bytes:
    return EMPTY if text == b"null" or b"".join(text.split()) in (b"[]", EMPTY) else text


def text_array(texts: Sequence[bytes]) -> pa.Array:
    """Make a text column of JSON texts; bytes that are no UTF-8 are replaced: valid JSON has none."""
    try:
        return pa.array(texts, pa.string())
    except pa.ArrowInvalid:
        return pa.array([text.decode("utf-8", "replace") for text in texts], pa.string())


class Promotion:
    """Takes chosen attributes out of the JSON texts, without decoding the others.

    :param columns: name of the attribute to the type of its column.
    """

    def __init__(self, columns: dict[str, pa.DataType]) -> None:
        self._columns = columns
        self._whole = _decoder(columns, Any, absent=None)
        self._apart = _decoder(columns, msgspec.Raw, absent=_NULL)

    def convert(self, texts: Sequence[bytes], misfits: Counter[str]) -> list[pa.Array]:
        """Give a column for each attribute; values that do not fit are null and counted in `misfits`."""
        rows = [self._values(text) for text in texts]
        arrays = []
        for (name, kind), values in zip(self._columns.items(), zip(*rows, strict=True), strict=True):
            array, strays = to_array(values, kind, promoted=True)
            if strays:
                misfits[name] += len(strays)
            arrays.append(array)
        return arrays

    def _values(self, text: bytes) -> tuple[Any, ...]:
        if not text.startswith(b"{") and not text.lstrip().startswith(b"{"):
            return (None,) * len(self._columns)
        try:
            return msgspec.structs.astuple(self._whole.decode(text))
        except msgspec.DecodeError:
            return tuple(_value(raw) for raw in msgspec.structs.astuple(self._apart.decode(text)))


def _value(raw: Any) -> Any:
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:  # such as a number beyond any float
        return _UNREADABLE


_NULL = msgspec.Raw(b"null")
_UNREADABLE = object()
"""Fits no type, hence counts as a misfit."""


def _decoder(columns: dict[str, pa.DataType], kind: Any, absent: Any) -> msgspec.json.Decoder[Any]:
    names = {f"c{index}": name for index, name in enumerate(columns)}
    struct = msgspec.defstruct(
        "Attributes", [(field, kind, absent) for field in names], rename=names, gc=False
    )
    return msgspec.json.Decoder(struct)
