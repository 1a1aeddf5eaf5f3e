"""Dates and times as the unix seconds that Customerly keeps them in."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from airflow_provider_customerly.sync.unsendable import Unsendable

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_NAIVE = (
    'A date and time without a time zone: name its zone, such as timezone="Europe/Rome" or timezone="UTC", '
    "or convert it in the query to a type that has one."
)
_BEYOND = (
    "A date and time that cannot be converted to UTC: correct it in the source, or make it NULL in the query."
)


class Clock:
    """Converts dates and times; a fraction of a second is dropped.

    A time that a zone has twice, when its clocks are set back, is taken for the first of the two unless the
    value says otherwise. One that it skips is taken as if the clocks had not been set forward yet.

    :param timezone: the zone of dates and of times that have none, by its name in the IANA database.
    :raises ValueError: there is no such zone.
    """

    def __init__(self, timezone: str | None) -> None:
        self._zone = None if timezone is None else _zone(timezone)

    def seconds(self, value: dt.date) -> int:
        """Give unix seconds: of a date those of its midnight, in UTC when no zone was named."""
        try:
            past = self._moment(value) - _EPOCH
        except Unsendable:
            raise
        except (OverflowError, ValueError):  # a zone of the driver's own fails, or the year is beyond 9999
            raise Unsendable("bad_value", _BEYOND) from None
        return past.days * 86_400 + past.seconds

    def _moment(self, value: dt.date) -> dt.datetime:
        if not isinstance(value, dt.datetime):
            return dt.datetime(value.year, value.month, value.day, tzinfo=self._zone or dt.timezone.utc)
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
            f'There is no time zone {name!r}: name one of the IANA database, such as "Europe/Rome" or "UTC".'
        ) from None
