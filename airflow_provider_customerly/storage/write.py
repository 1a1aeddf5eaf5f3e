"""One write to a dataset, from its first part to its commit."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import msgspec

from airflow_provider_customerly.storage.history import (
    commits_in,
    is_added_to,
    newest_whole,
    remove_commit,
)
from airflow_provider_customerly.storage.lease import Lease, LeaseLostError
from airflow_provider_customerly.storage.manifest import (
    Manifest,
    manifest_names,
    partition_folder,
)

if TYPE_CHECKING:
    from types import TracebackType

    from airflow_provider_customerly.storage.location import Location

log = logging.getLogger(__name__)


class Write:
    """A write in progress; as a context manager it is aborted unless it was committed. See `Dataset`."""

    def __init__(self, location: Location, lease: Lease) -> None:
        self.location = location
        self.run = lease.run
        self._lease = lease
        self._parts = 0
        self._written: set[str] = set()
        self._open = True

    def __enter__(self) -> Write:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def part_path(self, partition: dict[str, str]) -> str:
        """Give the name, relative to the dataset, of a new part."""
        name = f"{partition_folder(partition)}/part-{self._parts:05d}-{self.run}.parquet"
        self._parts += 1
        self._written.add(name)
        return name

    def remove_part(self, name: str) -> None:
        """Delete a part of this write."""
        self.location.delete(name)
        self._written.discard(name)

    def raise_if_lost(self) -> None:
        """Tell what is known of the lease, without a look at the storage: to be called often.

        :raises LeaseLostError: it is lost, and nothing can be committed any more.
        """
        self._lease.raise_if_lost()

    def commit(self, manifest: Manifest) -> Manifest:
        """Make the parts that `manifest` names the newest state, then remove the commit it replaces.

        A commit replaces those of the same mode and partition that came before. If it adds to another one,
        it replaces only earlier tries of itself: those of the same owner that add to the same one. Whatever
        another commit adds to stays.

        :param manifest: its `sequence` is set here.
        :raises LeaseLostError: another writer has taken over, has removed what this one adds to, or has
            read the whole since; nothing is committed.
        """
        self._check(manifest)
        sequence = max((name.sequence for name in manifest_names(self.location)), default=0) + 1
        manifest = msgspec.structs.replace(manifest, sequence=sequence)
        self.location.write_atomic(manifest.name, manifest.encode())
        try:
            self._check(manifest)
        except BaseException:
            self.location.delete(manifest.name)
            raise
        self._open = False
        self._lease.release()
        self._remove_replaced(manifest)
        return manifest

    def abort(self) -> None:
        """Remove what was written, as far as the storage still answers; does nothing after a commit."""
        if not self._open:
            return
        self._open = False
        try:
            self._lease.release()
            for name in self._written:
                self.location.delete(name)
        except Exception as error:
            # Another error is on its way out, and the next write cleans up in any case.
            log.warning("Could not remove run %s at %s: %s", self.run, self.location, type(error).__name__)

    def _check(self, manifest: Manifest) -> None:
        self._lease.check()
        if manifest.after:
            self._check_base(manifest)
        present = dict[str, int]()
        for folder in {entry.path.rpartition("/")[0] for entry in manifest.parts}:
            present |= self.location.list(folder)
        for entry in manifest.parts:
            if present.get(entry.path) != entry.bytes:
                raise LeaseLostError(
                    f"{entry.path} at {self.location} is gone or cut short, though run {self.run} wrote "
                    f"{entry.bytes} bytes. Nothing was committed. Check what else deletes files there, then "
                    "run again."
                )

    def _check_base(self, manifest: Manifest) -> None:
        if not self.location.exists(manifest.after):
            raise LeaseLostError(
                f"{manifest.after} at {self.location}, which run {self.run} adds to, was replaced or removed "
                "meanwhile. Nothing was committed. Run it again."
            )
        whole = newest_whole(self.location, later_than=manifest.after)
        # Folding changes makes a whole state too, but it knows of no more deletions than what it was made of.
        if whole is not None and whole.refreshed_at != manifest.refreshed_at:
            raise LeaseLostError(
                f"While run {self.run} at {self.location} read what changed since {manifest.after}, another "
                "run committed a whole list. Nothing was committed. Run it again."
            )

    def _remove_replaced(self, manifest: Manifest) -> None:
        for other in commits_in(self.location, manifest.partition):
            if other.sequence < manifest.sequence and _replaces(manifest, other):
                with contextlib.suppress(FileNotFoundError):
                    if not is_added_to(self.location, other):
                        remove_commit(self.location, other)


def _replaces(manifest: Manifest, other: Manifest) -> bool:
    if (other.mode, other.partition, other.after) != (manifest.mode, manifest.partition, manifest.after):
        return False
    return not manifest.after or (manifest.owner != "" and manifest.owner == other.owner)
