"""One value as the API sent it, as a value of its column.

PHP servers send numbers as text, flags as 0 and 1, and text as numbers. What means the same is taken; what
does not is refused by `ValueError`, and the caller keeps the original.
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from airflow_provider_customerly.export.schema import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Callable

_INTEGER = re.compile(r"[+-]?[0-9]{1,30}")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_FLAGS = {"0": False, "1": True, "false": False, "true": True}
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_FIRST_INSTANT = -62_135_596_800 * _SECOND
"""The start of the year 1, in microseconds since 1970; Python knows no earlier one."""
_LAST_INSTANT = 253_402_300_800 * _SECOND - 1
"""The end of the year 9999."""


class Misfit(ValueError):  # noqa: N818
    """The value means nothing in its column."""


def to_text(value: Any) -> str:
    """Take text as it is, and a number or flag as its JSON text."""
    if isinstance(value, str):
        value.encode()  # a lone surrogate has no place in any file
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    raise Misfit


def to_integer(value: Any) -> int:
    """Take an integer of 64 bits, also as text, as a flag or with a zero fraction."""
    if (isinstance(value, str) and _INTEGER.fullmatch(value)) or (
        isinstance(value, float) and value.is_integer()
    ):
        value = int(value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return int(value)
    raise Misfit


def to_number(value: Any) -> float:
    """Take a finite number, also as text, unless it would lose digits before the point."""
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = float(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**1000:
        if int(float(value)) != value:
            raise Misfit
        return float(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise Misfit


def to_flag(value: Any) -> bool:
    """Take true and false, 1 and 0, also as text."""
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value in _FLAGS:
        return _FLAGS[value]
    raise Misfit


def to_instant(value: Any, *, first: int = 0) -> int:
    """Take unix seconds or a date and time as text (UTC unless it says otherwise).

    :param first: the earliest instant that is believed, in microseconds since 1970.
    :returns: microseconds since 1970. 0 is 1970-01-01, as sent.
    """
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = float(value) if "." in value else to_integer(value)
    if isinstance(value, str):
        instant = _parse(value)
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
    """Take what `to_instant` takes, of which the day in UTC counts, as days since 1970."""
    return to_instant(value, first=_FIRST_INSTANT) // _DAY


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
    """Give the function for a column.

    :param promoted: it holds one of the project's own attributes: unlike Customerly's own times, these may
        well lie before 1970.
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
