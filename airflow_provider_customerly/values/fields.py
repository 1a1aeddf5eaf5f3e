"""Convert columns to the names, ids and attributes of contacts."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow_provider_customerly.values.numbers import EXACT, to_number
from airflow_provider_customerly.values.plain import plain
from airflow_provider_customerly.values.unsendable import (
    Converted,
    Unsendable,
    checked_text,
    one_by_one,
    refusal,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from airflow_provider_customerly.values.dates import Clock

_WRITTEN_OUT = (UUID, IPv4Address, IPv6Address, IPv4Interface, IPv6Interface, IPv4Network, IPv6Network)
"""Types of drivers that are sent as text."""
MAX_TEXT = 128
"""The maximum length of a text attribute that the vendor documents."""
_LAST_SECOND = 10**11
"""The year 5138 in Unix seconds, March 1973 in milliseconds."""
_DATE_NAME = re.compile(r"(?:^|_)(?i:at|date|time|timestamp)$|[a-z0-9](?:At|Date|Time|Timestamp)$")

_TOO_LONG = (
    f"The text is longer than {MAX_TEXT} characters, the maximum in Customerly. Shorten it in the query, or "
    "set truncate_text=True."
)
_MILLISECONDS = (
    "The attribute has the name of a date, but the number is too large for Unix seconds and looks like "
    "milliseconds. Divide it by 1000 in the query, or rename the attribute if it is not a date."
)
_BOOLEANS: dict[Any, bool] = {0: False, 1: True, "0": False, "1": True, "false": False, "true": True}
_NO_BOOLEAN = (
    "The value is not a boolean: 0, 1, true or false. Convert it in the query, or remove the column from "
    "booleans."
)
_NO_ID = "The id is neither text nor a whole number. Convert it in the query."
_INEXACT_ID = (
    "The id is a floating-point number too large to be exact. Convert it to text or an integer in the query."
)


class Attribute:
    """Convert a column to an attribute.

    Text is sent unchanged, dates and times as Unix seconds, and integers that JSON parsers may round as text.

    :param field: ``attributes.`` and the name. If the name ends in the word at, date, time or timestamp, as
        ``created_at`` or ``birthDate`` do, a number above 10**11 or below -10**11 is refused: it looks like a
        date in milliseconds, which would be thousands of years away if read as seconds.
    :param truncate_text: truncate text that is too long instead of refusing the row.
    :param truncated: counts the truncated values, by field.
    """

    def __init__(self, field: str, clock: Clock, *, truncate_text: bool, truncated: Counter[str]) -> None:
        self._field = field
        self._clock = clock
        self._truncate_text = truncate_text
        self._truncated = truncated
        self._is_date = bool(_DATE_NAME.search(field.removeprefix("attributes.")))
        self._largest = _LAST_SECOND if self._is_date else EXACT

    def __call__(self, values: Sequence[Any]) -> Converted:
        """Convert the values of several rows."""
        kinds = set(map(type, values)) - {type(None)}
        if kinds <= {bool}:
            return Converted(values, {})
        if kinds == {datetime} and (seconds := self._clock.all_seconds(values)) is not None:
            return Converted(seconds, {})
        if kinds == {float}:
            # Beyond these a whole number may not be one in JSON, or looks like a date in milliseconds.
            values = [
                int(number)
                if number is not None and number.is_integer() and -_LAST_SECOND <= number <= _LAST_SECOND
                else number
                for number in values
            ]
        return one_by_one(self._field, self._convert, values, self._odd(kinds, values))

    def _odd(self, kinds: set[type], values: Sequence[Any]) -> Sequence[int]:
        """Return the positions of values that ``_convert`` might change."""
        if kinds == {str}:
            return [
                position
                for position, text in enumerate(values)
                if text is not None and (len(text) > MAX_TEXT or not text.isascii())
            ]
        if kinds == {int}:
            low, high = -self._largest, self._largest
            return [
                position
                for position, number in enumerate(values)
                if number is not None and not low <= number <= high
            ]
        if kinds == {float}:  # NaN is within no limits
            low, high = -_LAST_SECOND, _LAST_SECOND
            return [
                position
                for position, number in enumerate(values)
                if number is not None and not low <= number <= high
            ]
        return range(len(values))

    def _convert(self, value: Any) -> Any:
        value = plain(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, int | float | Decimal):
            return self._number(value)
        if isinstance(value, date):
            return self._clock.seconds(value)
        if isinstance(value, _WRITTEN_OUT):
            return str(value)
        raise refusal(value)

    def _text(self, text: str) -> str:
        checked_text(text)
        if len(text) <= MAX_TEXT:
            return text
        if not self._truncate_text:
            raise Unsendable("text_too_long", _TOO_LONG)
        self._truncated[self._field] += 1
        return text[:MAX_TEXT]

    def _number(self, value: float | Decimal) -> int | float | str | None:
        number = to_number(value)
        if self._is_date and number is not None and abs(number) > _LAST_SECOND:
            raise Unsendable("bad_value", _MILLISECONDS)
        if isinstance(number, int) and abs(number) > EXACT:
            return str(number)
        return number


def booleans(field: str, values: Sequence[Any]) -> Converted:
    """Convert a column to booleans, from true and false, or 0 and 1 as numbers, bits or text."""
    return one_by_one(field, _boolean, values)


def names(values: Sequence[Any]) -> Converted:
    """Convert a column of names: text unchanged, blank text to None."""
    return one_by_one("name", _name, values, _no_plain_text(values))


def user_ids(values: Sequence[Any]) -> Converted:
    """Convert a column of user ids to text; whole numbers get no decimal point."""
    return one_by_one("user_id", _user_id, values, _no_plain_text(values))


def _no_plain_text(values: Sequence[Any]) -> list[int]:
    """Return the positions of values that are not plain ASCII text, or are blank."""
    if set(map(type, values)) == {str} and all(map(str.isascii, values)) and all(map(str.strip, values)):
        return []
    return [
        position
        for position, value in enumerate(values)
        if value is not None and (type(value) is not str or not value.isascii() or not value.strip())
    ]


def _name(value: Any) -> str | None:
    value = plain(value)
    if value is None:
        return None
    if not isinstance(value, str):
        raise refusal(value)
    return checked_text(value) if value.strip() else None


def _user_id(value: Any) -> str | None:
    value = plain(value)
    if value is None:
        return None
    if isinstance(value, str):
        return checked_text(value) if value.strip() else None
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bool):
        raise Unsendable("bad_value", _NO_ID)
    if not isinstance(value, int | float | Decimal):
        raise refusal(value)
    number = to_number(value)
    if isinstance(number, int):
        return str(number)
    whole = isinstance(value, float) and value.is_integer()
    raise Unsendable("bad_value", _INEXACT_ID if whole else _NO_ID)


def _boolean(value: Any) -> bool | None:
    value = plain(value)
    if isinstance(value, bytes):  # MySQL drivers return this for BIT(1)
        value = int.from_bytes(value, "big")
    if isinstance(value, str):
        value = value.strip().lower()
    if value is None:
        return None
    if isinstance(value, bool | int | float | Decimal | str) and value in _BOOLEANS:
        return _BOOLEANS[value]
    raise Unsendable("bad_value", _NO_BOOLEAN)
