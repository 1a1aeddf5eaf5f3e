"""Export contacts: read, check and commit them."""

from __future__ import annotations

import contextlib
import logging
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from airflow_provider_customerly.client.meter import Meter
from airflow_provider_customerly.export import guards
from airflow_provider_customerly.export.columns import DELETIONS
from airflow_provider_customerly.export.deletions import (
    NOBODY,
    UNREADABLE,
    Deletions,
    carried_over,
    ids_of,
    known_contacts,
    known_users,
)
from airflow_provider_customerly.export.delta import check_delta, publish, warn_if_stale
from airflow_provider_customerly.export.differences import count_differences
from airflow_provider_customerly.export.intent import changes_since
from airflow_provider_customerly.export.merge import merge
from airflow_provider_customerly.export.options import ExportOptions
from airflow_provider_customerly.export.read import open_files
from airflow_provider_customerly.export.source import Source
from airflow_provider_customerly.export.writer import PartWriter
from airflow_provider_customerly.storage import (
    VERSIONS,
    Column,
    Dataset,
    FileEntry,
    Location,
    Manifest,
    Write,
)
from airflow_provider_customerly.values.top_counts import most_frequent
from airflow_provider_customerly.values.words import count

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    import pyarrow.dataset as ds

    from airflow_provider_customerly.client import Client, ContactType

log = logging.getLogger(__name__)

_MOST_STILL_THERE = 100
"""Contacts that may be missing from a full refresh although a look-up finds them. Some may be hidden or come
back, but a whole page of them means that the list was incomplete."""


def export_contacts(
    client: Client,
    path: Any,
    contact_type: ContactType,
    *,
    hash_salt: str | None = None,
    owner: str = "",
    keep: Callable[[dict[str, Any]], None] = lambda figures: None,
    **options: Any,
) -> dict[str, Any]:
    """Read all contacts, or those that changed, and commit the whole table.

    :param path: folder of the export: text, ``os.PathLike``, ``ObjectStoragePath`` or a ``Location``.
    :param hash_salt: secret text that is prepended to each value of ``hash_columns``.
    :param owner: identifies the task across retries, so that a retry resumes where the last attempt stopped.
    :param keep: called with the figures so far if the export fails after it has started to read.
    :param options: the other fields of ``ExportOptions``.
    :return: counts, paths and the verdict; no personal data.
    :raises ValueError: an argument is invalid. Nothing was requested or written.
    :raises RefusedError: this export cannot be added to what is at the path. Nothing was requested or
        written.
    :raises CustomerlyError: the API failed. Nothing was committed.
    :raises ExportGuardError: a guard failed, or the export is not proven complete. Nothing was committed.
    :raises CommitConflictError: another run committed meanwhile. This run committed nothing.
    :raises DeltaError: the export is committed, but is not in the Delta table yet.
    """
    chosen = ExportOptions.of({"contact_type": contact_type, **options})
    if chosen.hash_columns and not hash_salt:
        raise ValueError(
            "hash_columns needs hash_salt: without a salt, the hash of an email can be reversed by guessing. "
            "Set it to a long random text, and keep it secret."
        )
    folder = Location.of(path)
    dataset = Dataset(folder.join(contact_type))
    if chosen.table_format == "delta":
        check_delta(dataset.location, chosen.chosen.schema)
    dataset.location.check_writable()
    with dataset.begin() as write:
        export = _Export(client, folder, dataset, write, chosen, hash_salt, owner)
        try:
            manifest = export.run()
        except Exception:
            keep(export.figures_so_far())
            raise
    result = export.figures(manifest)
    log.info("Committed %s", _summary(result))
    _remove_old(dataset, chosen)
    return result


def export_snapshot(client: Client, path: Any, contact_type: ContactType, **options: Any) -> dict[str, Any]:
    """Read all contacts and commit them as the table of a day.

    The parameters are those of ``export_contacts``.
    """
    return export_contacts(client, path, contact_type, mode="snapshot", **options)


def _remove_old(dataset: Dataset, options: ExportOptions) -> None:
    """Remove old commits. A failure does not fail the export, because the next one tries again."""
    try:
        commits = dataset.commits()
        # A later full refresh needs these tables to find out what became of vanished contacts.
        settled = max((one.sequence for one in commits if one.is_settled), default=0)
        spared = [one.sequence for one in commits if one.sequence >= settled]
        now = datetime.now(timezone.utc)
        dataset.remove_old(options.keep_manifests, options.keep_days, now, spared)
    except Exception as error:  # each store's library has its own errors
        log.warning(
            "The export is committed, but old commits could not be removed (%s: %s). The next run does "
            "it.\n%s",
            type(error).__name__,
            error,
            dataset.location,
        )


class _Table(NamedTuple):
    """The table to commit, staged."""

    files: list[FileEntry]
    low: datetime | None
    high: datetime | None
    changes: dict[str, int]

    @property
    def rows(self) -> int:
        return sum(entry.rows for entry in self.files)


class _Gone(NamedTuple):
    """What is known about vanished contacts."""

    found: pa.RecordBatch = NOBODY
    counts: dict[str, int] = {}
    is_settled: bool = True


class _Export:
    """One export, up to its commit."""

    def __init__(
        self,
        client: Client,
        folder: Location,
        dataset: Dataset,
        write: Write,
        options: ExportOptions,
        hash_salt: str | None,
        owner: str,
    ) -> None:
        self._client = client
        self._folder = folder
        self._dataset = dataset
        self._write = write
        self._options = options
        self._settings = options.settings(hash_salt)
        self._partition = {"snapshot_date": options.snapshot_date.isoformat()}
        self._owner = owner
        write.publish = self._publish
        self._meter = Meter(client)
        self._guards = guards.Guards()
        self._rows: int | None = None
        now = datetime.now(timezone.utc)
        self._before = write.before
        self._since = changes_since(dataset, write.before, options, self._settings, client.base_url, now)
        self.source = Source(
            client, options, self._since, self._before, write, hash_salt=hash_salt, owner=owner
        )

    def run(self) -> Manifest:
        """Read, check and commit."""
        try:
            table = self._read()
            names = [self._write.staged(entry.path) for entry in table.files]
            self._rows = table.rows
            options, location = self._options, self._write.location
            self._guards.check_rows(table.rows, self._before, options.min_rows, options.max_shrink)
            self._guards.check_nulls(options, location, names, table.rows)
            now = open_files(location, names)
            if self._before is not None and self._since is None:
                table = table._replace(changes=count_differences(location, self._before, now))
            gone = self._find_gone(now) if self._since is None else self._still_open()
        except guards.ExportGuardError:
            self.source.staging.clear()  # the contacts read are not trusted, so a retry reads them again
            raise
        deleted = self._write_deleted(gone.found, now)
        manifest = self._write.commit(self._manifest(table, deleted, gone))
        with contextlib.suppress(Exception):  # a later commit removes them
            self.source.staging.clear()
        return manifest

    def _publish(self) -> None:
        options = self._options
        if options.table_format == "delta":
            # What keep_manifests keeps may be of any age.
            publish(self._dataset, options.keep_days if options.keep_manifests is None else None)
        else:
            warn_if_stale(self._dataset)

    def figures(self, manifest: Manifest) -> dict[str, Any]:
        """Return the figures of the commit, which are small and hold no personal data."""
        return {
            "contact_type": manifest.contact_type,
            "mode": manifest.mode,
            "rows": manifest.rows,
            "rows_before": None if self._before is None else self._before.rows,
            "changes": manifest.changes,
            "files": len(manifest.files),
            "bytes": sum(entry.bytes for entry in manifest.files),
            "path": str(self._write.location),
            "manifest": manifest.name,
            "since": manifest.since.isoformat() if manifest.since else None,
            "watermark": manifest.watermark.isoformat() if manifest.watermark else None,
            "deletions": manifest.deletions,
            **self._reading_figures(),
            "seconds": round((manifest.finished_at - manifest.started_at).total_seconds(), 3),
        }

    def figures_so_far(self) -> dict[str, Any]:
        """Return the figures of an export that committed nothing."""
        seconds = (datetime.now(timezone.utc) - self.source.started_at).total_seconds()
        return {
            "contact_type": self._options.contact_type,
            "mode": "snapshot" if self._since is None else "incremental",
            "rows": None,
            "rows_read": self._rows,
            "rows_before": None if self._before is None else self._before.rows,
            "path": str(self._write.location),
            "manifest": None,
            **self._reading_figures(),
            "seconds": round(seconds, 3),
        }

    def _reading_figures(self) -> dict[str, Any]:
        proof = self.source.proof
        return {
            "verdict": proof["verdict"],
            "certificate": proof,
            "guards": self._guards.told(),
            "misfits": most_frequent(self.source.misfits),
            **self._meter.figures(),
        }

    def _read(self) -> _Table:
        """Read contacts and write the table."""
        with self._part_writer(self._options.chosen.schema) as writer:
            self.source.read_into(writer)
            files = writer.finish(self.source.superseded)
            guards.check_verdict(self._options, self.source.certificate)
            self._guards.check_coercion(self._options, self.source.misfits)
        if self._before is None or self._since is None:
            return _Table(files, writer.low, writer.high, {})
        with self._part_writer(self._options.chosen.schema) as merged:
            files, changes = merge(self._write, self._before, files, merged, self._partition)
        low, high = (merged.low, merged.high) if merged.files else (self._before.low, self._before.high)
        return _Table(files, low, high, changes)

    def _part_writer(self, schema: pa.Schema, *, deleted: bool = False) -> PartWriter:
        options = self._options
        return PartWriter(
            self._write,
            self._partition,
            schema,
            options.compression,
            options.row_group_size,
            deleted=deleted,
        )

    def _find_gone(self, now: ds.Dataset) -> _Gone:
        """Find out what became of contacts that are missing from a full refresh."""
        certificate = self.source.certificate
        if self._before is None or certificate.verdict != "complete":
            return _Gone(is_settled=certificate.verdict == "complete")
        try:
            known = known_contacts(self._dataset, self._before)
        except UNREADABLE as error:
            log.warning("Could not search for contacts deleted since %s: %s", self._before.name, error)
            return _Gone()
        listed = ids_of(now)
        vanished = np.setdiff1d(known.ids, listed)
        self._guards.check_vanished(self._options, len(vanished), known.in_newest)
        is_lead = self._options.contact_type == "leads"
        users = known_users(self._folder, vanished) if is_lead else ()
        deletions = Deletions(
            self._client, self._options.contact_type, known, self._options.chosen, self._settings, users
        )
        present = np.intersect1d(known.ids, listed)
        found = deletions.confirm(vanished, present, datetime.now(timezone.utc))
        if (there := deletions.counts["still_there"]) > _MOST_STILL_THERE:
            certificate.doubt(f"a look-up finds {there} contacts that are not in the list")
            guards.check_verdict(self._options, certificate)
            return _Gone(is_settled=False)
        return _Gone(found, dict(deletions.counts), deletions.is_settled)

    def _still_open(self) -> _Gone:
        """Leave vanished contacts to the next full refresh, because changes do not show them."""
        return _Gone(is_settled=self._before is None or self._before.is_settled)

    def _write_deleted(self, found: pa.RecordBatch, now: ds.Dataset) -> list[FileEntry]:
        told = carried_over(self._dataset, self._partition, found, now)
        if not any(batch.num_rows for batch in told):
            return []
        with self._part_writer(DELETIONS, deleted=True) as writer:
            for batch in told:
                writer.add(batch)
            return writer.finish({})

    def _manifest(self, table: _Table, deleted: list[FileEntry], gone: _Gone) -> Manifest:
        options, before, source = self._options, self._before, self.source
        is_proven = source.certificate.verdict == "complete"
        watermark, refreshed_at = source.watermark, source.started_at if is_proven else None
        if before is not None and before.watermark is not None and self._since is not None:
            # An unproven range is read again, and a clock that was set back does not move the watermark back.
            watermark = max(before.watermark, (is_proven and watermark) or before.watermark)
            refreshed_at = before.refreshed_at
        return Manifest(
            run=self._write.run,
            owner=self._owner,
            mode="snapshot" if self._since is None else "incremental",
            contact_type=options.contact_type,
            partition=self._partition,
            files=table.files,
            rows=table.rows,
            schema=[Column(field.name, str(field.type)) for field in options.chosen.schema],
            low=table.low,
            high=table.high,
            watermark=watermark,
            since=self._since,
            refreshed_at=refreshed_at,
            settings=self._settings,
            changes=table.changes,
            deleted=deleted,
            deletions=gone.counts,
            is_settled=gone.is_settled,
            certificate=source.proof,
            misfits=dict(source.misfits),
            source=self._client.base_url,
            versions=VERSIONS,
            started_at=source.started_at,
            finished_at=datetime.now(timezone.utc),
        )


def _summary(result: dict[str, Any]) -> str:
    facts = [f"{count(result['rows'], 'row')} ({result['mode']})", result["verdict"]]
    facts += [f"{number} {what}" for what, number in result["changes"].items() if number]
    facts += [f"{number} {what}" for what, number in result["deletions"].items() if number]
    facts += [f"{count(result['requests'], 'request')} in {result['seconds']} s"]
    return f"{result['contact_type']}: {', '.join(facts)}.\n{result['path']}/{result['manifest']}"
