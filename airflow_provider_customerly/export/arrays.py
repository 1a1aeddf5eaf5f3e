"""Convert a column to an Arrow array: all at once if every value fits, else value by value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_customerly.export.coerce import coercion
from airflow_provider_customerly.export.columns import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Sequence

_LAST_SECOND = 253_402_300_799  # the end of the year 9999
_REFUSED = (pa.ArrowException, ValueError, TypeError, OverflowError)


def to_array(
    values: Sequence[Any], kind: pa.DataType, *, promoted: bool = False
) -> tuple[pa.Array, list[int]]:
    """Convert the values of a column.

    :param promoted: see ``coercion``. In such a column ``""`` is null, because a sync with ``null_as_empty``
        writes it for null.
    :return: the array, and the positions of values that do not fit and became null.
    """
    array = _at_once(values, kind)
    if array is not None:
        return array, []
    return _one_by_one(values, kind, promoted)


def _at_once(values: Sequence[Any], kind: pa.DataType) -> pa.Array | None:
    """Convert simple values. The result must be the same as with ``coerce``; None if that is not certain."""
    try:
        if kind == pa.string():
            return _texts(values)
        # Arrow infers the type. With a given type, it would truncate 1.5 to 1 and read true as 1.0.
        array = pa.array(values)
        if array.type == kind:
            return array
        if pa.types.is_null(array.type):
            return pa.nulls(len(array), kind)
        if pa.types.is_int64(array.type):
            return _from_integers(array, kind)
        if pa.types.is_string(array.type) and kind == TIMESTAMP:
            return _if_between(array.cast(pa.timestamp("us")).cast(kind), 0, _LAST_SECOND * 1_000_000)
    except _REFUSED:
        pass
    return None


def _texts(values: Sequence[Any]) -> pa.Array | None:
    try:
        return pa.array(values, pa.string())
    except _REFUSED:
        array = pa.array(values)  # a column of numbers; refused if it also has text
    return array.cast(pa.string()) if pa.types.is_int64(array.type) else None


def _from_integers(array: pa.Array, kind: pa.DataType) -> pa.Array | None:
    if kind == TIMESTAMP:
        within = _if_between(array, 0, _LAST_SECOND)
        return None if within is None else within.cast(pa.timestamp("s", tz="UTC")).cast(kind)
    if kind == pa.bool_():
        within = _if_between(array, 0, 1)
        return None if within is None else within.cast(kind)
    if kind == pa.float64():
        return array.cast(kind)
    return None


def _if_between(array: pa.Array, low: int, high: int) -> pa.Array | None:
    numbers = array.view(pa.int64())
    bounds = pc.min_max(numbers).as_py()
    if bounds["min"] is None or (low <= bounds["min"] and bounds["max"] <= high):
        return array
    return None


def _one_by_one(values: Sequence[Any], kind: pa.DataType, promoted: bool) -> tuple[pa.Array, list[int]]:
    coerce = coercion(kind, promoted=promoted)
    fitting: list[Any] = []
    misfits: list[int] = []
    absent = ("",) if promoted and kind != pa.string() else ()
    for index, value in enumerate(values):
        if value in absent:
            value = None
        if value is not None:
            try:
                value = coerce(value)
            except (ValueError, ArithmeticError):  # ArithmeticError: a decimal with a million digits
                misfits.append(index)
                value = None
        fitting.append(value)
    return pa.array(fitting, kind), misfits
