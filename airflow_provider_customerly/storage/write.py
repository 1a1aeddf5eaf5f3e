"""One write to a dataset, from its first part to its commit."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from airflow_provider_customerly.storage.lease import Lease, LeaseLostError
from airflow_provider_customerly.storage.manifest import (
    Manifest,
    manifest_names,
    partition_folder,
    read_manifest,
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
        self._lease.renew()
        name = f"{partition_folder(partition)}/part-{self._parts:05d}-{self.run}.parquet"
        self._parts += 1
        self._written.add(name)
        return name

    def remove_part(self, name: str) -> None:
        """Delete a part of this write."""
        self.location.delete(name)
        self._written.discard(name)

    def renew(self) -> None:
        """Keep the lease alive; cheap, to be called often.

        :raises LeaseLostError: this writer was taken for dead, or stood still for so long that it may be.
        """
        self._lease.renew()

    def commit(self, manifest: Manifest) -> Manifest:
        """Make the parts that `manifest` names the newest state, then remove the commit it replaces.

        A commit replaces those of the same mode and partition that came before.

        :param manifest: its `sequence` is set here.
        :raises LeaseLostError: another writer has taken over; nothing is committed.
        """
        self._lease.renew()
        self._lease.check()
        self._require_parts(manifest)
        sequence = max((name.sequence for name in manifest_names(self.location)), default=0) + 1
        manifest = msgspec.structs.replace(manifest, sequence=sequence)
        self.location.write_atomic(manifest.name, manifest.encode())
        try:
            self._lease.check()
            self._require_parts(manifest)
        except LeaseLostError:
            self.location.delete(manifest.name)
            raise
        self._open = False
        self._remove_replaced(manifest)
        self._lease.release()
        return manifest

    def abort(self) -> None:
        """Remove what was written, as far as the storage still answers; does nothing after a commit."""
        if not self._open:
            return
        self._open = False
        try:
            for name in self._written:
                self.location.delete(name)
            self._lease.release()
        except Exception as error:
            # Another error is on its way out, and the next write cleans up in any case.
            log.warning("Could not remove run %s at %s: %s", self.run, self.location, type(error).__name__)

    def _require_parts(self, manifest: Manifest) -> None:
        present = self.location.list(manifest.folder)
        for entry in manifest.files:
            if present.get(entry.path) != entry.bytes:
                raise LeaseLostError(
                    f"{entry.path} at {self.location} is gone or cut short, though run {self.run} wrote "
                    f"{entry.bytes} bytes. Nothing was committed. Check what else deletes files there, then "
                    "run again."
                )

    def _remove_replaced(self, manifest: Manifest) -> None:
        here = " ".join(self.location.list(manifest.folder))
        for name in manifest_names(self.location):
            # Only a manifest with files in this folder can be replaced; there may be thousands of others.
            if name.sequence >= manifest.sequence or name.run not in here:
                continue
            try:
                other = read_manifest(self.location, name.name)
            except FileNotFoundError:
                continue
            if (other.mode, other.partition) == (manifest.mode, manifest.partition):
                # The manifest first: a crash in between leaves orphans, never a manifest without its files.
                self.location.delete(name.name)
                for entry in other.files:
                    self.location.delete(entry.path)
