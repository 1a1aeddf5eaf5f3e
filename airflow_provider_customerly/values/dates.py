"""Convert dates and times to Unix seconds, the form in which Customerly stores them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from airflow_provider_customerly.values.unsendable import Unsendable

if TYPE_CHECKING:
    from collections.abc import Sequence

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_NAIVE = (
    'The date and time has no time zone. Set its zone, such as timezone="Europe/Rome" or timezone="UTC", '
    "or convert it in the query to a type with a zone."
)
_BEYOND = "The date and time cannot be converted to UTC. Fix it in the source, or make it NULL in the query."


class Clock:
    """Convert dates and times; fractions of a second are dropped.

    A date becomes midnight UTC, regardless of the time zone, so that an export that reads it back as a date
    returns the same day.

    A time that occurs twice because clocks are set back is the first of the two, unless the value says
    otherwise. A time that is skipped is read as if clocks had not been set forward yet.

    :param timezone: IANA name of the zone of times without one.
    :raises ValueError: there is no such zone.
    """

    def __init__(self, timezone: str | None) -> None:
        self._zone = None if timezone is None else _zone(timezone)

    def seconds(self, value: dt.date) -> int:
        """Return Unix seconds."""
        try:
            past = self._moment(value) - _EPOCH
        except Unsendable:
            raise
        except (OverflowError, ValueError):  # the driver's own tzinfo fails, or the year is above 9999
            raise Unsendable("bad_value", _BEYOND) from None
        return past.days * 86_400 + past.seconds

    def all_seconds(self, values: Sequence[dt.datetime | None]) -> list[int | None] | None:
        """Return unix seconds of times that all have a zone; None where that is not so simple."""
        try:
            past = [None if value is None else value - _EPOCH for value in values]
        except (TypeError, OverflowError, ValueError):
            return None
        return [None if one is None else one.days * 86_400 + one.seconds for one in past]

    def _moment(self, value: dt.date) -> dt.datetime:
        if not isinstance(value, dt.datetime):
            return dt.datetime(value.year, value.month, value.day, tzinfo=dt.timezone.utc)
        if value.utcoffset() is not None:
            return value
        if self._zone is None:
            raise Unsendable("bad_value", _NAIVE)
        return value.replace(tzinfo=self._zone)


def _zone(name: str) -> dt.tzinfo:
    if name == "UTC":
        return dt.timezone.utc
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, TypeError, AttributeError, OSError):
        raise ValueError(
            f'There is no time zone {name!r}. Use an IANA name, such as "Europe/Rome" or "UTC".'
        ) from None
