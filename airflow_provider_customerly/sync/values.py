"""Names, ids and attributes of contacts: what is sent for the values of a column."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow_provider_customerly.sync.numbers import EXACT, to_number
from airflow_provider_customerly.sync.plain import plain
from airflow_provider_customerly.sync.unsendable import (
    Converted,
    Unsendable,
    checked_text,
    one_by_one,
    refusal,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from airflow_provider_customerly.sync.clock import Clock

MAX_TEXT = 128
"""The most characters that the vendor documents for the text of an attribute."""
_LAST_SECOND = 10**11
"""The year 5138 in unix seconds, March 1973 in milliseconds."""
_DATE_NAME = re.compile(r"(?:^|_)(?i:at|date|time|timestamp)$|[a-z0-9](?:At|Date|Time|Timestamp)$")

_TOO_LONG = (
    f"Text of more than {MAX_TEXT} characters, the most that Customerly takes: shorten it in the query, or "
    "set truncate_text=True."
)
_MILLISECONDS = (
    "A number too large for unix seconds in an attribute named like a date; it looks like milliseconds: "
    "divide it by 1000 in the query, or name the attribute otherwise if it is no date."
)
_BOOLEANS: dict[Any, bool] = {0: False, 1: True, "0": False, "1": True, "false": False, "true": True}
_NO_BOOLEAN = (
    "Neither 0 nor 1, nor true or false: convert it in the query, or leave the column out of booleans."
)
_NO_ID = "Not an id: give text or a whole number. Convert it in the query."
_INEXACT_ID = (
    "A floating-point number too large to be exact: convert the id to text or an integer in the query."
)


class Attribute:
    """A column of one attribute.

    Text is sent as it is, dates and times as unix seconds, integers that JSON's readers may round as text.

    :param field: `attributes.` and its name. A number over 10**11, or below -10**11, is refused under a name
        that ends in the word at, date, time or timestamp, as in `created_at` or `birthDate`: it looks like a
        date in milliseconds, which read as seconds is thousands of years away.
    :param truncate_text: cut text that is too long instead of refusing the row.
    :param truncated: counts the values cut, by field.
    """

    def __init__(self, field: str, clock: Clock, *, truncate_text: bool, truncated: Counter[str]) -> None:
        self._field = field
        self._clock = clock
        self._truncate_text = truncate_text
        self._truncated = truncated
        self._is_date = bool(_DATE_NAME.search(field.removeprefix("attributes.")))
        self._largest = _LAST_SECOND if self._is_date else EXACT

    def __call__(self, values: Sequence[Any]) -> Converted:
        """Convert the values of some rows."""
        if self._need_no_thought(values):
            return Converted(values, {})
        return one_by_one(self._field, self._convert, values)

    def _need_no_thought(self, values: Sequence[Any]) -> bool:
        """Tell whether `_convert` would give each value as it is, for columns of one type only."""
        kinds = set(map(type, values)) - {type(None)}
        if kinds == {str}:
            texts = [text for text in values if text is not None]
            return len(max(texts, key=len)) <= MAX_TEXT and all(map(str.isascii, texts))
        if kinds == {int}:
            numbers = [number for number in values if number is not None]
            return bool(-self._largest <= min(numbers) and max(numbers) <= self._largest)
        return kinds <= {bool}

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
        if isinstance(value, UUID):
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
    """Convert a column of an attribute that is true or false, from 0 and 1, as numbers, bits or text."""
    return one_by_one(field, _boolean, values)


def names(values: Sequence[Any]) -> Converted:
    """Convert a column of names: text as it is, nothing for blank text."""
    return one_by_one("name", _name, values)


def user_ids(values: Sequence[Any]) -> Converted:
    """Convert a column of the caller's own ids: always text, whole numbers without a point."""
    return one_by_one("user_id", _user_id, values)


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
    if isinstance(value, bytes):  # what MySQL's drivers give for BIT(1)
        value = int.from_bytes(value, "big")
    if isinstance(value, str):
        value = value.strip().lower()
    if value is None:
        return None
    if isinstance(value, bool | int | float | Decimal | str) and value in _BOOLEANS:
        return _BOOLEANS[value]
    raise Unsendable("bad_value", _NO_BOOLEAN)
