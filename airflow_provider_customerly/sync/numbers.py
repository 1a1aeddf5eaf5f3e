"""Numbers as JSON has them: the same number is written the same way whatever type a driver gave it."""

from __future__ import annotations

import math
from decimal import Decimal

from airflow_provider_customerly.sync.unsendable import Unsendable

EXACT = 2**53
"""Up to here every reader of JSON keeps integers exactly."""
_DIGITS = 127
_TOO_LONG = f"A number of more than {_DIGITS} digits: round it, or leave it out, in the query."


def to_number(value: float | Decimal) -> int | float | None:
    """Give an integer where the value is one, else a float; None for infinity.

    1, 1.0 and Decimal("1.00") are all 1, so that a column whose type changes from one to the other, or a
    driver that prefers one, changes nothing. Floats beyond `EXACT` stay floats: their last digits were never
    known.
    """
    if isinstance(value, int):
        if abs(value) >= 10**_DIGITS:
            raise Unsendable("bad_value", _TOO_LONG)
        return value
    if isinstance(value, Decimal):
        return _from_decimal(value)
    if not math.isfinite(value):
        return None
    return int(value) if abs(value) <= EXACT and value.is_integer() else value


def _from_decimal(value: Decimal) -> int | float | None:
    if not value.is_finite():
        return None
    if value and value.adjusted() >= _DIGITS:  # told first: written out, 1E+999999999 would fill the memory
        raise Unsendable("bad_value", _TOO_LONG)
    return int(value) if value == value.to_integral_value() else to_number(float(value))
