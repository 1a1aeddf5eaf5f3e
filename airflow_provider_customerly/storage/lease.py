"""Who is working on a folder right now, written down where everyone sees it."""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import msgspec

from airflow_provider_customerly.storage.location import TEMPORARY
from airflow_provider_customerly.storage.process import Process

if TYPE_CHECKING:
    from airflow_provider_customerly.storage.location import Location

log = logging.getLogger(__name__)

FOLDER = "_leases"
RENEW_EVERY = timedelta(seconds=30)
LASTS = timedelta(minutes=15)
GRACE = timedelta(minutes=5)
"""Time between a holder's giving up its lease and others' taking it for dead: room for clocks that differ."""


class LeaseLostError(RuntimeError):
    """Another run has taken over, or may have: what this one wrote may be gone."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a lease file."""

    run: str
    owner: str
    process: Process
    renewed_at: datetime
    expires_at: datetime
    holding: bool = True
    """False while a run only asks for a lock; see `Lock`."""

    def is_dead(self, owner: str, now: datetime) -> bool:
        """Tell whether the holder is gone, as seen by `owner`.

        It is gone if its time is long over, if its process ended on this very machine, or if it is an earlier
        try of the same owner (Airflow starts a new try only when the one before has ended).
        """
        return now > self.expires_at + GRACE or self.process.is_gone() or bool(owner and self.owner == owner)


class Lease:
    """A claim on a folder, kept by a thread of its own from `hold` to `release`.

    However long the holder waits for a database or an API, the claim stays alive. It ends with the holder's
    process, and it is lost when the process, or the storage, stands still for longer than it lasts.

    :param location: the folder; the claim is the file `_leases/<run>.json` in it.
    :param run: unique name of this piece of work.
    :param owner: what stays the same when the work is tried again, such as DAG, task, run and map index;
        blank if there is no such thing.
    :param holding: see `Claim`.
    """

    def __init__(self, location: Location, run: str, owner: str = "", *, holding: bool = True) -> None:
        self.run = run
        self.owner = owner
        self._holding = holding
        self._location = location
        self._name = f"{FOLDER}/{run}.json"
        self._process = Process.current()
        self._lost: str | None = None
        self._released = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=f"lease of {run}", daemon=True)
        self._write(datetime.now(timezone.utc))
        if holding:
            self._keeper.start()

    def hold(self) -> None:
        """Turn a claim that asks into one that holds."""
        self._holding = True
        self._write(datetime.now(timezone.utc))
        self._keeper.start()

    def raise_if_lost(self) -> None:
        """Tell what is known of the lease, without a look at the storage: to be called often.

        :raises LeaseLostError: it is lost.
        """
        silent = time.time() - self._renewed
        if self._lost is None and silent > LASTS.total_seconds():
            self._lost = (
                f"Run {self.run} on {self._location} gave no sign of life for {silent:.0f} s: it stood "
                "still, or the storage did not answer. Another run may have taken over. Run it again."
            )
        if self._lost is not None:
            raise LeaseLostError(self._lost)

    def check(self) -> None:
        """Make sure that nobody has taken over.

        :raises LeaseLostError: somebody has, or may have.
        """
        self.raise_if_lost()
        try:
            self._location.read(self._name)
        except FileNotFoundError:
            self._lost = (
                f"Run {self.run} on {self._location} was taken for dead by another run, which removed its "
                "files. If both are meant to run, give them different owners or paths; then run it again."
            )
            raise LeaseLostError(self._lost) from None

    def release(self) -> None:
        """Give the claim up."""
        self._released.set()
        if self._keeper.is_alive():
            self._keeper.join()  # or it might write the claim once more
        self._location.delete(self._name)

    def _keep(self) -> None:
        while not self._released.wait(RENEW_EVERY.total_seconds()):
            # Before the look: should the process stand still behind it, what it then writes has expired.
            now = datetime.now(timezone.utc)
            try:
                self.check()
                self._write(now)
            except LeaseLostError:  # which the holder hears of when it asks
                return
            except Exception as problem:
                log.warning("Could not renew the claim on %s: %s", self._location, type(problem).__name__)

    def _write(self, now: datetime) -> None:
        claim = Claim(
            run=self.run,
            owner=self.owner,
            process=self._process,
            renewed_at=now,
            expires_at=now + LASTS,
            holding=self._holding,
        )
        self._location.write_atomic(self._name, msgspec.json.encode(claim))
        self._renewed = now.timestamp()


def claims(location: Location) -> list[Claim]:
    """Read all claims on a folder."""
    found = []
    for name in location.list(FOLDER):
        if TEMPORARY not in name:
            try:
                found.append(msgspec.json.decode(location.read(name), type=Claim))
            except FileNotFoundError:  # given up since the listing
                continue
    return found


def remove_claim(location: Location, run: str) -> None:
    """Take a dead holder's claim away; it cannot commit from then on."""
    location.delete(f"{FOLDER}/{run}.json")
