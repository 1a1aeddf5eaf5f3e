"""Values of any driver as Python's own, with None for all that stands for no value."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np

_AS_THEY_ARE = frozenset({type(None), str, bool, int, datetime, date})
_ABSENT = frozenset({"NAType", "NaTType"})
"""What pandas has for no value; known by name, for a sync does without pandas."""
_DAYS = frozenset({"Y", "M", "W", "D"})


def plain(value: Any) -> Any:
    """Give the value itself, or Python's own in its place.

    NaN, like pandas' NaT and NA, is None. Scalars of numpy and subclasses of the basic types, such as an enum
    of texts, become the basic ones. What has no counterpart stays as it is.
    """
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is float:
        return value if value == value else None
    if isinstance(value, Decimal):
        return None if value.is_nan() else value
    if isinstance(value, np.generic):
        return _from_numpy(value)
    if kind.__name__ in _ABSENT:
        return None
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return plain(float(value))
    return value


def _from_numpy(value: np.generic[Any]) -> Any:
    if isinstance(value, np.datetime64):
        whole_days = np.datetime_data(value.dtype)[0] in _DAYS
        moment = (value if whole_days else value.astype("datetime64[us]")).item()
        return value if isinstance(moment, int) else moment  # an integer: beyond the years Python knows
    if isinstance(value, np.timedelta64):  # whose item may be an integer, too
        return value
    if isinstance(value, np.floating):
        return plain(float(value))
    return value.item()
