"""Exports contacts: reads them, checks what came, and commits it."""

from __future__ import annotations

import logging
import platform
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds

from airflow_provider_customerly import __version__
from airflow_provider_customerly.export import guards
from airflow_provider_customerly.export.compaction import compact
from airflow_provider_customerly.export.current import open_files, open_state
from airflow_provider_customerly.export.deletions import SCHEMA, Deletions, vanished_ids
from airflow_provider_customerly.export.options import ExportOptions
from airflow_provider_customerly.export.plan import Plan, plan_export
from airflow_provider_customerly.export.source import Source
from airflow_provider_customerly.export.writer import PartWriter
from airflow_provider_customerly.storage import (
    Column,
    Dataset,
    FileEntry,
    Location,
    Manifest,
    Write,
    commits_in,
    remove_old_commits,
)

if TYPE_CHECKING:
    from airflow_provider_customerly.client import Client, ContactType

log = logging.getLogger(__name__)


def export_contacts(client: Client, path: Any, contact_type: ContactType, **options: Any) -> dict[str, Any]:
    """Read contacts and commit them: the whole list, or what changed since the newest commit.

    :param path: folder of the export: text, `os.PathLike`, Airflow's `ObjectStoragePath` or a `Location`.
    :param options: the fields of `ExportOptions`.
    :return: a few figures, paths and the verdict; nothing personal.
    :raises ValueError: an argument is wrong; nothing was asked for or written.
    :raises CustomerlyError: the API failed; nothing was committed.
    :raises ExportGuardError: a guard was breached or completeness not proven; nothing was committed.
    """
    chosen = ExportOptions(contact_type=contact_type, **options)
    location = Location.of(path).join(contact_type)
    location.check_writable()
    export = _Export(client, Dataset(location), chosen)
    result = export.run()
    log.info("Committed %s", _summary(result))
    if chosen.compact:
        compact(export.dataset, chosen.compression, chosen.row_group_size)
    remove_old_commits(location, chosen.keep_manifests, chosen.keep_days, datetime.now(timezone.utc))
    return result


def export_snapshot(client: Client, path: Any, contact_type: ContactType, **options: Any) -> dict[str, Any]:
    """Read all contacts and commit them as the snapshot of a day, replacing an earlier one of that day.

    The parameters are those of `export_contacts`.
    """
    return export_contacts(client, path, contact_type, mode="snapshot", **options)


class _Export:
    """One export, up to its commit."""

    def __init__(self, client: Client, dataset: Dataset, options: ExportOptions) -> None:
        self.dataset = dataset
        self._client = client
        self._options = options
        self._location = dataset.location
        self._plan: Plan = plan_export(dataset, options, client.base_url, datetime.now(timezone.utc))
        self._is_whole = self._plan.since is None
        self._partition = {"snapshot_date" if self._is_whole else "change_date": str(options.snapshot_date)}

    def run(self) -> dict[str, Any]:
        """Read, check, commit, and give the figures."""
        options, requests = self._options, self._client.requests_sent
        last = self.dataset.newest("snapshot")
        with (
            self.dataset.begin(options.owner) as write,
            self._part_writer(write, self._partition, options.chosen.schema) as writer,
        ):
            source = Source(self._client, options, self._plan, write)
            try:
                source.read_into(writer)
                files = writer.finish(source.superseded)
                self._check(source, files, last)
                deleted, deletions = self._find_deletions(source, write, files)
            except guards.ExportGuardError:
                source.staging.clear()  # what was read is not believed: another try reads it anew
                raise
            manifest = write.commit(self._manifest(source, write, writer, deleted, deletions))
        source.staging.clear()
        return _figures(manifest, self._location, self._client.requests_sent - requests)

    def _part_writer(self, write: Write, partition: dict[str, str], schema: pa.Schema) -> PartWriter:
        return PartWriter(write, partition, schema, self._options.compression, self._options.row_group_size)

    def _check(self, source: Source, files: list[FileEntry], last: Manifest | None) -> None:
        options = self._options
        if self._is_whole:
            guards.check_rows(options, sum(entry.rows for entry in files), last)
        guards.check_verdict(options, source.certificate)
        guards.check_coercion(options, source.misfits)
        guards.check_nulls(options, self._location, files, is_whole=self._is_whole)

    def _find_deletions(
        self, source: Source, write: Write, files: list[FileEntry]
    ) -> tuple[list[FileEntry], dict[str, int]]:
        before = self._plan.before
        if not self._is_whole or before is None or source.certificate.verdict != "complete":
            return [], {}
        state, now = open_state(self._location, before), open_files(self._location, files)
        vanished = vanished_ids(state, now)
        guards.check_vanished(self._options, len(vanished), state.count_rows())
        is_known = before.settings == self._options.settings
        deletions = Deletions(
            self._client,
            self._options.contact_type,
            state,
            self._options.chosen if is_known else None,
        )
        found = [deletions.confirm(vanished, before.finished_at, datetime.now(timezone.utc))]
        found += self._carried_over(now)
        if not any(batch.num_rows for batch in found):
            return [], dict(deletions.counts)
        partition = {f"deleted/{name}": value for name, value in self._partition.items()}
        with self._part_writer(write, partition, SCHEMA) as writer:
            for batch in found:
                writer.add(batch)
            return writer.finish({}), dict(deletions.counts)

    def _carried_over(self, now: ds.Dataset) -> list[pa.RecordBatch]:
        """Give the deletions told by the commit that this one replaces, which goes with its files."""
        replaced = [one for one in commits_in(self._location, self._partition) if one.deleted][-1:]
        batches = []
        for commit in replaced:
            told = open_files(self._location, commit.deleted)
            still = vanished_ids(told, now)
            batches += told.to_batches(filter=ds.field("crmhero_user_id").isin(pa.array(still, pa.int64())))
        return batches

    def _manifest(
        self,
        source: Source,
        write: Write,
        writer: PartWriter,
        deleted: list[FileEntry],
        deletions: dict[str, int],
    ) -> Manifest:
        options, before = self._options, self._plan.before
        watermark, refreshed_at = source.watermark, source.started_at
        if not self._is_whole and before is not None and before.watermark is not None:
            # What could not be proven is read again, and a clock that was set back does not take us along.
            is_proven = source.certificate.verdict == "complete"
            watermark = max(before.watermark, (is_proven and watermark) or before.watermark)
            refreshed_at = before.refreshed_at or refreshed_at
        return Manifest(
            run=write.run,
            owner=options.owner,
            mode="snapshot" if self._is_whole else "incremental",
            after=before.name if before and not self._is_whole else "",
            contact_type=options.contact_type,
            partition=self._partition,
            files=writer.files,
            rows=writer.rows,
            schema=[Column(field.name, str(field.type)) for field in options.chosen.schema],
            low=writer.low,
            high=writer.high,
            watermark=watermark,
            since=self._plan.since,
            refreshed_at=refreshed_at,
            settings=options.settings,
            deleted=deleted,
            deletions=deletions,
            certificate=source.proof,
            misfits=dict(source.misfits),
            source=self._client.base_url,
            versions={
                "airflow-provider-customerly": __version__,
                "pyarrow": pa.__version__,
                "python": platform.python_version(),
            },
            started_at=source.started_at,
            finished_at=datetime.now(timezone.utc),
        )


def _summary(result: dict[str, Any]) -> str:
    facts = [f"{result['rows']} rows ({result['mode']})", result["verdict"]]
    facts += [f"{number} {what}" for what, number in result["deletions"].items() if number]
    facts += [f"{result['requests']} requests in {result['seconds']} s"]
    return f"{result['contact_type']}: {', '.join(facts)}. Manifest: {result['path']}/{result['manifest']}"


def _figures(manifest: Manifest, location: Location, requests: int) -> dict[str, Any]:
    return {
        "contact_type": manifest.contact_type,
        "mode": manifest.mode,
        "rows": manifest.rows,
        "files": len(manifest.files),
        "bytes": sum(entry.bytes for entry in manifest.files),
        "path": str(location),
        "manifest": manifest.name,
        "since": manifest.since.isoformat() if manifest.since else None,
        "watermark": manifest.watermark.isoformat() if manifest.watermark else None,
        "verdict": manifest.certificate["verdict"],
        "misfits": manifest.misfits,
        "deletions": manifest.deletions,
        "requests": requests,
        "seconds": round((manifest.finished_at - manifest.started_at).total_seconds(), 3),
    }
