"""Exports contacts: reads them, checks what came, and commits it."""

from __future__ import annotations

import contextlib
import logging
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.export import guards
from airflow_provider_customerly.export.compaction import compact
from airflow_provider_customerly.export.current import open_files, open_state
from airflow_provider_customerly.export.deletions import (
    NOBODY,
    SCHEMA,
    UNREADABLE,
    Deletions,
    carried_over,
    known_users,
    vanished_ids,
)
from airflow_provider_customerly.export.options import ExportOptions
from airflow_provider_customerly.export.plan import Plan, plan_export
from airflow_provider_customerly.export.source import Source
from airflow_provider_customerly.export.writer import VERSIONS, PartWriter
from airflow_provider_customerly.storage import (
    Column,
    Dataset,
    FileEntry,
    LeaseLostError,
    Location,
    Manifest,
    Write,
    newest_whole,
    remove_old_commits,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    import pyarrow.dataset as ds

    from airflow_provider_customerly.client import Client, ContactType

log = logging.getLogger(__name__)

_MOST_STILL_THERE = 100
"""Contacts that a whole list may lack though a look-up finds them: some may be hidden or come back, a page
of them says that the list was not whole."""


def export_contacts(client: Client, path: Any, contact_type: ContactType, **options: Any) -> dict[str, Any]:
    """Read contacts and commit them: the whole list, or what changed since the newest commit.

    :param path: folder of the export: text, `os.PathLike`, Airflow's `ObjectStoragePath` or a `Location`.
    :param options: the fields of `ExportOptions`.
    :return: a few figures, paths and the verdict; nothing personal.
    :raises ValueError: an argument is wrong; nothing was asked for or written.
    :raises CustomerlyError: the API failed; nothing was committed.
    :raises ExportGuardError: a guard was breached or completeness not proven; nothing was committed.
    :raises LeaseLostError: another run took over, or committed a whole list meanwhile; nothing was committed.
    """
    chosen = ExportOptions(contact_type=contact_type, **options)
    folder = Location.of(path)
    dataset = Dataset(folder.join(contact_type))
    dataset.location.check_writable()
    result = _Export(client, folder, dataset, chosen).run()
    log.info("Committed %s", _summary(result))
    if chosen.compact:
        with _not_failing("fold the changes"):
            compact(dataset, chosen.compression, chosen.row_group_size)
    with _not_failing("remove old commits"):
        now = datetime.now(timezone.utc)
        remove_old_commits(dataset.location, chosen.keep_manifests, chosen.keep_days, now)
    return result


@contextlib.contextmanager
def _not_failing(what: str) -> Iterator[None]:
    """Let what is done after a commit not fail it: the next export does it too."""
    try:
        yield
    except (OSError, LeaseLostError, *UNREADABLE) as error:
        log.warning("The export is committed, but it was not possible to %s: %s", what, error)


def export_snapshot(client: Client, path: Any, contact_type: ContactType, **options: Any) -> dict[str, Any]:
    """Read all contacts and commit them as the snapshot of a day, replacing an earlier one of that day.

    The parameters are those of `export_contacts`.
    """
    return export_contacts(client, path, contact_type, mode="snapshot", **options)


class _Export:
    """One export, up to its commit."""

    def __init__(self, client: Client, folder: Location, dataset: Dataset, options: ExportOptions) -> None:
        self._client = client
        self._folder = folder
        self._dataset = dataset
        self._location = dataset.location
        self._options = options
        self._plan: Plan = plan_export(dataset, options, client.base_url, datetime.now(timezone.utc))
        self._is_whole = self._plan.since is None
        self._partition = {"snapshot_date" if self._is_whole else "change_date": str(options.snapshot_date)}

    def run(self) -> dict[str, Any]:
        """Read, check, commit, and give the figures."""
        options, requests = self._options, self._client.requests_sent
        with (
            self._dataset.begin(options.owner) as write,
            self._part_writer(write, self._partition, options.chosen.schema) as writer,
        ):
            source = Source(self._client, options, self._plan, write)
            try:
                source.read_into(writer)
                files = writer.finish(source.superseded)
                self._check(source, files)
                deleted, deletions = self._tell_deletions(source, write, files)
            except guards.ExportGuardError:
                source.staging.clear()  # what was read is not believed: another try reads it anew
                raise
            manifest = write.commit(self._manifest(source, write, writer, deleted, deletions))
        source.staging.clear()
        return _figures(manifest, self._location, self._client.requests_sent - requests)

    def _part_writer(self, write: Write, partition: dict[str, str], schema: pa.Schema) -> PartWriter:
        return PartWriter(write, partition, schema, self._options.compression, self._options.row_group_size)

    def _check(self, source: Source, files: list[FileEntry]) -> None:
        options = self._options
        if self._is_whole:
            rows, last = sum(entry.rows for entry in files), newest_whole(self._location)
            guards.check_rows(rows, last, options.min_rows, options.max_shrink)
        guards.check_verdict(options, source.certificate)
        guards.check_coercion(options, source.misfits)
        guards.check_nulls(options, self._location, files, is_whole=self._is_whole)

    def _tell_deletions(
        self, source: Source, write: Write, files: list[FileEntry]
    ) -> tuple[list[FileEntry], dict[str, int]]:
        """Write who was deleted, and count what became of those that vanished."""
        if not self._is_whole:
            return [], {}
        now = open_files(self._location, files)
        found, counts = (
            self._find_deletions(source, now) if source.certificate.verdict == "complete" else (NOBODY, {})
        )
        told = carried_over(self._location, self._partition, found, now)
        if not any(batch.num_rows for batch in told):
            return [], counts
        partition = {f"deleted/{name}": value for name, value in self._partition.items()}
        with self._part_writer(write, partition, SCHEMA) as writer:
            for batch in told:
                writer.add(batch)
            return writer.finish({}), counts

    def _find_deletions(self, source: Source, now: ds.Dataset) -> tuple[pa.RecordBatch, dict[str, int]]:
        options, before = self._options, self._plan.before
        if before is None:
            return NOBODY, {}
        try:
            state = open_state(self._location, before)
            vanished, known = vanished_ids(state, now), state.count_rows()
        except UNREADABLE as error:
            log.warning("It cannot be told who was deleted since %s: %s", before.name, error)
            return NOBODY, {}
        guards.check_vanished(options, len(vanished), known)
        columns = options.chosen if before.settings == options.settings else None
        users = known_users(self._folder, vanished) if options.contact_type == "leads" else ()
        deletions = Deletions(self._client, options.contact_type, state, known, columns, users)
        found = deletions.confirm(vanished, before.finished_at, datetime.now(timezone.utc))
        if (there := deletions.counts["still_there"]) > _MOST_STILL_THERE:
            source.certificate.doubt(f"{there} contacts that are not in the list are found by look-up")
            guards.check_verdict(options, source.certificate)
            return NOBODY, {}
        return found, dict(deletions.counts)

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
            versions=VERSIONS,
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
