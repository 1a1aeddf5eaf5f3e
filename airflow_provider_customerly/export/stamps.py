"""`last_update` as the API writes it, and as an instant."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pyarrow.compute as pc

if TYPE_CHECKING:
    import pyarrow as pa

_FORM = "%Y-%m-%d %H:%M:%S"


def stamp_text(instant: datetime) -> str:
    """Write an instant as the API would, to the second below."""
    return instant.astimezone(timezone.utc).strftime(_FORM)


def stamp_texts(instants: pa.Array) -> list[str]:
    """Write a column of instants in a form that is read as a stamp, fractions kept; nulls are blank."""
    texts: list[str] = pc.fill_null(pc.strftime(instants, _FORM), "").to_pylist()
    return texts


def parse_stamp(text: str) -> datetime | None:
    """Read a stamp of the API; None if it is none."""
    try:
        return datetime.strptime(text, _FORM).replace(tzinfo=timezone.utc)
    except ValueError:
        return None
