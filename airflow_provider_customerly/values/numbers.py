"""Convert numbers to JSON, in the same form whatever type the driver returns."""

from __future__ import annotations

import math
from decimal import Decimal

from airflow_provider_customerly.values.unsendable import Unsendable

EXACT = 2**53
"""Up to here every JSON parser keeps integers exact."""
_DIGITS = 127
_TOO_LONG = f"The number has more than {_DIGITS} digits. Round it in the query, or leave it out."


def to_number(value: float | Decimal) -> int | float | None:
    """Return an integer if the value is one, else a float; None for infinity.

    1, 1.0 and Decimal("1.00") are all 1, so that the type of the column and the driver make no difference.
    Floats beyond ``EXACT`` stay floats, because their last digits are not exact.
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
    if value and value.adjusted() >= _DIGITS:  # before int(): 1E+999999999 would exhaust memory
        raise Unsendable("bad_value", _TOO_LONG)
    return int(value) if value == value.to_integral_value() else to_number(float(value))
