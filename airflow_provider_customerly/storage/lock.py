"""One holder at a time, on any disk or object store."""

from __future__ import annotations

import logging
import random
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from airflow_provider_customerly.storage.lease import GRACE, Claim, Lease, claims, remove_claim

if TYPE_CHECKING:
    from types import TracebackType

    from airflow_provider_customerly.storage.location import Location

log = logging.getLogger(__name__)

_TRIES = 8
_LONGEST_PAUSE = 0.5  # seconds


class LockedError(RuntimeError):
    """Another run holds the folder: wait for it to end, or for its claim to expire."""

    def __init__(self, location: Location, holder: Claim) -> None:
        where = f"run {holder.run}, process {holder.process.pid} on {holder.process.host}"
        super().__init__(
            f"{location} is in use by {holder.owner or 'somebody'} ({where}), last heard of at "
            f"{holder.renewed_at:%Y-%m-%d %H:%M:%S} UTC. Nothing was done. Try again when that has ended; "
            f"if it died without trace, its claim is void from {holder.expires_at + GRACE:%H:%M:%S} UTC on."
        )


class Lock:
    """Holds a folder for one run, as a context manager.

    Object stores have no exclusive creation that all of them share, so two claims are compared instead: a run
    first **asks**, by writing its claim, then looks at the others. Whoever finds itself alone **holds** from
    then on; whoever meets a holder fails; two that ask at the same moment both withdraw and ask again after
    pauses of random length. Asking comes before looking, so two runs can never both find themselves alone.

    :param run: unique name of this piece of work.
    :param owner: names what stays the same when the work is tried again; a claim of the same owner is that of
        a try that has ended, and is taken over.
    :raises LockedError: another living run holds the folder.
    """

    def __init__(self, location: Location, run: str, owner: str = "") -> None:
        self._location = location
        self._lease = self._acquire(run, owner)

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._lease.release()
        except Exception as problem:
            # Another error may be on its way out, and the claim of an ended process counts as dead.
            log.warning("Could not release %s: %s", self._location, type(problem).__name__)

    def raise_if_lost(self) -> None:
        """Tell what is known of the lock, without a look at the storage: to be called often.

        :raises LeaseLostError: it is lost.
        """
        self._lease.raise_if_lost()

    def check(self) -> None:
        """Make sure that nobody has taken over.

        :raises LeaseLostError: somebody has, or may have.
        """
        self._lease.check()

    def _acquire(self, run: str, owner: str) -> Lease:
        for _ in range(_TRIES):
            lease = Lease(self._location, run, owner, holding=False)
            try:
                rivals = self._living_rivals(run, owner)
                if not rivals:
                    lease.hold()
                    return lease
            except BaseException:
                lease.release()
                raise
            lease.release()
            for rival in rivals:
                if rival.holding:
                    raise LockedError(self._location, rival)
            threading.Event().wait(random.uniform(0.05, _LONGEST_PAUSE))
        raise LockedError(self._location, rivals[0])

    def _living_rivals(self, run: str, owner: str) -> list[Claim]:
        now = datetime.now(timezone.utc)
        living = []
        for claim in claims(self._location):
            if claim.run == run:
                continue
            if claim.is_dead(owner, now):
                log.info("Taking over from run %s at %s, which has ended", claim.run, self._location)
                remove_claim(self._location, claim.run)
            else:
                living.append(claim)
        return living
