"""A lock with one holder at a time, on a disk or in an object store."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Literal, NoReturn

import msgspec

from airflow_provider_customerly.storage.claim import SILENT_FOR, Claim
from airflow_provider_customerly.storage.location import TEMPORARY
from airflow_provider_customerly.storage.process import Process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from airflow_provider_customerly.storage.location import Location

log = logging.getLogger(__name__)

FOLDER = "_leases"
RENEW_EVERY = timedelta(seconds=30)
SURE_FOR = timedelta(seconds=45)
"""How long after a renewal a holder relies on its claim without asking the storage."""
LASTS = timedelta(minutes=15)

_TRIES = 8
_LONGEST_PAUSE = 0.5  # seconds
_READS = 3


class LockLostError(RuntimeError):
    """Another run has taken over, or may have. This run must not change anything any more."""


class LockedError(RuntimeError):
    """Another run holds the lock: wait until it ends or its claim expires."""

    def __init__(self, location: Location, holder: Claim) -> None:
        where = f"run {holder.run}, process {holder.process.pid} on {holder.process.host}"
        super().__init__(
            f"{location} is in use by {holder.owner or 'another run'} ({where}), last active at "
            f"{holder.renewed_at:%Y-%m-%d %H:%M:%S} UTC. Nothing was done. Try again when that run has "
            f"ended. If it crashed, its claim expires at {holder.ends_at:%Y-%m-%d %H:%M:%S} UTC; "
            f"to release it now, delete {location.path(_file_of(holder.run))}."
        )


class Lock:
    """A lock on a folder, held as a context manager.

    Not every object store supports exclusive creation, so runs compare claims instead. A run first **asks**
    by writing its claim, ``_leases/<run>.json``, then reads the others. If it finds a living run, it
    withdraws. If it is alone, it writes that it **holds** the lock, and checks again. Two runs that ask at
    the same moment both withdraw, and ask again after random pauses.

    A thread renews the claim for as long as the holder lives. A run that takes over from one that seems dead
    first records this in ``over``, then removes the other's claim. So a run that was suspended at any point,
    even between a read and a write, notices at its next check that it lost the lock: its claim is gone, or
    another claim holds the lock or names it in ``over``. Every write of a claim is followed by such a check.

    :param run: unique name of this run.
    :param owner: what stays the same across retries, such as DAG, task, run and map index; blank if nothing
        does. See ``Claim.standing``.
    :raises LockedError: another living run holds the lock.
    """

    def __init__(self, location: Location, run: str, owner: str = "") -> None:
        self.run = str(run)  # msgspec does not encode subclasses of str
        self.owner = owner
        self._location = location
        self._name = _file_of(run)
        self._process = Process.current()
        self._over: list[str] = []
        self._lost: str | None = None
        self._renewing = threading.Lock()
        self._released = threading.Event()
        self._renewed = _clocks()
        self._keeper = threading.Thread(target=self._keep, name=f"lock of {run}", daemon=True)
        self._acquire()
        self._keeper.start()

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        if self._keeper.is_alive():
            self._keeper.join()  # or it might write the claim once more
        try:
            self._location.delete(self._name)
        except Exception as problem:
            # Another error may be propagating, and the claim of an ended process counts as dead.
            log.warning(
                "Could not release the lock (%s). Its claim will expire.\n%s",
                type(problem).__name__,
                self._location,
            )

    def raise_if_lost(self) -> None:
        """Raise an error if the lock is lost. Call this before each request that changes something.

        It asks the storage only if that is a local disk, or if the claim was not renewed in time because the
        process or its machine was suspended.

        :raises LockLostError: the lock is lost, or may be.
        """
        if self._lost is None and self._location.is_local:
            self._raise_if_gone_from_disk()
        if self._lost is None and _elapsed(self._renewed) > SURE_FOR.total_seconds():
            self._renew_late()
        if self._lost is not None:
            raise LockLostError(self._lost)

    def check(self) -> None:
        """Check in the storage that no other run has taken over.

        :raises LockLostError: another run has taken over, or may have.
        """
        self.raise_if_lost()
        if not self._has_claim():
            self._lose()
        if (rival := self._holding_rival()) is not None:
            self._lose(rival)

    def renew(self) -> None:
        """Renew the claim, unless another run has taken over.

        :raises LockLostError: another run has taken over.
        """
        with self._renewing:
            now = _clocks()
            if self._released.is_set():
                return
            if self._lost is not None or not self._has_claim():
                self._lose()
            self._write(holding=True)
            if (rival := self._holding_rival()) is not None:
                self._location.delete(self._name)  # this write may have come after the rival removed it
                self._lose(rival)
            self._renewed = now

    def _acquire(self) -> None:
        for name in _names(self._location):
            if _read(self._location, name) is None and self._location.exists(name):
                log.warning(
                    "Ignored a file that is not a valid claim. Delete it.\n%s", self._location.path(name)
                )
        for attempt in range(_TRIES):
            if attempt:
                _pause(random.uniform(0.05, _LONGEST_PAUSE))
            rival = self._ask()
            if rival is None:
                return
            if rival.holding or attempt == _TRIES - 1:
                raise LockedError(self._location, rival)

    def _ask(self) -> Claim | None:
        """Ask for the lock once, and hold it unless there is a rival, which is returned."""
        self._over = []  # a run that looked dead in an earlier attempt may hold the lock by now
        try:
            self._write(holding=False)
            rival = self._living_rival()
            if rival is None:
                self._renewed = _clocks()
                self._write(holding=True)
                rival = self._holding_rival()
        except BaseException:
            self._location.delete(self._name)
            raise
        if rival is not None:
            self._location.delete(self._name)
        return rival

    def _living_rival(self) -> Claim | None:
        """Return a living run, or take over from all others if there is none."""
        dead = []
        for claim in self._others():
            if claim.run in self._over:
                continue
            standing = claim.standing(self._location, self.owner, datetime.now(timezone.utc))
            if standing == "doubtful":
                standing = self._watch(claim)
            if standing == "alive":
                return claim
            dead.append(claim)
        if dead:
            runs = [claim.run for claim in dead]
            log.info("Taking over from %s, which has ended\n%s", " and ".join(runs), self._location)
            self._over += runs
            self._write(holding=False)
            for claim in dead:
                self._location.delete(_file_of(claim.run))
        return None

    def _watch(self, claim: Claim) -> Literal["alive", "dead"]:
        """Wait for a renewal by a run on another machine, whose clock may be wrong."""
        log.info(
            "An earlier attempt of this task (process %d on %s) may still be running. Waiting for up to "
            "%.0f s",
            claim.process.pid,
            claim.process.host,
            SILENT_FOR.total_seconds(),
        )
        since, is_last = _clocks(), False
        while not is_last:
            _pause(min(1.0, SILENT_FOR.total_seconds() / 20))
            # Before the look: this process may be suspended after one, and the other one not.
            is_last = _elapsed(since) >= SILENT_FOR.total_seconds()
            now = _read(self._location, _file_of(claim.run))
            if now is None:
                return "dead"
            if now.renewed_at != claim.renewed_at:
                return "alive"
        return "dead"

    def _holding_rival(self) -> Claim | None:
        """Return a run that holds the lock, or that took it over from this one."""
        now = datetime.now(timezone.utc)
        for claim in self._others():
            is_rival = claim.holding and claim.run not in self._over and not claim.is_dead(now)
            if is_rival or self.run in claim.over:
                return claim
        return None

    def _others(self) -> Iterator[Claim]:
        return (claim for claim in claims(self._location) if claim.run != self.run)

    def _has_claim(self) -> bool:
        try:
            self._location.read(self._name)  # other errors do not mean that the claim is gone
        except FileNotFoundError:
            return False
        return True

    def _raise_if_gone_from_disk(self) -> None:
        try:
            os.stat(self._location.path(self._name))
        except FileNotFoundError:
            self._lose()
        except OSError:
            return  # the disk does not respond: the claim's age decides

    def _renew_late(self) -> None:
        silent = _elapsed(self._renewed)
        try:
            self.renew()
        except LockLostError:
            raise
        except Exception as problem:
            raise LockLostError(
                f"Run {self.run} could not renew its claim on {self._location} for {silent:.0f} s: the "
                f"process was suspended, or the storage did not respond ({type(problem).__name__}). Another "
                "run may have taken over. Run it again."
            ) from problem

    def _lose(self, rival: Claim | None = None) -> NoReturn:
        by = f"run {rival.run}, which holds the lock now" if rival else "another run"
        self._lost = self._lost or (
            f"Run {self.run} at {self._location} was considered dead and replaced by {by}. If both should "
            "run, use different owners or paths. Then run it again."
        )
        raise LockLostError(self._lost)

    def _keep(self) -> None:
        while not self._released.wait(RENEW_EVERY.total_seconds()):
            try:
                self.renew()
            except LockLostError:  # the holder gets it at its next check
                return
            except Exception as problem:
                log.warning(
                    "Could not renew the claim (%s). Trying again in %.0f s\n%s",
                    type(problem).__name__,
                    RENEW_EVERY.total_seconds(),
                    self._location,
                )

    def _write(self, *, holding: bool) -> None:
        now = datetime.now(timezone.utc)
        claim = Claim(
            run=self.run,
            owner=self.owner,
            process=self._process,
            renewed_at=now,
            expires_at=now + LASTS,
            holding=holding,
            over=self._over,
        )
        self._location.write_atomic(self._name, msgspec.json.encode(claim))


def claims(location: Location) -> list[Claim]:
    """Return all valid claims on a folder; ignore other files."""
    return [claim for name in _names(location) if (claim := _read(location, name)) is not None]


def _file_of(run: str) -> str:
    return f"{FOLDER}/{run}.json"


def _names(location: Location) -> list[str]:
    return sorted(name for name in location.list(FOLDER) if TEMPORARY not in name)


def _read(location: Location, name: str) -> Claim | None:
    """Return a claim; None if the file is missing or invalid, such as a copy under another name."""
    for attempt in range(1 if location.is_local else _READS):
        if attempt:  # a store may show an unfinished file
            _pause(0.1)
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            try:
                claim = msgspec.json.decode(location.read(name), type=Claim)
            except (FileNotFoundError, IsADirectoryError):
                return None
            return claim if name == _file_of(claim.run) else None
    return None


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def _clocks() -> tuple[float, ...]:
    """Return the time of each clock of this machine: some stop while it sleeps, others can be set."""
    clocks = [time.monotonic(), time.time()]
    if hasattr(time, "CLOCK_BOOTTIME"):
        clocks.append(time.clock_gettime(time.CLOCK_BOOTTIME))
    return tuple(clocks)


def _elapsed(since: tuple[float, ...]) -> float:
    """Return the elapsed seconds by the clock that advanced the most."""
    return max(now - then for then, now in zip(since, _clocks(), strict=True))
