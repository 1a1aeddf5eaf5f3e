"""One run of a sync: read, map, plan, apply."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.sync.apply import Application
from airflow_provider_customerly.sync.guards import SyncGuardError, breach
from airflow_provider_customerly.sync.options import allowed
from airflow_provider_customerly.sync.plan_file import read_plan
from airflow_provider_customerly.sync.prepare import (
    Prepared,
    Source,
    prepare,
    prepare_sealed,
    prepare_undo,
    without_source,
)
from airflow_provider_customerly.sync.records import Outcome, RunRecord, up_to_last_complete, write_record
from airflow_provider_customerly.sync.rejects import Reject, RejectWriter, read_rejects
from airflow_provider_customerly.sync.result import Results, SyncRejectsError, reason_lines
from airflow_provider_customerly.sync.retention import remove_old_runs
from airflow_provider_customerly.sync.state import State
from airflow_provider_customerly.sync.summary import Summary, shown_fields
from airflow_provider_customerly.sync.undo_file import write_undo
from airflow_provider_customerly.values.words import count

if TYPE_CHECKING:
    from airflow_provider_customerly.client import Client
    from airflow_provider_customerly.sync.counts import Counts
    from airflow_provider_customerly.sync.options import Options
    from airflow_provider_customerly.sync.plan_file import Planned

log = logging.getLogger(__name__)

_SAMPLE = 5

Report = Callable[[RunRecord, Iterator[Reject]], None]
Keep = Callable[[dict[str, Any]], None]


def plan_contacts(
    client: Client,
    source: Source,
    state_path: Any,
    sync_name: str,
    options: Options,
    *,
    export: Any = None,
    owner: str = "",
) -> dict[str, Any]:
    """Make a plan and stop: nothing is sent.

    The parameters and errors are those of ``sync_contacts``.

    :return: the counts, and the ``plan`` to pass to ``apply_plan``.
    """
    with _run(client, state_path, sync_name, options, owner) as run:
        return run.end_dry(run.prepare(source, export, seal=True))


def sync_contacts(
    client: Client,
    source: Source,
    state_path: Any,
    sync_name: str,
    options: Options,
    *,
    export: Any = None,
    owner: str = "",
    report: Report | None = None,
    keep: Keep | None = None,
) -> dict[str, Any]:
    """Keep Customerly's contacts in sync with the rows of a source, sending only changes.

    :param state_path: folder for the state of syncs: text, ``os.PathLike`` or Airflow's
        ``ObjectStoragePath``.
    :param sync_name: name of the sync, whose state is in a folder of that name.
    :param export: path of an export to compare the rows with.
    :param owner: what stays the same across retries, so that a later attempt can take over.
    :param report: called at the end with the run's record and rejects, whatever the outcome.
    :param keep: called with the counts if a guard stops the run or it ends early.
    :return: counts and names of files below the state; no personal data.
    :raises ValueError: an argument is invalid. Nothing was sent.
    :raises LockedError: another run of the sync is active. Nothing was sent.
    :raises SyncGuardError: a guard failed. Nothing was sent.
    :raises CustomerlyError: the API failed. What it had accepted until then is recorded.
    :raises SyncRejectsError: all good rows were delivered, but more than ``max_rejects`` rows were not.
    """
    with _run(client, state_path, sync_name, options, owner, report, keep) as run:
        return run.carry_out(run.prepare(source, export))


def plan_undo(
    client: Client,
    undoes: str,
    state_path: Any,
    sync_name: str,
    options: Options,
    *,
    export: Any = None,
    owner: str = "",
) -> dict[str, Any]:
    """Plan how to undo a run, and stop: nothing is sent.

    The other parameters and errors are those of ``sync_contacts``.

    :param undoes: the run, which must have compared its rows with an export.
    :param export: path of a later export, to find edits since; None to ignore them.
    :return: the counts, the ``plan`` to pass to ``apply_plan``, and what it ``cannot_undo``.
    """
    with _run(client, state_path, sync_name, without_source(options), owner) as run:
        return run.end_dry(run.prepare_undo(undoes, export, seal=True))


def undo_contacts(
    client: Client,
    undoes: str,
    state_path: Any,
    sync_name: str,
    options: Options,
    *,
    export: Any = None,
    owner: str = "",
    report: Report | None = None,
    keep: Keep | None = None,
) -> dict[str, Any]:
    """Undo a run. The parameters and errors are those of ``plan_undo`` and ``sync_contacts``."""
    with _run(client, state_path, sync_name, without_source(options), owner, report, keep) as run:
        return run.carry_out(run.prepare_undo(undoes, export))


def apply_plan(
    client: Client,
    plan: str,
    state_path: Any,
    sync_name: str,
    options: Options,
    *,
    owner: str = "",
    report: Report | None = None,
    keep: Keep | None = None,
) -> dict[str, Any]:
    """Apply a plan exactly, without reading a source.

    The other parameters and errors are those of ``sync_contacts``.

    :param plan: the ``plan`` that ``plan_contacts`` returned.
    :raises ValueError: the plan was altered, belongs to another sync, or was overtaken by another run.
    """
    with _run(client, state_path, sync_name, options, owner, report, keep) as run:
        return run.carry_out(run.prepare_sealed(plan))


@contextlib.contextmanager
def _run(
    client: Client,
    state_path: Any,
    sync_name: str,
    options: Options,
    owner: str,
    report: Report | None = None,
    keep: Keep | None = None,
) -> Iterator[_Run]:
    """Hold the state of a sync for a run."""
    options.check()
    with State(state_path, sync_name, options.contact_type, client.base_url, owner) as state:
        yield _Run(client, state, options, report, keep)


class _Run:
    """Prepare a plan, look at it or carry it out, and record the outcome."""

    def __init__(
        self,
        client: Client,
        state: State,
        options: Options,
        report: Report | None = None,
        keep: Keep | None = None,
    ) -> None:
        self._client = client
        self._state = state
        self._options = options
        self._report = report
        self._keep = keep
        self._results = Results(client, state, options)

    def prepare(self, source: Source, export: Any, *, seal: bool = False) -> Prepared:
        """Plan what to send for the rows of a source."""
        ledger, base_url = self._state.recover(), self._client.base_url
        with self._kept_if_a_guard_stops_it():
            return prepare(
                source, self._state, ledger, self._options, export=export, base_url=base_url, seal=seal
            )

    def prepare_undo(self, undoes: str, export: Any, *, seal: bool = False) -> Prepared:
        """Plan how to undo a run."""
        ledger, base_url = self._state.recover(), self._client.base_url
        with self._kept_if_a_guard_stops_it():
            return prepare_undo(
                undoes, self._state, ledger, self._options, export=export, base_url=base_url, seal=seal
            )

    def prepare_sealed(self, plan: str) -> Prepared:
        """Open a plan that was made before."""
        ledger = self._state.recover()
        with self._kept_if_a_guard_stops_it():
            return prepare_sealed(plan, self._state, ledger, self._options)

    @contextlib.contextmanager
    def _kept_if_a_guard_stops_it(self) -> Iterator[None]:
        """Pass the counts to ``keep`` if a guard stops the run, which then leaves no record."""
        try:
            yield
        except SyncGuardError as error:
            if self._keep is not None:
                figures = self._results.figures("stopped", error.counts, error.living)
                self._keep({**figures, "breach": str(error), "plan": None})
            raise

    def end_dry(self, prepared: Prepared) -> dict[str, Any]:
        """Log part of a sealed plan, and return its result."""
        log.info("Planned: %s", prepared.counts)
        summary = self._summary(prepared)
        sample: dict[str, list[Planned]] = {"changed": [], "new": [], "again": []}
        for planned in read_plan(self._state.location, prepared.plan):
            summary.add(planned, self._options.on_edited)
            if planned.action == "invalid":
                prepared.counts.reject(planned.reason or "", planned.field)
            elif planned.action in sample and len(sample[planned.action]) < _SAMPLE:
                sample[planned.action].append(planned)
        for planned in chain.from_iterable(sample.values()):
            fields = f": {', '.join(planned.changed_fields)}" if planned.changed_fields else ""
            log.info("For example, row %d is %s%s", planned.number, planned.action, fields)
        if prepared.counts.reasons:
            log.warning("Rows that would not be sent: %s", prepared.counts.top_reasons())
        problem = breach(self._options, prepared.counts, prepared.living)
        if problem:
            log.warning("A guard would stop this plan: %s", problem)
        log.info("The plan is %s/%s", self._state.location, prepared.plan)
        log.info("To apply this plan, run with plan_path=%r and without sql or table", prepared.plan)
        self._take_comparison(prepared, summary)
        record = self._results.record(prepared, "planned")
        write_record(self._state.location, record)
        return {**self._results.result(record, prepared), "breach": problem, "preview": summary.preview()}

    def carry_out(self, prepared: Prepared) -> dict[str, Any]:
        """Deliver the rows, record the outcome, and raise an error if too many were not delivered."""
        self._state.lock.check()  # reading may have taken hours
        log.info("Planned: %s", prepared.counts)
        options, counts, location = self._options, prepared.counts, self._state.location
        if prepared.compared_with is not None:
            summary = self._summary(prepared)
            for planned in read_plan(location, prepared.plan):
                summary.add(planned, prepared.compared_with.on_edited)
            self._take_comparison(prepared, summary)
        with RejectWriter(location, self._state.run) as rejects:
            earlier = self._earlier_rejects(counts)
            work = Application(self._client, options, self._state, prepared.ledger, counts, rejects, earlier)
            try:
                work.send(prepared.plan)
                counts.check_settled()
                if options.on_vanished == "keep" or not self._has_too_many_rejects(counts):
                    work.finish_vanished()
                elif counts.vanished:
                    # A row with a broken email looks the same as one that is gone.
                    log.warning(
                        "%d vanished contacts are left alone, because too many rows were not delivered. The "
                        "next run within max_rejects handles them",
                        counts.vanished,
                    )
            except BaseException as error:
                self._end_early(prepared, work, rejects, error)
                self._check_overtaken(error)
                raise
            try:
                record = self._end(prepared, work, rejects)
            except FileNotFoundError as error:
                self._check_overtaken(error)
                raise
        self._tell(record)
        if options.keep_days is not None:
            try:
                remove_old_runs(location, options.keep_days, self._state.run)
            except Exception as error:  # everything is delivered and recorded, and the next run tries again
                log.warning("Could not remove old files of the sync: %s", type(error).__name__)
        result = self._results.result(record, prepared)
        log.info("Synced: %s", counts)
        if record.rejects:
            reasons = "\n".join(reason_lines(counts))
            log.warning("Rows that were not delivered:\n%s\n%s/%s", reasons, location, record.rejects)
        if record.outcome == "rejects":
            raise SyncRejectsError(self._results.verdict(record, counts), result)
        return result

    def _check_overtaken(self, error: BaseException) -> None:
        """Raise ``LockLostError`` if the plan is missing because a run that took over has removed it."""
        if isinstance(error, FileNotFoundError):
            self._state.lock.check()

    def _summary(self, prepared: Prepared) -> Summary:
        shown = shown_fields(self._options.preview_fields, prepared.ledger.fields)
        return Summary(self._options.on_vanished, shown)

    def _take_comparison(self, prepared: Prepared, summary: Summary) -> None:
        if prepared.compared_with is not None:
            self._results.comparison = summary.comparison(prepared.compared_with)
            log.info(
                "Compared with Customerly: %s already the same, %d edited there (%s)",
                count(summary.already_so, "row"),
                summary.edited,
                f"on_edited={prepared.compared_with.on_edited}",
            )

    def _end(
        self,
        prepared: Prepared,
        work: Application,
        rejects: RejectWriter,
        error: BaseException | None = None,
    ) -> RunRecord:
        outcomes = work.finish()
        name = rejects.close()
        if len(outcomes):
            self._results.undo = write_undo(self._state.location, self._state.run, prepared.plan, outcomes)
            prepared.ledger.update(outcomes)
            self._commit(prepared, work)
        self._state.tidy([prepared.plan])
        is_red = self._has_too_many_rejects(prepared.counts)
        outcome: Outcome = "failed" if error else "rejects" if is_red else "success"
        record = self._results.record(prepared, outcome, error, name)
        try:
            write_record(self._state.location, record)
        except Exception as problem:  # what was done is recorded
            log.warning(
                "%s/%s could not be written: %s", self._state.location, record.name, type(problem).__name__
            )
        return record

    def _commit(self, prepared: Prepared, work: Application) -> None:
        try:
            self._state.commit(prepared.ledger, work.journal.pages)
        except BaseException:
            # The next run reads the journal, which now also has the rows with an unknown outcome.
            work.leave()
            self._state.location.delete(prepared.plan)
            raise

    def _has_too_many_rejects(self, counts: Counts) -> bool:
        return counts.rejects > allowed(self._options.max_rejects, counts.rows_read)

    def _end_early(
        self, prepared: Prepared, work: Application, rejects: RejectWriter, error: BaseException
    ) -> None:
        # If this fails, the journal still has all responses, and the first error is the one to raise.
        try:
            record = self._end(prepared, work, rejects, error)
            if self._keep is not None:
                self._keep(self._results.result(record, prepared))
            if prepared.counts.unknown:
                log.warning(
                    "No answer says what became of %s. The next run sends the same again. See\n%s/%s",
                    count(prepared.counts.unknown, "row"),
                    self._state.location,
                    record.rejects,
                )
            self._tell(record)
        except Exception as another:
            log.warning("Could not record the run (%s). The next run takes over", type(another).__name__)

    def _tell(self, record: RunRecord) -> None:
        if self._report:
            self._report(record, self._rejects(record))

    def _rejects(self, record: RunRecord) -> Iterator[Reject]:
        return iter(()) if record.rejects is None else read_rejects(self._state.location, record.rejects)

    def _earlier_rejects(self, counts: Counts) -> dict[str, Reject]:
        """Return the rows that runs up to the last complete one reported as refused, by key."""
        if not counts.still_refused:
            return {}
        found: dict[str, Reject] = {}
        for record in up_to_last_complete(self._state.location):
            try:
                for one in self._rejects(record):
                    if one.reason in ("refused", "unexplained"):
                        found.setdefault(one.key, one)
            except FileNotFoundError:  # a user may have deleted it, because it contains personal data
                continue
            except Exception as error:  # any error of a store; then only the reasons are missing
                log.warning("Reasons in %s are not available: %s", record.rejects, error)
        return found
