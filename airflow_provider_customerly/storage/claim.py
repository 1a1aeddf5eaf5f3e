"""What a run that asks for a lock or holds it tells others, and what they conclude."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from airflow_provider_customerly.storage.process import Process

if TYPE_CHECKING:
    from airflow_provider_customerly.storage.location import Location

SILENT_FOR = timedelta(seconds=60)
"""Twice the renewal interval. The task's next attempt may take over a claim that was not renewed for so long.

It is longer than ``SURE_FOR``, so that a holder that was suspended asks the storage before it does anything.
"""
GRACE = timedelta(minutes=5)
"""Tolerance for clock skew, added to a time recorded on another machine."""

_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a claim's file."""

    run: str
    owner: str
    process: Process
    renewed_at: _Instant
    expires_at: _Instant
    holding: bool = True
    """False while the run is still asking for the lock."""
    over: list[str] = []
    """Runs that this one considers dead: they do not hold the lock, whatever they may still write."""

    @property
    def ends_at(self) -> datetime:
        """When the claim has expired by the clock of each machine."""
        return _later(self.expires_at)

    def is_dead(self, now: datetime) -> bool:
        """Return whether the run has ended, or must know that its claim has expired."""
        return now > self.ends_at or self.process.is_gone()

    def standing(self, location: Location, owner: str, now: datetime) -> Literal["alive", "dead", "doubtful"]:
        """Return whether a run of ``owner`` may take over from this one.

        Airflow starts a task's next attempt when it considers the earlier one dead, which may be wrong. On a
        local disk the next attempt takes over at once, because the earlier one checks its claim before each
        request. Elsewhere it takes over only if the claim was not renewed for a while; ``doubtful`` means
        that this is not known yet.
        """
        if self.is_dead(now):
            return "dead"
        if not owner or self.owner != owner:
            return "alive"
        if location.is_local and self.process.is_here():
            return "dead" if self.holding else "alive"  # one that is asking is not an earlier attempt
        return "dead" if now - SILENT_FOR > _later(self.renewed_at) else "doubtful"


def _later(time: datetime) -> datetime:
    return min(time, datetime.max.replace(tzinfo=timezone.utc) - GRACE) + GRACE
