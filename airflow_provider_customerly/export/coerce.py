"""Convert a value of the API to the type of its column.

PHP servers send numbers as text, flags as 0 and 1, and text as numbers. Values with the same meaning are
converted. Others raise ``ValueError``, and the caller keeps the original.
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from airflow_provider_customerly.export.columns import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Callable

_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_FLAGS = {"false": False, "true": True}
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_FIRST_INSTANT = -62_135_596_800 * _SECOND
"""The start of the year 1, in microseconds since 1970; Python does not support earlier years."""
_LAST_INSTANT = 253_402_300_800 * _SECOND - 1
"""The end of the year 9999."""


class Misfit(ValueError):  # noqa: N818
    """The value does not fit its column."""


def to_text(value: Any) -> str:
    """Return text unchanged, and a number or flag as JSON text."""
    if isinstance(value, str):
        value.encode()  # fails for a lone surrogate, which no file can hold
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    raise Misfit


def to_integer(value: Any) -> int:
    """Read a 64-bit integer, also from text, from a flag or with a zero fraction."""
    number = _exact(value) if isinstance(value, str) else value
    if isinstance(number, int | float | Decimal) and -(2**63) <= number < 2**63 and number == int(number):
        return int(number)
    raise Misfit


def to_number(value: Any) -> float:
    """Read a finite number, also from text, unless it would lose digits before the decimal point."""
    if isinstance(value, str):
        value = float(_exact(value))
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**1000:
        if int(float(value)) != value:
            raise Misfit
        return float(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise Misfit


def to_flag(value: Any) -> bool:
    """Read true, false, 1 or 0, also from text in any case."""
    if isinstance(value, str) and (flag := _FLAGS.get(value.strip().lower())) is not None:
        return flag
    number = _exact(value) if isinstance(value, str) else value
    if isinstance(number, int | float | Decimal) and number in (0, 1):
        return bool(number)
    raise Misfit


def to_instant(value: Any, *, first: int = 0) -> int:
    """Read Unix seconds, or a date and time as text (UTC if it has no zone).

    :param first: the earliest accepted time, in microseconds since 1970.
    :return: microseconds since 1970; 0 is 1970-01-01, not null.
    """
    if isinstance(value, str):
        text = value.strip()
        instant = round(_exact(text) * _SECOND) if _DECIMAL.fullmatch(text) else _parse(text)
    elif isinstance(value, int) and not isinstance(value, bool):
        instant = value * _SECOND
    elif isinstance(value, float) and math.isfinite(value):
        instant = round(value * _SECOND)
    else:
        raise Misfit
    if not first <= instant <= _LAST_INSTANT:
        raise Misfit
    return instant


def to_date(value: Any) -> int:
    """Read the same values as ``to_instant`` and return the day in UTC, as days since 1970."""
    return to_instant(value, first=_FIRST_INSTANT) // _DAY


def _exact(text: str) -> Decimal:
    """Read a number from text, with all its digits."""
    if not _DECIMAL.fullmatch(text := text.strip()):
        raise Misfit
    return Decimal(text)


def _parse(text: str) -> int:
    try:
        return int(pa.scalar(text).cast(pa.timestamp("us")).value)
    except (pa.ArrowException, UnicodeEncodeError):
        pass
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        raise Misfit from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    past = moment - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (past.days * 86_400 + past.seconds) * _SECOND + past.microseconds


def coercion(kind: pa.DataType, *, promoted: bool) -> Callable[[Any], Any]:
    """Return the conversion function for a column.

    :param promoted: True for a custom attribute, which may be before 1970, unlike Customerly's own times.
    """
    if kind == TIMESTAMP:
        return partial(to_instant, first=_FIRST_INSTANT if promoted else 0)
    return _BY_TYPE[kind]


_BY_TYPE: dict[pa.DataType, Callable[[Any], Any]] = {
    pa.string(): to_text,
    pa.int64(): to_integer,
    pa.float64(): to_number,
    pa.bool_(): to_flag,
    pa.date32(): to_date,
}
