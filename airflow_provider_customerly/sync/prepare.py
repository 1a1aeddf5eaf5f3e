"""Prepare a run: make a plan from the rows of a source, or open a sealed one."""

from __future__ import annotations

import dataclasses
import logging
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from airflow_provider_customerly.comparison import HeldContacts
from airflow_provider_customerly.sync.comparing import Comparer
from airflow_provider_customerly.sync.counts import Counts
from airflow_provider_customerly.sync.damage import IDENTITY
from airflow_provider_customerly.sync.fingerprint import Fingerprints
from airflow_provider_customerly.sync.guards import SyncGuardError, check_guards
from airflow_provider_customerly.sync.mapping import FieldMapping
from airflow_provider_customerly.sync.planner import Planner
from airflow_provider_customerly.sync.rest_of_plan import write_rest
from airflow_provider_customerly.sync.seal import Seal, check_name, read_seal, seal_plan
from airflow_provider_customerly.sync.summary import shown_fields
from airflow_provider_customerly.sync.undo import UndoPlanner, compared_with, open_undo
from airflow_provider_customerly.values.progress import ProgressClock
from airflow_provider_customerly.values.words import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_customerly.sync.compared_with import ComparedWith
    from airflow_provider_customerly.sync.ledger import Ledger
    from airflow_provider_customerly.sync.options import Options
    from airflow_provider_customerly.sync.plan_file import PlanWriter
    from airflow_provider_customerly.sync.state import State

log = logging.getLogger(__name__)


class Source(Protocol):
    """Rows to sync: the names of the columns, and chunks of rows."""

    @property
    def columns(self) -> Sequence[str]:
        """Names of the columns."""

    def __iter__(self) -> Iterator[Sequence[Sequence[Any]]]: ...


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A plan that is ready to be carried out or, if it was made for review, to be looked at.

    :param plan: name of the plan's file.
    :param sealed: name of the sealed plan that this is, or the remainder of.
    :param ledger: the ledger, with the fields of the plan.
    :param compared_with: the export that the rows were compared with, if any.
    :param living: number of contacts that the ledger does not hold as vanished; see ``Ledger.living``.
    :param undoes: the run that the plan undoes, if any.
    :param cannot_undo: what of that run stays as it is; see ``CannotUndo``.
    :param truncated: number of truncated values, by field.
    """

    plan: str
    sealed: str | None
    ledger: Ledger
    counts: Counts
    living: int
    compared_with: ComparedWith | None = None
    undoes: str | None = None
    cannot_undo: dict[str, int] | None = None
    truncated: dict[str, int] = dataclasses.field(default_factory=dict)


def prepare(
    source: Source,
    state: State,
    ledger: Ledger,
    options: Options,
    *,
    export: Any = None,
    base_url: str = "",
    seal: bool = False,
) -> Prepared:
    """Read and map the source, compare it with the ledger, and check the guards.

    :param export: path of the export to compare the rows with; None for no comparison.
    :param base_url: the API from which it must have been exported.
    :param seal: make a plan to review and apply later; a failed guard only stops it then.
    :raises ValueError: the mapping does not fit the source, or the export cannot be used.
    :raises SyncGuardError: a guard failed.
    """
    mapping = FieldMapping(source.columns, options)
    ledger = ledger.with_fields(mapping.fields)
    shown_fields(options.preview_fields, mapping.fields)
    fingerprints = Fingerprints(state.salt, mapping.fields)
    with ExitStack() as stack:
        comparer = None
        if export is not None:
            contacts = HeldContacts.open(
                export, options.contact_type, base_url, mapping.fields, max_age=options.max_export_age
            )
            comparer = Comparer(
                stack.enter_context(contacts),
                fingerprints,
                ledger,
                on_edited=options.on_edited,
                skip_equal=options.skip_equal,
            )
            _log_comparison(contacts)
        compared = comparer.compared_with if comparer else None
        planner = Planner(
            mapping,
            fingerprints,
            ledger,
            state.location,
            state.run,
            {} if seal else state.intent(ledger, options, compared_with=compared).notes,
            retry_rejects=options.retry_rejects,
            full_resync=options.full_resync,
            comparer=comparer,
            progress=partial(_tell_progress, ProgressClock(log)),
        )
        writer, counts = planner.plan(source)
    return _completed(
        writer,
        counts,
        state,
        ledger,
        options,
        compared,
        seal=seal,
        truncated=dict(mapping.truncated),
    )


def prepare_sealed(plan: str, state: State, ledger: Ledger, options: Options) -> Prepared:
    """Open a sealed plan, or its remainder after an earlier attempt.

    :param plan: the name of the plan.
    :raises ValueError: the plan was altered, belongs to another sync, or was overtaken by another run.
    :raises SyncGuardError: a guard failed.
    """
    check_name(plan)
    seal, actions = read_seal(state.location, plan)
    for what, planned, now in (
        ("the sync", seal.sync_name, state.sync_name),
        ("contact_type", seal.contact_type, options.contact_type),
    ):
        if planned != now:
            raise ValueError(f"Plan {plan} was made for {what} {planned!r}, not {now!r}. Make a new plan.")
    if seal.state != state.id:  # a copy: its digests, made with another salt, would stand for other contacts
        raise ValueError(
            f"Plan {plan} was made with another {IDENTITY} than the one at {state.location}: it belongs to "
            "another state, perhaps of another project. Make a new plan."
        )
    if seal.ledger_sequence != ledger.sequence and ledger.plan != plan:
        raise ValueError(
            f"Plan {plan} was overtaken: another run has synced since the plan was made. Make a new plan; it "
            "does not resend what was delivered."
        )
    compared = seal.compared_with
    if compared and options.max_export_age is not None and compared.age > options.max_export_age:
        raise ValueError(
            f"Plan {plan} was compared with an export that is older than max_export_age by now. Export "
            "again, then make a new plan. Or allow an older export."
        )
    ledger = ledger.with_fields(seal.fields)
    unchanged = seal.unchanged + actions["settled"]
    counts = Counts.from_dict({**actions, "rows_read": seal.rows_read, "unchanged": unchanged, "reasons": {}})
    if ledger.plan == plan:
        log.info("Resuming %s: rows that an earlier attempt delivered count as unchanged", plan)
    intent = state.intent(ledger, options, applies=plan, compared_with=compared, undoes=seal.undoes)
    living = int(ledger.living.sum())
    name = write_rest(state.location, plan, state.run, ledger, counts, intent)
    try:
        check_guards(without_source(options) if seal.undoes else options, counts, living)
    except SyncGuardError:
        state.location.delete(name)
        raise
    ledger.plan = plan
    return Prepared(name, plan, ledger, counts, living, compared, seal.undoes or None, seal.cannot_undo)


def prepare_undo(
    run: str,
    state: State,
    ledger: Ledger,
    options: Options,
    *,
    export: Any = None,
    base_url: str = "",
    seal: bool = False,
) -> Prepared:
    """Plan how to undo a run.

    :param run: its id.
    :param export: path of a later export, to find edits since; None to ignore them.
    :raises ValueError: there is nothing to undo, or the export cannot be used.
    :raises SyncGuardError: a guard failed.
    """
    name, notes, contacts = open_undo(state, run, export, base_url, options)
    if not len(ledger):
        ledger = ledger.with_fields(notes.fields)
    with contacts or nullcontext():
        if contacts is not None:
            _log_comparison(contacts)
        compared = compared_with(contacts, options.on_edited)
        intent = state.intent(ledger, options, compared_with=compared, undoes=notes.run)
        planner = UndoPlanner(state, name, ledger, notes, contacts, options.on_edited)
        writer, counts = planner.plan({} if seal else intent.notes)
    return _completed(
        writer,
        counts,
        state,
        ledger,
        without_source(options),
        compared,
        seal=seal,
        undoes=notes.run,
        cannot_undo=planner.cannot.to_dict(),
    )


def _completed(
    writer: PlanWriter,
    counts: Counts,
    state: State,
    ledger: Ledger,
    options: Options,
    compared: ComparedWith | None,
    *,
    seal: bool,
    undoes: str = "",
    cannot_undo: dict[str, int] | None = None,
    truncated: dict[str, int] | None = None,
) -> Prepared:
    """Check the guards and close the plan, or seal it: then the guards are checked when it is applied."""
    living = int(ledger.living.sum())
    with writer:
        counts.check_planned()
        if not seal:
            check_guards(options, counts, living)
        size, digest = writer.close()
    if seal:
        seal_plan(
            state.location,
            writer.name,
            Seal(
                run=state.run,
                state=state.id,
                sync_name=state.sync_name,
                contact_type=options.contact_type,
                digests=2,
                ledger_sequence=ledger.sequence,
                fields=list(ledger.fields),
                rows_read=counts.rows_read,
                unchanged=counts.unchanged - counts.settled,
                bytes=size,
                sha256=digest,
                compared_with=compared,
                undoes=undoes,
                cannot_undo=cannot_undo,
            ),
        )
    ledger.plan = ""
    return Prepared(
        writer.name,
        writer.name if seal else None,
        ledger,
        counts,
        living,
        compared,
        undoes or None,
        cannot_undo,
        truncated or {},
    )


def without_source(options: Options) -> Options:
    """Return the options for a plan that no rows of a source stand behind."""
    return msgspec.structs.replace(options, min_rows=0)


def _log_comparison(contacts: HeldContacts) -> None:
    log.info(
        "Comparing with %s, exported at %s UTC by run %s",
        count(len(contacts), "contact"),
        f"{contacts.time:%Y-%m-%d %H:%M:%S}",
        contacts.export.run,
    )
    for field, reason in contacts.not_shown.items():
        log.info("%s is not compared: %s", field, reason)


def _tell_progress(clock: ProgressClock, rows: int) -> None:
    if clock.is_due():
        clock.tell("%d rows read and compared, %.0f/s", rows, clock.per_second(rows))
