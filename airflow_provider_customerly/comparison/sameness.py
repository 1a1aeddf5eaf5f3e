"""Decide whether Customerly holds the value that was, or would be, sent.

A PHP API may return a number as text, a flag as 0 or 1, and text as a number. So a returned value is compared
with everything that may have been sent.
"""

from __future__ import annotations

import math
import re
from enum import Enum
from typing import Any

from airflow_provider_customerly.values.email import identity_of
from airflow_provider_customerly.values.numbers import EXACT, to_number

_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?")
_FLAGS = {"0": False, "1": True, "false": False, "true": True}


class Unknown(Enum):
    """A value that an export does not show."""

    UNKNOWN = "unknown"


UNKNOWN = Unknown.UNKNOWN


def readings(held: Any) -> list[Any]:
    """Return all values that the API may return as this one, most likely first.

    Null and empty text are the same, because an export does not show whether ``""`` was sent.
    """
    if is_empty(held):
        return [None, ""]
    if isinstance(held, bool):
        return [held, int(held), "1" if held else "0", "true" if held else "false"]
    if isinstance(held, int | float):
        number = to_number(held) if math.isfinite(held) and abs(held) <= EXACT else held
        flags = [bool(number)] if number in (0, 1) else []
        return [number, repr(number), *flags]
    if isinstance(held, str):
        found: list[Any] = [held]
        if _NUMBER.fullmatch(held):
            number = float(held) if set(held) & set(".eE") else int(held)
            if abs(number) <= EXACT:
                found.append(to_number(number))
        if held.lower() in _FLAGS:
            found.append(_FLAGS[held.lower()])
        return found
    return [held]


def is_same(field: str, held: Any, wanted: Any) -> bool:
    """Return whether Customerly holds the value that would be sent; ``UNKNOWN`` equals nothing.

    Emails are compared as Customerly compares them, and user_ids are trimmed.
    """
    if held is UNKNOWN:
        return False
    if field == "email" and isinstance(held, str) and isinstance(wanted, str):
        return identity_of(held) == identity_of(wanted)
    if field == "user_id" and isinstance(held, str) and isinstance(wanted, str):
        return held.strip() == wanted.strip()
    # The types must match, because True equals 1 in Python; `readings` has all equivalent values.
    return any(type(one) is type(wanted) and one == wanted for one in readings(held))


def is_empty(held: Any) -> bool:
    """Return whether a value is null or empty text."""
    return held is None or held == ""
