"""A dataset: data files, and the manifests that say which of them count."""

from __future__ import annotations

import logging
import re
import secrets
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from airflow_provider_customerly.storage.lease import Lease, claims, remove_claim
from airflow_provider_customerly.storage.location import TEMPORARY
from airflow_provider_customerly.storage.manifest import Manifest, manifest_names, read_manifest
from airflow_provider_customerly.storage.write import Write

if TYPE_CHECKING:
    from airflow_provider_customerly.storage.location import Location

log = logging.getLogger(__name__)

_PART = re.compile(r"(?:.+/)?part-\d+-(\d{8}T\d{6}Z-[0-9a-f]{8})\.parquet")
_TRIES = 10


class Dataset:
    """A folder whose state changes in one step.

    Data files ("parts") come first, under names that no manifest knows; the manifest that names them comes
    last, as one atomic write, and is the commit. The newest manifest is the state: a reader sees the old one
    or the new one.

    Each writer holds a lease from before its first part to after its commit. Hence a part whose run has
    neither a manifest nor a living lease is an orphan, and the next writer removes it. That stays true while
    others write and commit because of the order of looking: parts first, then leases, then manifests.
    """

    def __init__(self, location: Location) -> None:
        self.location = location

    def newest(self) -> Manifest | None:
        """Read the newest commit; None if there is none."""
        for attempt in range(_TRIES):
            try:
                names = manifest_names(self.location)
                return read_manifest(self.location, names[-1].name) if names else None
            except FileNotFoundError:  # replaced since the listing: there is a newer one
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def at(self, name: str) -> Manifest:
        """Read the commit whose manifest has this name.

        :raises FileNotFoundError: there is none.
        """
        return read_manifest(self.location, name)

    def begin(self, owner: str = "") -> Write:
        """Start a write, and remove what dead writers left.

        :param owner: see `Lease`; an earlier write of the same owner is taken for dead.
        """
        run = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        lease = Lease(self.location, run, owner)
        try:
            self._remove_orphans(lease)
        except BaseException:
            lease.release()
            raise
        return Write(self.location, lease)

    def _remove_orphans(self, lease: Lease) -> None:
        files = self.location.list()
        now = datetime.now(timezone.utc)
        others = [claim for claim in claims(self.location) if claim.run != lease.run]
        dead = [claim for claim in others if claim.is_dead(lease.owner, now)]
        # A writer that is only taken for dead looks at its lease after it has written its manifest. So the
        # lease goes first: either the writer misses it and takes the manifest back, or it is seen below.
        for claim in dead:
            log.info("Removing what run %s left at %s", claim.run, self.location)
            remove_claim(self.location, claim.run)
        alive = {claim.run for claim in others} - {claim.run for claim in dead}
        spared = alive | {lease.run} | {name.run for name in manifest_names(self.location)}
        for name in files:
            part = _PART.fullmatch(name)
            if (part and part[1] not in spared) or (TEMPORARY in name and not alive):
                self.location.delete(name)
