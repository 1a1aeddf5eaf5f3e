"""One run of a sync: read, map, plan, apply."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly import __version__
from airflow_provider_customerly.sync.apply import Application
from airflow_provider_customerly.sync.fingerprint import Fingerprints
from airflow_provider_customerly.sync.guards import allowed, breach
from airflow_provider_customerly.sync.plan_file import read_plan
from airflow_provider_customerly.sync.prepare import Prepared, Source, prepare, prepare_sealed
from airflow_provider_customerly.sync.record import Outcome, RunRecord, up_to_last_complete, write_record
from airflow_provider_customerly.sync.rejects import Reject, RejectWriter, read_rejects
from airflow_provider_customerly.sync.retention import remove_old_runs
from airflow_provider_customerly.sync.state import State

if TYPE_CHECKING:
    from airflow_provider_customerly.client import Client
    from airflow_provider_customerly.sync.counts import Counts
    from airflow_provider_customerly.sync.options import Options

log = logging.getLogger(__name__)

_SAMPLE = 5
_TOP_REASONS = 5

Report = Callable[[RunRecord, Iterator[Reject]], None]


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
        return run.end_dry(prepare(source, state, state.recover(), options, seal=True))


def sync_contacts(
    client: Client,
    source: Source,
    state_path: Any,
    sync_name: str,
    options: Options,
    *,
    owner: str = "",
    report: Report | None = None,
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
        run = _Run(client, state, options, report)
        return run.carry_out(prepare(source, state, state.recover(), options))


def apply_plan(
    client: Client,
    plan: str,
    state_path: Any,
    sync_name: str,
    options: Options,
    *,
    owner: str = "",
    report: Report | None = None,
) -> dict[str, Any]:
    """Do exactly what a plan says; no source is read.

    The other parameters and errors are those of `sync_contacts`.

    :param plan: as `plan_contacts` named it.
    :raises ValueError: the plan was altered, is that of another sync, or was overtaken by another run.
    """
    options.check()
    with State(state_path, sync_name, options.contact_type, client.base_url, owner) as state:
        run = _Run(client, state, options, report)
        return run.carry_out(prepare_sealed(plan, state, state.recover(), options))


class _Run:
    """Carries out what was prepared, and writes down what came of it."""

    def __init__(self, client: Client, state: State, options: Options, report: Report | None = None) -> None:
        self._client = client
        self._state = state
        self._options = options
        self._report = report
        self._started = datetime.now(timezone.utc)
        self._requests = client.requests_sent

    def end_dry(self, prepared: Prepared) -> dict[str, Any]:
        """Show some of a sealed plan, and tell what it holds."""
        log.info("Planned: %s", prepared.counts)
        rows = read_plan(self._state.location, prepared.plan, ("changed", "invalid"))
        for planned in islice(rows, _SAMPLE):
            what = planned.message or ", ".join(planned.changed_fields or ())
            log.info("For instance row %d is %s: %s", planned.number, planned.action, what)
        problem = breach(self._options, prepared.counts, int(prepared.ledger.living.sum()))
        if problem:
            log.warning("A run that sends would stop: %s", problem)
        log.info("The plan is %s/%s", self._state.location, prepared.plan)
        log.info("To do exactly that, run again with plan_path=%r and without sql or table", prepared.plan)
        return {**self._result(self._write_record(prepared, "planned"), prepared), "breach": problem}

    def carry_out(self, prepared: Prepared) -> dict[str, Any]:
        """Deliver the rows, remember what came of it, and fail if too many were not delivered."""
        self._state.lock.check()  # reading may have taken hours
        log.info("Planned: %s", prepared.counts)
        options, counts, location = self._options, prepared.counts, self._state.location
        with RejectWriter(location, self._state.run) as rejects:
            work = Application(
                self._client, options.contact_type, self._state, prepared.ledger, counts, rejects
            )
            try:
                work.note_undelivered(prepared.plan, self._earlier_rejects(counts))
                work.send(prepared.plan, options.batch_size, options.max_concurrency)
                counts.check_settled()
                fingerprints = Fingerprints(self._state.salt, prepared.ledger.fields)
                if options.on_vanished == "keep" or not self._has_too_many_rejects(counts):
                    work.handle_vanished(prepared.plan, options.on_vanished, fingerprints, options.tags)
                elif counts.vanished:
                    # A row whose email is broken looks just like one that is gone.
                    log.warning(
                        "%d vanished contacts are left alone, for too many rows were not delivered; the next "
                        "run within max_rejects takes care of them",
                        counts.vanished,
                    )
            except BaseException as error:
                self._end_early(prepared, work, rejects, error)
                raise
            record = self._end(prepared, work, rejects)
        self._tell(record)
        if options.keep_days is not None:
            try:
                remove_old_runs(location, options.keep_days, self._state.run)
            except OSError as error:  # all is delivered and remembered; the next run removes them too
                log.warning("Old files of the sync could not be removed: %s", type(error).__name__)
        result = self._result(record, prepared)
        log.info("Synced: %s", counts)
        if record.rejects:
            reasons = _top_reasons(counts)
            log.warning("Rows that were not delivered (%s): %s/%s", reasons, location, record.rejects)
        if record.outcome == "rejects":
            raise SyncRejectsError(self._verdict(record, counts), result)
        return result

    def _end(
        self,
        prepared: Prepared,
        work: Application,
        rejects: RejectWriter,
        error: BaseException | None = None,
    ) -> RunRecord:
        name = rejects.close()
        if work.enter():
            self._state.commit(prepared.ledger)
        if prepared.plan != prepared.sealed:
            self._state.location.delete(prepared.plan)
        is_red = self._has_too_many_rejects(prepared.counts)
        outcome: Outcome = "failed" if error else "rejects" if is_red else "success"
        return self._write_record(prepared, outcome, error, name)

    def _has_too_many_rejects(self, counts: Counts) -> bool:
        return counts.rejects > allowed(self._options.max_rejects, counts.rows_read)

    def _end_early(
        self, prepared: Prepared, work: Application, rejects: RejectWriter, error: BaseException
    ) -> None:
        # Whatever fails here, the journal has what was answered, and the first error is the one to tell.
        try:
            self._tell(self._end(prepared, work, rejects, error))
        except Exception as another:
            log.warning("The run could not be recorded (%s); the next one takes over", type(another).__name__)

    def _tell(self, record: RunRecord) -> None:
        if self._report:
            self._report(record, self._rejects(record))

    def _rejects(self, record: RunRecord) -> Iterator[Reject]:
        return iter(()) if record.rejects is None else read_rejects(self._state.location, record.rejects)

    def _earlier_rejects(self, counts: Counts) -> dict[str, Reject]:
        """Give the rows that the runs up to the last complete one reported as refused, by key."""
        if not counts.still_refused:
            return {}
        found: dict[str, Reject] = {}
        for record in up_to_last_complete(self._state.location):
            with suppress(FileNotFoundError):  # it names contacts, so somebody may have deleted it
                for one in self._rejects(record):
                    if one.reason in ("refused", "unexplained"):
                        found.setdefault(one.key, one)
        return found

    def _write_record(
        self,
        prepared: Prepared,
        outcome: Outcome,
        error: BaseException | None = None,
        rejects: str | None = None,
    ) -> RunRecord:
        record = RunRecord(
            run=self._state.run,
            sync_name=self._state.sync_name,
            contact_type=self._options.contact_type,
            outcome=outcome,
            error=type(error).__name__ if error else None,
            owner=self._state.owner,
            started_at=self._started,
            finished_at=datetime.now(timezone.utc),
            counts=prepared.counts.to_dict(),
            rejects=rejects,
            plan=prepared.sealed,
            ledger_sequence=prepared.ledger.sequence,
            contacts=int(prepared.ledger.living.sum()),
            fields=list(prepared.ledger.fields),
            requests=self._client.requests_sent - self._requests,
            versions={"airflow-provider-customerly": __version__, "python": platform.python_version()},
        )
        write_record(self._state.location, record)
        return record

    def _result(self, record: RunRecord, prepared: Prepared) -> dict[str, Any]:
        return {
            "sync_name": record.sync_name,
            "contact_type": record.contact_type,
            "outcome": record.outcome,
            **record.counts,
            "truncated": prepared.truncated,
            "path": str(self._state.location),
            "record": record.name,
            "rejects": record.rejects,
            "plan": record.plan,
            "requests": record.requests,
            "seconds": round((record.finished_at - record.started_at).total_seconds(), 3),
        }

    def _verdict(self, record: RunRecord, counts: Counts) -> str:
        reasons = _top_reasons(counts)
        waiting = counts.vanished - counts.vanished_handled
        return (
            f"{counts.rejects} of {counts.rows_read} rows were not delivered ({reasons}), more than "
            f"max_rejects={self._options.max_rejects} allows; {counts.sent} were sent and {counts.unchanged} "
            f"had not changed. The rows and reasons are in {self._state.location}/{record.rejects}. Mend "
            "them in the warehouse; what Customerly refused is sent again when it changes, or with "
            "retry_rejects=True." + (f" {waiting} vanished contacts were left alone." if waiting else "")
        )


def _top_reasons(counts: Counts) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.reasons.most_common(_TOP_REASONS))
