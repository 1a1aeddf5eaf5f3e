"""One run of a sync: read, map, plan, apply."""

from __future__ import annotations

import logging
import platform
import time
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_customerly import __version__
from airflow_provider_customerly.sync.apply import Application
from airflow_provider_customerly.sync.counts import Counts
from airflow_provider_customerly.sync.fingerprint import Fingerprints
from airflow_provider_customerly.sync.mapping import FieldMapping
from airflow_provider_customerly.sync.plan_file import Seal, read_plan, read_seal, seal_plan
from airflow_provider_customerly.sync.planner import Planner
from airflow_provider_customerly.sync.record import RunRecord, read_records, write_record
from airflow_provider_customerly.sync.rejects import Reject, RejectWriter, read_rejects
from airflow_provider_customerly.sync.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow_provider_customerly.client import Client
    from airflow_provider_customerly.storage import Location
    from airflow_provider_customerly.sync.ledger import Ledger
    from airflow_provider_customerly.sync.options import Options

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 5.0
_SAMPLE = 5
_TOP_REASONS = 5


class Source(Protocol):
    """Rows to sync: the names of the columns, and chunks of rows."""

    @property
    def columns(self) -> Sequence[str]:
        """Names of the columns."""

    def __iter__(self) -> Iterator[Sequence[Sequence[Any]]]: ...


class SyncRejectsError(Exception):
    """All good rows were delivered, but more than `max_rejects` were not: look at the rejects.

    :param result: what a successful run would have returned.
    """

    def __init__(self, message: str, result: dict[str, Any]) -> None:
        super().__init__(message)
        self.result = result


def plan_contacts(
    client: Client, source: Source, state_path: Any, sync_name: str, options: Options, *, owner: str = ""
) -> dict[str, Any]:
    """Make a plan and stop: nothing is sent.

    The parameters and errors are those of `sync_contacts`.

    :return: the figures, and the `plan` to give to `apply_plan`.
    """
    options.check()
    with State(state_path, sync_name, options.contact_type, client.base_url, owner) as state:
        run = _Run(client, state, options)
        run.plan(source)
        return run.end_of_dry_run()


def sync_contacts(
    client: Client,
    source: Source,
    state_path: Any,
    sync_name: str,
    options: Options,
    *,
    owner: str = "",
    report: Callable[[RunRecord, Iterator[Reject]], None] | None = None,
) -> dict[str, Any]:
    """Bring Customerly's contacts in step with the rows of a source, sending only what changed.

    :param state_path: folder for the state of syncs: text, `os.PathLike` or Airflow's `ObjectStoragePath`.
    :param sync_name: names the sync; its state is a folder of that name.
    :param owner: names what stays the same when the work is tried again: a later try takes over from it.
    :param report: called at the end with the run's record and rejects, whatever came of it.
    :return: figures and names of files below the state; nothing personal.
    :raises ValueError: an argument is wrong; nothing was sent.
    :raises LockedError: another run of the sync is at work; nothing was sent.
    :raises SyncGuardError: a guard was breached; nothing was sent.
    :raises CustomerlyError: the API failed; what it had accepted until then is remembered.
    :raises SyncRejectsError: all good rows were delivered, and more than `max_rejects` were not.
    """
    options.check()
    with State(state_path, sync_name, options.contact_type, client.base_url, owner) as state:
        run = _Run(client, state, options)
        run.plan(source)
        return run.apply(report)


def apply_plan(
    client: Client,
    plan: str,
    state_path: Any,
    sync_name: str,
    options: Options,
    *,
    owner: str = "",
    report: Callable[[RunRecord, Iterator[Reject]], None] | None = None,
) -> dict[str, Any]:
    """Do exactly what a plan says; no source is read.

    The other parameters and errors are those of `sync_contacts`.

    :param plan: as `plan_contacts` named it.
    :raises ValueError: the plan was altered, is that of another sync, or was overtaken by another run.
    """
    options.check()
    with State(state_path, sync_name, options.contact_type, client.base_url, owner) as state:
        run = _Run(client, state, options)
        run.take_plan(plan)
        return run.apply(report)


class _Run:
    """The steps of a run, in the order in which they are called."""

    def __init__(self, client: Client, state: State, options: Options) -> None:
        self._client = client
        self._state = state
        self._options = options
        self._started = datetime.now(timezone.utc)
        self._requests = client.requests_sent
        self._said = time.monotonic()
        self._ledger: Ledger = state.recover()
        self._counts = Counts()
        self._plan = ""
        self._truncated: dict[str, int] = {}
        self._size_and_digest = (0, "")
        self._plan_rows = 0
        self._is_sealed = False

    def plan(self, source: Source) -> None:
        """Read and map the source, compare it with the ledger, and hold the outcome against the guards."""
        options = self._options
        mapping = FieldMapping(
            source.columns,
            contact_type=options.contact_type,
            field_mapping=options.field_mapping,
            tags=options.tags,
            timezone=options.timezone,
            null_as_empty=options.null_as_empty,
            truncate_text=options.truncate_text,
        )
        self._ledger = self._ledger.with_fields(mapping.fields)
        planner = Planner(
            mapping,
            Fingerprints(self._state.salt, mapping.fields),
            self._ledger,
            self._state.location,
            self._state.run,
            retry_rejects=options.retry_rejects,
            full_resync=options.full_resync,
            heartbeat=self._tell_rows_read,
        )
        writer, self._counts = planner.plan(source)
        with writer:
            self._counts.check_planned()
            self._check_guards()
            self._size_and_digest = writer.close()
        self._plan, self._plan_rows = writer.name, writer.rows
        self._truncated = dict(mapping.truncated)
        log.info("Planned: %s", _figures(self._counts))

    def take_plan(self, plan: str) -> None:
        """Take a sealed plan instead.

        :raises ValueError: it does not fit.
        """
        seal = read_seal(self._state.location, plan)
        for what, planned, now in (
            ("the sync", seal.sync_name, self._state.sync_name),
            ("contact_type", seal.contact_type, self._options.contact_type),
        ):
            if planned != now:
                raise ValueError(f"The plan {plan} was made for {what} {planned!r}, not {now!r}. Plan again.")
        if seal.ledger_sequence != self._ledger.sequence:
            raise ValueError(
                f"The plan {plan} was overtaken: another run, or an earlier try of this one, has synced "
                "since it was made. Plan again: what was delivered is not sent again."
            )
        self._ledger = self._ledger.with_fields(seal.fields)
        self._counts = Counts.from_dict(seal.counts)
        self._plan, self._is_sealed = plan, True
        self._check_guards()

    def end_of_dry_run(self) -> dict[str, Any]:
        """Seal the plan, and tell what it holds."""
        size, digest = self._size_and_digest
        seal = Seal(
            run=self._state.run,
            sync_name=self._state.sync_name,
            contact_type=self._options.contact_type,
            ledger_sequence=self._ledger.sequence,
            fields=list(self._ledger.fields),
            counts=self._counts.to_dict(),
            rows=self._plan_rows,
            bytes=size,
            sha256=digest,
        )
        seal_plan(self._state.location, self._plan, seal)
        self._is_sealed = True
        for planned in _first(read_plan(self._state.location, self._plan), _SAMPLE):
            what = planned.changed_fields or planned.message or ""
            log.info("For instance row %d: %s %s", planned.number, planned.action, what)
        record = self._record("planned", None, None)
        write_record(self._state.location, record)
        return self._result(record)

    def apply(self, report: Callable[[RunRecord, Iterator[Reject]], None] | None) -> dict[str, Any]:
        """Carry the plan out, remember what came of it, and fail if too many rows were not delivered."""
        options, location = self._options, self._state.location
        with RejectWriter(location, self._state.run) as rejects:
            work = Application(
                self._client, options.contact_type, self._state, self._ledger, self._counts, rejects
            )
            try:
                work.note_undelivered(self._plan, self._earlier_rejects())
                work.send(self._plan, options.batch_size, options.max_concurrency)
                self._counts.check_settled()
                fingerprints = Fingerprints(self._state.salt, self._ledger.fields)
                work.handle_vanished(self._plan, options.on_vanished, fingerprints, options.tags)
            except BaseException as error:
                self._end_early(work, rejects, error, report)
                raise
            record = self._end(work, rejects, None)
        if report:
            report(record, self._rejects(record))
        result = self._result(record)
        log.info("Synced: %s", _figures(self._counts))
        if record.rejects:
            log.warning("Rows that were not delivered, with reasons: %s/%s", location, record.rejects)
        if record.outcome == "rejects":
            raise SyncRejectsError(self._verdict(record, location), result)
        return result

    def _end(self, work: Application, rejects: RejectWriter, error: BaseException | None) -> RunRecord:
        name = rejects.close()
        if work.enter():
            self._state.commit(self._ledger)
        if not self._is_sealed:
            self._state.location.delete(self._plan)
        outcome = "failed" if error else "rejects" if self._too_many_rejects() else "success"
        record = self._record(outcome, error, name)
        write_record(self._state.location, record)
        return record

    def _end_early(
        self,
        work: Application,
        rejects: RejectWriter,
        error: BaseException,
        report: Callable[[RunRecord, Iterator[Reject]], None] | None,
    ) -> None:
        # Whatever fails here, the journal has what was answered, and the first error is the one to tell.
        try:
            record = self._end(work, rejects, error)
            if report:
                report(record, self._rejects(record))
        except Exception as another:
            log.warning("The run could not be recorded (%s); the next one takes over", type(another).__name__)

    def _too_many_rejects(self) -> bool:
        return self._counts.rejects > self._options.max_rejects.of(self._counts.rows_read)

    def _check_guards(self) -> None:
        self._options.guards.check(self._counts, int(self._ledger.living.sum()))

    def _earlier_rejects(self) -> dict[str, Reject]:
        """Give the rows that the runs up to the last complete one reported as refused, by key."""
        if not self._counts.still_refused:
            return {}
        found: dict[str, Reject] = {}
        for record in read_records(self._state.location):
            if record.outcome != "planned":
                with suppress(FileNotFoundError):  # it names contacts, so somebody may have deleted it
                    for one in self._rejects(record):
                        if one.reason in ("refused", "unexplained"):
                            found.setdefault(one.key, one)
            if record.outcome in ("success", "rejects"):  # one that failed may not have come to all of them
                break
        return found

    def _rejects(self, record: RunRecord) -> Iterator[Reject]:
        return iter(()) if record.rejects is None else read_rejects(self._state.location, record.rejects)

    def _record(self, outcome: Any, error: BaseException | None, rejects: str | None) -> RunRecord:
        return RunRecord(
            run=self._state.run,
            sync_name=self._state.sync_name,
            contact_type=self._options.contact_type,
            outcome=outcome,
            error=type(error).__name__ if error else None,
            owner=self._state.owner,
            started_at=self._started,
            finished_at=datetime.now(timezone.utc),
            counts=self._counts.to_dict(),
            rejects=rejects,
            plan=self._plan if self._is_sealed else None,
            ledger_sequence=self._ledger.sequence,
            contacts=int(self._ledger.living.sum()),
            fields=list(self._ledger.fields),
            requests=self._client.requests_sent - self._requests,
            versions={"airflow-provider-customerly": __version__, "python": platform.python_version()},
        )

    def _result(self, record: RunRecord) -> dict[str, Any]:
        return {
            "sync_name": record.sync_name,
            "contact_type": record.contact_type,
            "outcome": record.outcome,
            **record.counts,
            "truncated": self._truncated,
            "path": str(self._state.location),
            "record": record.name,
            "rejects": record.rejects,
            "plan": record.plan,
            "requests": record.requests,
            "seconds": round((record.finished_at - record.started_at).total_seconds(), 3),
        }

    def _verdict(self, record: RunRecord, location: Location) -> str:
        counts = self._counts
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts.reasons.most_common(_TOP_REASONS))
        return (
            f"{counts.rejects} of {counts.rows_read} rows were not delivered ({reasons}), more than "
            f"max_rejects={self._options.max_rejects} allows; {counts.sent} were sent and {counts.unchanged} "
            f"had not changed. The rows and reasons are in {location}/{record.rejects}. Mend them in the "
            "warehouse; what Customerly refused is sent again when it changes, or with retry_rejects=True."
        )

    def _tell_rows_read(self, rows: int) -> None:
        self._state.lock.renew()
        now = time.monotonic()
        if now - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = now
            seconds = (datetime.now(timezone.utc) - self._started).total_seconds()
            log.info("%d rows read and compared, %.0f/s", rows, rows / seconds)


def _figures(counts: Counts) -> str:
    shown = {name: value for name, value in counts.to_dict().items() if value and name != "reasons"}
    return ", ".join(f"{name} {value}" for name, value in shown.items()) or "no rows"


def _first(rows: Iterator[Any], count: int) -> Iterator[Any]:
    for _, row in zip(range(count), rows, strict=False):
        yield row
