"""Convert values of any driver to built-in types, with None for every kind of missing value."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np

_AS_THEY_ARE = frozenset({type(None), str, bool, int, datetime, date})
_ABSENT = frozenset({"NAType", "NaTType"})
"""Missing values of pandas, known by name because a sync does not depend on pandas."""
_DAYS = frozenset({"Y", "M", "W", "D"})


def plain(value: Any) -> Any:
    """Return a value as a built-in type.

    NaN, like pandas' NaT and NA, becomes None. Numpy scalars and subclasses of built-in types, such as string
    enums, become the built-in type. A value without a counterpart is returned unchanged.
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
        return value if isinstance(moment, int) else moment  # an integer if the year is out of Python's range
    if isinstance(value, np.timedelta64):  # whose item may be an integer, too
        return value
    if isinstance(value, np.floating):
        return plain(float(value))
    return value.item()
