"""Exports a whole list of contacts as one snapshot."""

from __future__ import annotations

import contextlib
import logging
import platform
import time
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from airflow_provider_customerly import __version__
from airflow_provider_customerly.export.convert import Converter
from airflow_provider_customerly.export.schema import FIELDS, choose_columns
from airflow_provider_customerly.export.writer import PartWriter
from airflow_provider_customerly.storage import Column, Dataset, Location, Manifest

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from airflow_provider_customerly.client import Certificate, Client, ContactType, Reading
    from airflow_provider_customerly.client.records import Record

log = logging.getLogger(__name__)

_BATCH_ROWS = 500
_SECONDS_BETWEEN_LINES = 5.0
_COMPRESSIONS = ("zstd", "snappy", "gzip", "lz4", "none")


class ExportGuardError(Exception):
    """A guard stopped an export before its commit: look at the figures, then decide."""


class UnprovenError(ExportGuardError):
    """It could not be proven that no contact was lost."""


def export_snapshot(
    client: Client,
    path: Any,
    contact_type: ContactType,
    *,
    snapshot_date: date | str,
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

    :param path: folder of the export: text, `os.PathLike`, Airflow's `ObjectStoragePath` or a `Location`.
    :param snapshot_date: the day, as a date or `YYYY-MM-DD`.
    :param hash_salt: secret text put before each value of `hash_columns`.
    :param min_rows: least number of contacts that is believed.
    :param max_shrink: largest share of the last snapshot's contacts that may be missing from this one.
    :param on_unproven: `warn` commits an export whose completeness is not proven.
    :param compression: `zstd`, `snappy`, `gzip`, `lz4` or `none`.
    :param row_group_size: rows in a row group, which is also what is held in memory.
    :param owner: names this piece of work, so that a second try takes over at once from a dead first one.
    :return: a few figures, paths and the verdict; nothing personal.
    :raises ValueError: an argument is wrong; nothing was asked for or written.
    :raises CustomerlyError: the API failed; nothing was committed.
    :raises ExportGuardError: a guard was breached or completeness not proven; nothing was committed.
    """
    _check_arguments(min_rows, max_shrink, on_unproven, compression, row_group_size)
    chosen = choose_columns(contact_type, columns, attributes, drop_columns, hash_columns)
    partition = {"snapshot_date": date.fromisoformat(str(snapshot_date)).isoformat()}
    reading = client.read_contacts(contact_type, FIELDS[contact_type])
    converter = Converter(chosen, reading.decoder, hash_salt)
    location = Location.of(path).join(contact_type)
    location.check_writable()
    dataset = Dataset(location)
    last = dataset.newest("snapshot")
    started, requests = datetime.now(timezone.utc), client.requests_sent
    with (
        dataset.begin(owner) as write,
        PartWriter(write, partition, chosen.schema, compression, row_group_size) as writer,
    ):
        _read_all(client, reading, converter, writer)
        files = writer.finish(reading.superseded)
        _check_guards(writer.rows, last, min_rows, max_shrink)
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
    result = _figures(manifest, location, client.requests_sent - requests)
    log.info("Committed %s", result)
    return result


def _check_arguments(
    min_rows: int, max_shrink: float | None, on_unproven: str, compression: str, row_group_size: int
) -> None:
    share = max_shrink is None or 0 <= max_shrink <= 1
    for name, good, expected, value in (
        ("min_rows", min_rows >= 0, "0 or more", min_rows),
        ("max_shrink", share, "a share from 0 to 1, or None", max_shrink),
        ("on_unproven", on_unproven in ("fail", "warn"), "fail or warn", on_unproven),
        ("compression", compression in _COMPRESSIONS, f"one of {', '.join(_COMPRESSIONS)}", compression),
        ("row_group_size", row_group_size >= 1, "1 or more", row_group_size),
    ):
        if not good:
            raise ValueError(f"{name} must be {expected}. It is {value!r}.")


def _read_all(client: Client, reading: Reading, converter: Converter, writer: PartWriter) -> None:
    begun = said = time.monotonic()
    rows, requests, waiting = 0, client.requests_sent, []
    # Closed at once when something fails below: the requests under way are of no use then.
    with contextlib.closing(_batches(reading)) as batches:
        for records in batches:
            waiting += records
            rows += len(records)
            if len(waiting) >= _BATCH_ROWS:
                writer.add(converter.convert(waiting))
                waiting = []
            now = time.monotonic()
            if now - said >= _SECONDS_BETWEEN_LINES:
                said, sent = now, client.requests_sent - requests
                log.info("%d contacts read, %.0f/s, %d requests", rows, rows / (now - begun), sent)
        writer.add(converter.convert(waiting))


def _batches(reading: Reading) -> Generator[list[Record], None, None]:
    yield from reading


def _figures(manifest: Manifest, location: Location, requests: int) -> dict[str, Any]:
    return {
        "contact_type": manifest.contact_type,
        "rows": manifest.rows,
        "files": len(manifest.files),
        "bytes": sum(entry.bytes for entry in manifest.files),
        "path": str(location),
        "manifest": manifest.name,
        "watermark": manifest.watermark.isoformat() if manifest.watermark else None,
        "verdict": manifest.certificate["verdict"],
        "misfits": manifest.misfits,
        "requests": requests,
        "seconds": round((manifest.finished_at - manifest.started_at).total_seconds(), 3),
    }


def _check_guards(rows: int, last: Manifest | None, min_rows: int, max_shrink: float | None) -> None:
    if rows < min_rows:
        raise ExportGuardError(
            f"The list has {rows} contacts, fewer than min_rows={min_rows}. Nothing was committed. "
            "If that is right, lower min_rows."
        )
    if last is not None and max_shrink is not None and rows < last.rows * (1 - max_shrink):
        raise ExportGuardError(
            f"The list has {rows} contacts, the last snapshot had {last.rows}: that is more than "
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
