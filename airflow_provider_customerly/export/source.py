"""The contacts of one export: what earlier tries of it have read, then the list from there on."""

from __future__ import annotations

import contextlib
import logging
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_customerly.client.errors import printable
from airflow_provider_customerly.export.columns import FIELDS, TIMESTAMP
from airflow_provider_customerly.export.convert import Converter
from airflow_provider_customerly.export.guards import UnprovenError
from airflow_provider_customerly.export.staging import Staging
from airflow_provider_customerly.export.stamps import stamp_text
from airflow_provider_customerly.reading import locate, start_reading
from airflow_provider_customerly.reading.records import stamp_of
from airflow_provider_customerly.values.progress import ProgressClock

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Generator, Iterator

    from airflow_provider_customerly.client import Client
    from airflow_provider_customerly.export.options import ExportOptions
    from airflow_provider_customerly.export.writer import PartWriter
    from airflow_provider_customerly.reading import Certificate, Reading
    from airflow_provider_customerly.reading.records import Record
    from airflow_provider_customerly.storage import Manifest, Write

log = logging.getLogger(__name__)

_BATCH_ROWS = 1000


class Source:
    """Reads contacts into a writer, each version at least once.

    :param since: read only contacts with ``last_update`` at or after this.
    :param before: the newest commit; its size is a hint where to begin.
    """

    def __init__(
        self,
        client: Client,
        options: ExportOptions,
        since: datetime | None,
        before: Manifest | None,
        write: Write,
        *,
        hash_salt: str | None,
        owner: str,
    ) -> None:
        self._client = client
        self._options = options
        self._is_full = since is None
        self._of_about = f" of about {before.rows}" if before and since is None else ""
        low = stamp_text(since) if since else None
        settings = f"{client.fingerprint} {low} {options.settings(hash_salt)}"
        self.staging = Staging(write.location, owner, write.run, settings)
        staged = self._staged = self.staging.load()
        self.started_at = staged.started_at or datetime.now(timezone.utc)
        self.watermark: datetime | None = None
        """Newest `last_update` that does not lie behind the start of the reading by our clock."""
        self._reseen: dict[int, str] = {}
        if staged.segments:
            low = staged.settled
            log.info("Resuming after what an earlier try has read, up to last_update %s", printable(low))
        guess = staged.position or (before.rows if before else 0)
        self._position = locate(client, options.contact_type, low, guess) if low else 0
        self._reading = start_reading(
            client,
            options.contact_type,
            FIELDS[options.contact_type],
            low=low,
            start=self._position,
            lookback=options.lookback,
        )
        self._converter = Converter(options.chosen, self._reading.decoder, hash_salt)

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

        :raises UnprovenError: what an earlier attempt read could not be completed. The next one starts over.
        """
        progress = ProgressClock(log)
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
                if progress.is_due():
                    sent = self._client.requests_sent - requests
                    speed = progress.per_second(rows)
                    progress.tell(
                        "%d%s contacts read, %.0f/s, %d requests", rows, self._of_about, speed, sent
                    )
            self._take(writer, waiting)
        if self._is_full and not self._staged.segments:
            self._converter.warn_of_absent_attributes()
        if self._staged.segments and self.certificate.verdict != "complete":
            raise UnprovenError(
                f"An earlier attempt stopped, and the list could not be proven complete from there: "
                f"{self.certificate.reason}. Nothing was committed. Run it again: it starts over."
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
