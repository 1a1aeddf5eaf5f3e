"""A dataset: data files and the manifests that commit them."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from datetime import date, datetime, time, timedelta, timezone
from typing import TYPE_CHECKING

import msgspec

from airflow_provider_customerly.storage.manifest import (
    MANIFESTS,
    DamagedManifestError,
    Manifest,
    list_numbers,
    manifest_name,
    partition_folder,
    read_manifest,
    read_manifests,
    refuse_folders,
)
from airflow_provider_customerly.storage.parquet import ParquetFile
from airflow_provider_customerly.storage.removal import STAGED, STAGING, remove_replaced, retire
from airflow_provider_customerly.storage.run_id import RunId

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from types import TracebackType

    import pyarrow as pa

    from airflow_provider_customerly.storage.location import Location
    from airflow_provider_customerly.storage.manifest import FileEntry, Numbers

log = logging.getLogger(__name__)

DELETED = "_deleted"
"""Suffix of the sibling folder that lists deleted contacts."""
DELTA_LOG = "_delta_log"
"""The folder, inside the dataset, that makes it a Delta table."""

_TRIES = 10


class CommitConflictError(RuntimeError):
    """Another run committed first. Nothing was changed, and a retry starts from the new state."""


class Dataset:
    """A folder whose state changes atomically.

    Data files ("parts") are written below ``_staging`` and moved to their partition's folder right before the
    commit. The commit is the exclusive creation of the next manifest, ``_manifests/00000042.json``. The
    newest manifest defines the state. A writer remembers the commit it started from. If the next number is
    taken, the writer has lost, so the state never goes back in time and any number of runs may write
    concurrently. What makes it safe to remove files is in ``removal.py``.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self.deleted = dataclasses.replace(location, root=f"{location.root}{DELETED}")
        """The sibling folder that lists deleted contacts."""

    def newest(self) -> Manifest | None:
        """Return the newest commit; None if there is none."""
        return self._look()[1]

    def _look(self, tries: int = _TRIES) -> tuple[Numbers, Manifest | None]:
        numbers = list_numbers(self.location)
        refuse_folders(self.location, numbers.last)
        try:
            return numbers, read_manifest(self.location, numbers.living[-1]) if numbers.living else None
        except FileNotFoundError:  # retired since the listing, so there is a newer commit
            if tries == 1:
                raise
            return self._look(tries - 1)

    def at(self, as_of: int | str | date) -> Manifest:
        """Return an earlier commit.

        :param as_of: its sequence, the name of its manifest, or a time at which it was the newest commit: UTC
            if it has no zone, and the end of the day if it is a date. Each can also be passed as text.
        :raises FileNotFoundError: there is no such commit.
        """
        living = list_numbers(self.location).living
        asked, as_of = as_of, _meant(as_of)
        if isinstance(as_of, datetime):
            instant = as_of if as_of.tzinfo else as_of.replace(tzinfo=timezone.utc)
            for manifest in reversed(self.commits()):
                if manifest.finished_at <= instant:
                    return manifest
        elif as_of in living:
            with contextlib.suppress(FileNotFoundError):  # retired since the listing
                return read_manifest(self.location, int(as_of))
        if len(living) > 1:
            way_out = f"Choose one of the available sequences: {living[0]} to {living[-1]}."
        else:
            way_out = f"The only one available is {living[0]}." if living else "There is none yet."
        raise FileNotFoundError(
            f"There is no commit as of {asked} at {self.location}. It may have been replaced or removed. "
            f"{way_out}"
        )

    def commits(self) -> list[Manifest]:
        """Return all readable commits, oldest first; damaged ones are logged."""
        found = []
        for manifest in read_manifests(self.location, list_numbers(self.location).living):
            if isinstance(manifest, DamagedManifestError):
                log.warning("Skipped a commit: %s", manifest)
            else:
                found.append(manifest)
        return found

    def begin(self, run: RunId | None = None) -> Write:
        """Start a write.

        :raises OldFormatError: version 0.1 wrote the folder.
        :raises DamagedManifestError: the newest manifest is damaged.
        """
        numbers, before = self._look()
        return Write(self, run or RunId.new(), numbers.last + 1, before)

    def remove_old(
        self,
        keep_manifests: int | None,
        keep_days: float | None,
        now: datetime,
        spared: Collection[int] = (),
    ) -> int:
        """Remove old commits, but never the newest.

        A commit stays if either of the two limits keeps it.

        :param keep_manifests: number of newest commits to keep.
        :param keep_days: number of days to keep. The commit that was the newest when that period began stays,
            too, so that the state at any time in the period can be read.
        :param spared: sequences to keep in any case.
        :return: number of commits removed.
        """
        if keep_manifests is None and keep_days is None:
            return 0
        commits = self.commits()
        kept = {*spared, *(one.sequence for one in commits[-max(1, keep_manifests or 0) :])}
        if keep_days is not None:
            since = now - timedelta(days=keep_days)
            kept |= {one.sequence for one in commits if one.finished_at >= since}
            kept |= {one.sequence for one in [one for one in commits if one.finished_at < since][-1:]}
        old = [one for one in commits if one.sequence not in kept]
        for manifest in old:
            retire(self.location, self.deleted, manifest)
        if old:
            log.info("Removed %d old commits at %s", len(old), self.location)
        return len(old)


class Write:
    """A write in progress. Leaving the context manager aborts it unless it was committed. See ``Dataset``."""

    def __init__(self, dataset: Dataset, run: RunId, number: int, before: Manifest | None) -> None:
        self.run = run
        self.location = dataset.location
        self.before = before
        """The commit that this write started from; None if there was none."""
        self.publish: Callable[[], None] | None = None
        """Called after the commit, before the commits it replaces are removed; its error is raised after."""
        self._number = number
        self._deleted = dataset.deleted
        self._parts = 0
        self._staged: dict[str, Location] = {}
        self._moved: list[tuple[Location, str]] = []
        self._is_open = True

    def __enter__(self) -> Write:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_overtaken = isinstance(error, FileNotFoundError) and self._is_open and self._is_overtaken()
        self.abort()
        if is_overtaken:  # the files it started from were removed by a newer commit
            raise self._conflict() from None

    def create_part(
        self,
        partition: dict[str, str],
        schema: pa.Schema,
        *,
        deleted: bool = False,
        compression: str = "zstd",
        dictionary: Sequence[str] | bool = True,
    ) -> ParquetFile:
        """Open a new part, which is staged until the commit.

        :param deleted: True if the part lists deleted contacts.
        """
        path = self._next_path(partition, deleted=deleted)
        return ParquetFile(
            self.location,
            self.staged(path),
            schema,
            path=path,
            compression=compression,
            dictionary=dictionary,
        )

    def copy_part(self, entry: FileEntry, partition: dict[str, str]) -> FileEntry:
        """Copy a committed part byte by byte, to commit it again."""
        path = self._next_path(partition, deleted=False)
        self.location.copy(entry.path, self.staged(path))
        return msgspec.structs.replace(entry, path=path)

    def staged(self, path: str) -> str:
        """Return the name of a part before its commit."""
        return f"{STAGING}/{self.run}/{path.rpartition('/')[2]}{STAGED}"

    def remove_part(self, path: str) -> None:
        """Delete a part of this write."""
        self.location.delete(self.staged(path))
        del self._staged[path]

    def commit(self, manifest: Manifest) -> Manifest:
        """Make the parts that ``manifest`` names the newest state, then remove the commits it replaces.

        Those are the earlier commits of the same partition. A failure after the manifest is written does not
        fail the commit, except in ``publish``. It is logged, and the next commit tries again.

        :param manifest: its ``sequence`` and ``run`` are set here.
        :raises CommitConflictError: another run committed since this write started.
        """
        manifest = msgspec.structs.replace(manifest, sequence=self._number, run=str(self.run))
        if list_numbers(self.location).last >= self._number:
            raise self._conflict()
        self._move(manifest)
        # From here on the manifest may exist even if creating it fails, so nothing that it names is deleted.
        self._is_open = False
        self._create(manifest)
        try:
            if self.publish is not None:
                self.publish()
        finally:
            self._clean_up(manifest)
        return manifest

    def abort(self) -> None:
        """Remove what was written, as far as the store responds; do nothing after a commit."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            self._remove_own()
        except Exception as error:
            # Another error is propagating, and a later commit cleans up anyway.
            log.warning(
                "Could not remove the files of run %s (%s). A later run removes them.\n%s",
                self.run,
                type(error).__name__,
                self.location,
            )

    def _next_path(self, partition: dict[str, str], *, deleted: bool) -> str:
        path = f"{partition_folder(partition)}/part-{self._parts:05d}-{self.run}.parquet"
        self._parts += 1
        self._staged[path] = self._deleted if deleted else self.location
        return path

    def _move(self, manifest: Manifest) -> None:
        sizes = self.location.list(f"{STAGING}/{self.run}")
        for entry in (*manifest.files, *manifest.deleted):
            if sizes.get(self.staged(entry.path)) != entry.bytes:
                raise FileNotFoundError(
                    f"{self.staged(entry.path)} at {self.location} is missing or truncated: this run wrote "
                    f"{entry.bytes} bytes. Nothing was committed. Check what else deletes files there, then "
                    "run again."
                )
        for entry in (*manifest.files, *manifest.deleted):
            target = self._staged[entry.path]
            self._moved.append((target, entry.path))
            self.location.move(self.staged(entry.path), target, entry.path)
        self.location.remove_folder(f"{STAGING}/{self.run}")

    def _create(self, manifest: Manifest) -> None:
        content = manifest.encode()
        try:
            self.location.create_exclusive(manifest.name, content)
        except Exception as error:
            # The store may have created the file without confirming it, or its library may have retried.
            there = self._read_back(manifest.name)
            if there == content:
                return
            if there is None:
                raise
            self._remove_own()
            raise self._conflict() from (None if isinstance(error, FileExistsError) else error)

    def _read_back(self, name: str) -> bytes | None:
        try:
            return self.location.read(name)
        except Exception:  # missing, or the store does not respond: the manifest may still appear
            return None

    def _is_overtaken(self) -> bool:
        with contextlib.suppress(Exception):  # another error is propagating
            return list_numbers(self.location).last >= self._number
        return False

    def _conflict(self) -> CommitConflictError:
        return CommitConflictError(
            f"Another run committed {manifest_name(self._number)} at {self.location} after run {self.run} "
            "had started. This run changed nothing. Run it again to start from the new state."
        )

    def _remove_own(self) -> None:
        for location, path in self._moved:
            location.delete(path)
        for path in self._staged:
            self.location.delete(self.staged(path))
        self.location.remove_folder(f"{STAGING}/{self.run}")

    def _clean_up(self, manifest: Manifest) -> None:
        try:
            remove_replaced(self.location, self._deleted, manifest)
        except Exception as error:
            log.warning(
                "Committed %s, but could not remove what it replaces (%s: %s). The next run does it.\n%s",
                manifest.name,
                type(error).__name__,
                error,
                self.location,
            )


def _meant(as_of: int | str | date) -> int | str | datetime:
    """Read text as a number or an instant, and a date as the end of that day."""
    if isinstance(as_of, str):
        name = as_of.removeprefix(f"{MANIFESTS}/").removesuffix(".json")
        if name.isdecimal():
            return int(name)
        for kind in (date, datetime):
            with contextlib.suppress(ValueError):
                return _meant(kind.fromisoformat(as_of.replace("Z", "+00:00")))  # Python 3.10 rejects Z
    elif isinstance(as_of, date) and not isinstance(as_of, datetime):
        return datetime.combine(as_of, time.max, timezone.utc)
    return as_of
