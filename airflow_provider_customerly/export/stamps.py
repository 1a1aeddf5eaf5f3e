"""Convert ``last_update`` between the API's format and a datetime."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pyarrow.compute as pc

if TYPE_CHECKING:
    import pyarrow as pa

_FORM = "%Y-%m-%d %H:%M:%S"


def stamp_text(instant: datetime) -> str:
    """Format a datetime like the API, rounded down to seconds."""
    return instant.astimezone(timezone.utc).strftime(_FORM)


def stamp_texts(instants: pa.Array) -> list[str]:
    """Format a column of times, keeping fractions; nulls become blank."""
    texts: list[str] = pc.fill_null(pc.strftime(instants, _FORM), "").to_pylist()
    return texts


def parse_stamp(text: str) -> datetime | None:
    """Read a timestamp of the API; None if it is invalid."""
    try:
        return datetime.strptime(text, _FORM).replace(tzinfo=timezone.utc)
    except ValueError:
        return None
