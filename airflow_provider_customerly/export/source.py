"""The contacts of one export: what earlier tries of it have read, then the list from there on."""

from __future__ import annotations

import contextlib
import logging
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_customerly.client.records import stamp_of
from airflow_provider_customerly.export.convert import Converter
from airflow_provider_customerly.export.guards import UnprovenError
from airflow_provider_customerly.export.schema import FIELDS, TIMESTAMP
from airflow_provider_customerly.export.staging import Staging
from airflow_provider_customerly.export.stamps import stamp_text

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Generator, Iterator

    from airflow_provider_customerly.client import Certificate, Client, Reading
    from airflow_provider_customerly.client.records import Record
    from airflow_provider_customerly.export.options import ExportOptions
    from airflow_provider_customerly.export.plan import Plan
    from airflow_provider_customerly.export.writer import PartWriter
    from airflow_provider_customerly.storage import Write

log = logging.getLogger(__name__)

_BATCH_ROWS = 500
_SECONDS_BETWEEN_LINES = 5.0


class Source:
    """Reads the contacts that a plan asks for into a writer, each version at least once."""

    def __init__(self, client: Client, options: ExportOptions, plan: Plan, write: Write) -> None:
        self._client = client
        self._options = options
        low = stamp_text(plan.since) if plan.since else None
        settings = f"{client.fingerprint} {low} {options.settings}"
        self.staging = Staging(write.location, options.owner, write.run, settings)
        staged = self._staged = self.staging.load()
        self.started_at = staged.started_at or datetime.now(timezone.utc)
        self.watermark: datetime | None = None
        """Newest `last_update` that does not lie behind the start of the reading by our clock."""
        self._reseen: dict[int, str] = {}
        if staged.segments:
            low = staged.settled
            log.info("Going on from what an earlier try has read, up to last_update %s", low)
        guess = staged.position or plan.size
        self._position = client.locate(options.contact_type, low, guess) if low else 0
        self._reading = client.read_contacts(
            options.contact_type, FIELDS[options.contact_type], low=low, start=self._position
        )
        self._converter = Converter(options.chosen, self._reading.decoder, options.hash_salt)

    @property
    def superseded(self) -> dict[int, str]:
        """Contacts that came in several versions: id -> `last_update` of the newest."""
        return {**self._staged.superseded, **self._reseen, **self._reading.superseded}

    @property
    def misfits(self) -> Counter[str]:
        """Number of values that did not fit the type of their column, by column."""
        return self._staged.misfits + self._converter.misfits

    @property
    def certificate(self) -> Certificate:
        """What the last try proved."""
        return self._reading.certificate

    @property
    def proof(self) -> dict[str, Any]:
        """The certificate of all tries, as plain JSON values."""
        proof = self.certificate.to_dict()
        return {
            **proof,
            "windows": proof["windows"] + self._staged.windows,
            "tries": self._staged.tries + 1,
        }

    def read_into(self, writer: PartWriter) -> None:
        """Read all contacts.

        :raises UnprovenError: an earlier try's contacts could not be completed; the next try starts anew.
        """
        begun = said = time.monotonic()
        rows, requests = 0, self._client.requests_sent
        waiting: list[Record] = []
        for batch in self.staging.batches():
            rows += batch.num_rows
            self._write(writer, batch)
        # Closed at once when something fails below: the requests under way are of no use then.
        with contextlib.closing(_batches(self._reading)) as batches, self._kept_for_the_next_try():
            for records in batches:
                waiting += records
                rows += len(records)
                if len(waiting) >= _BATCH_ROWS:
                    self._take(writer, waiting)
                    waiting = []
                now = time.monotonic()
                if now - said >= _SECONDS_BETWEEN_LINES:
                    said, sent = now, self._client.requests_sent - requests
                    log.info("%d contacts read, %.0f/s, %d requests", rows, rows / (now - begun), sent)
            self._take(writer, waiting)
        if self._staged.segments and self.certificate.verdict != "complete":
            raise UnprovenError(
                f"An earlier try of this run stopped, and the list could not be proven complete from there: "
                f"{self.certificate.reason}. Nothing was committed. Run it again: it starts anew."
            )

    @contextlib.contextmanager
    def _kept_for_the_next_try(self) -> Iterator[None]:
        try:
            yield
        except BaseException:  # a task that runs out of time is stopped by one
            with contextlib.suppress(Exception):  # the storage itself may be what failed
                self.staging.keep()
            raise

    def _take(self, writer: PartWriter, records: list[Record]) -> None:
        if len(self._staged.ids):
            known = self._staged.ids.known([record.crmhero_user_id for record in records])
            for record, old in zip(records, known, strict=True):
                if old:
                    self._reseen[record.crmhero_user_id] = stamp_of(record)
        batch = self._converter.convert(records)
        self._write(writer, batch)
        self._position += batch.num_rows
        self.staging.add(
            batch,
            position=self._position,
            settled=self._reading.settled,
            started_at=self.started_at,
            windows=self.certificate.windows,
            misfits=self.misfits,
        )

    def _write(self, writer: PartWriter, batch: pa.RecordBatch) -> None:
        writer.add(batch)
        stamps = batch["last_update"]
        newest = pc.max(stamps.filter(pc.less_equal(stamps, pa.scalar(self.started_at, TIMESTAMP)))).as_py()
        if newest is not None and (self.watermark is None or newest > self.watermark):
            self.watermark = newest


def _batches(reading: Reading) -> Generator[list[Record], None, None]:
    yield from reading
