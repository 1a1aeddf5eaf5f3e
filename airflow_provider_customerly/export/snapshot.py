"""Exports a whole list of contacts as one snapshot."""

from __future__ import annotations

import logging
import platform
import time
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from airflow_provider_customerly import __version__
from airflow_provider_customerly.export.convert import Converter
from airflow_provider_customerly.export.schema import FIELDS, choose_columns
from airflow_provider_customerly.export.writer import PartWriter, batches_of
from airflow_provider_customerly.storage import Column, Dataset, Location, Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_customerly.client import Certificate, Client, ContactType, Reading

log = logging.getLogger(__name__)

_BATCH_ROWS = 8192
_SECONDS_BETWEEN_LINES = 5.0
_COMPRESSIONS = ("zstd", "snappy", "gzip", "lz4", "none")


class ExportGuardError(Exception):
    """A guard stopped an export before its commit: look at the figures, then decide."""


class UnprovenError(ExportGuardError):
    """It could not be proven that no contact was lost."""


def export_snapshot(
    client: Client,
    location: Location,
    contact_type: ContactType,
    *,
    snapshot_date: str,
    columns: Sequence[str] | None = None,
    attributes: Mapping[str, str] | None = None,
    drop_columns: Sequence[str] = (),
    hash_columns: Sequence[str] = (),
    hash_salt: str | None = None,
    min_rows: int = 0,
    max_shrink: float | None = None,
    on_unproven: Literal["fail", "warn"] = "fail",
    compression: str = "zstd",
    row_group_size: int = 131_072,
    owner: str = "",
) -> dict[str, Any]:
    """Read all contacts and commit them as the snapshot of a day, replacing an earlier one of that day.

    `columns`, `attributes`, `drop_columns` and `hash_columns` are those of `choose_columns`.

    :param location: folder of the export; the contacts go below it.
    :param snapshot_date: the day, as `YYYY-MM-DD`.
    :param hash_salt: secret text put before each value of `hash_columns`.
    :param min_rows: least number of contacts that is believed.
    :param max_shrink: largest share of the last snapshot's contacts that may be missing from this one.
    :param on_unproven: `warn` commits an export whose completeness is not proven.
    :param owner: names this piece of work, so that a second try takes over at once from a dead first one.
    :return: a few figures, paths and the verdict; nothing personal.
    :raises ValueError: an argument is wrong; nothing was asked for or written.
    :raises CustomerlyError: the API failed; nothing was committed.
    :raises ExportGuardError: a guard was breached or completeness not proven; nothing was committed.
    """
    if compression not in _COMPRESSIONS:
        raise ValueError(f"Unknown compression {compression!r}. Choose: {', '.join(_COMPRESSIONS)}.")
    chosen = choose_columns(contact_type, columns, attributes, drop_columns, hash_columns)
    partition = {"snapshot_date": date.fromisoformat(snapshot_date).isoformat()}
    reading = client.read_contacts(contact_type, FIELDS[contact_type])
    converter = Converter(chosen, reading.decoder, hash_salt)
    location = location.join(contact_type)
    location.check_writable()
    dataset = Dataset(location)
    started, requests = datetime.now(timezone.utc), client.requests_sent
    with dataset.begin(owner) as write:
        writer = PartWriter(write, partition, chosen.schema, compression, row_group_size)
        _read_all(reading, converter, writer, contact_type)
        files = writer.finish(reading.superseded)
        last = dataset.newest("snapshot")
        _check_guards(writer.rows, None if last is None else last.rows, min_rows, max_shrink)
        _check_verdict(reading.certificate, on_unproven)
        manifest = write.commit(
            Manifest(
                run=write.run,
                mode="snapshot",
                contact_type=contact_type,
                partition=partition,
                files=files,
                rows=writer.rows,
                schema=[Column(field.name, str(field.type)) for field in chosen.schema],
                low=writer.low,
                high=writer.high,
                watermark=writer.high,
                certificate=reading.certificate.to_dict(),
                misfits=dict(converter.misfits),
                source=client.base_url,
                versions={
                    "airflow-provider-customerly": __version__,
                    "pyarrow": pa.__version__,
                    "python": platform.python_version(),
                },
                started_at=started,
                finished_at=datetime.now(timezone.utc),
            )
        )
    result = {
        "contact_type": contact_type,
        "rows": manifest.rows,
        "files": len(files),
        "bytes": sum(entry.bytes for entry in files),
        "path": str(location),
        "manifest": manifest.name,
        "watermark": manifest.watermark.isoformat() if manifest.watermark else None,
        "verdict": manifest.certificate["verdict"],
        "misfits": manifest.misfits,
        "requests": client.requests_sent - requests,
        "seconds": round((manifest.finished_at - started).total_seconds(), 3),
    }
    log.info(
        "Committed %d %s in %d file(s) as %s: %s, %d requests, %.1f s",
        *(result[name] for name in ("rows", "contact_type", "files", "manifest", "verdict", "requests")),
        result["seconds"],
    )
    return result


def _read_all(reading: Reading, converter: Converter, writer: PartWriter, contact_type: str) -> None:
    begun = said = time.monotonic()
    rows = 0
    for records in batches_of(iter(reading), _BATCH_ROWS):
        writer.add(converter.convert(records))
        rows += len(records)
        now = time.monotonic()
        if now - said >= _SECONDS_BETWEEN_LINES:
            said = now
            windows = reading.certificate.windows
            log.info("%d %s read, %.0f/s, %d pages", rows, contact_type, rows / (now - begun), windows)


def _check_guards(rows: int, before: int | None, min_rows: int, max_shrink: float | None) -> None:
    if rows < min_rows:
        raise ExportGuardError(
            f"The list has {rows} contacts, fewer than min_rows={min_rows}. Nothing was committed. "
            "If that is right, lower min_rows."
        )
    if before is not None and max_shrink is not None and rows < before * (1 - max_shrink):
        raise ExportGuardError(
            f"The list has {rows} contacts, the last snapshot had {before}: that is more than "
            f"max_shrink={max_shrink} fewer. Nothing was committed. If that is right, raise max_shrink for "
            "one run."
        )


def _check_verdict(certificate: Certificate, on_unproven: Literal["fail", "warn"]) -> None:
    if certificate.verdict == "complete":
        return
    if on_unproven == "fail":
        raise UnprovenError(
            f"It is not proven that no contact was lost: {certificate.reason}. Nothing was committed. "
            "Try again at a quieter hour, or set on_unproven='warn' to keep such exports."
        )
    log.warning("It is not proven that no contact was lost: %s", certificate.reason)
