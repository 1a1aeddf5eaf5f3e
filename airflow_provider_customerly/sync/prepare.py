"""What a run is going to do: a plan made from the rows of a source, or one that was sealed before."""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_customerly.sync.counts import Counts
from airflow_provider_customerly.sync.fingerprint import Fingerprints
from airflow_provider_customerly.sync.guards import check_guards
from airflow_provider_customerly.sync.mapping import FieldMapping
from airflow_provider_customerly.sync.plan_file import Seal, read_seal, seal_plan
from airflow_provider_customerly.sync.planner import Planner
from airflow_provider_customerly.sync.remainder import write_remainder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_customerly.sync.ledger import Ledger
    from airflow_provider_customerly.sync.options import Options
    from airflow_provider_customerly.sync.state import State

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 5.0


class Source(Protocol):
    """Rows to sync: the names of the columns, and chunks of rows."""

    @property
    def columns(self) -> Sequence[str]:
        """Names of the columns."""

    def __iter__(self) -> Iterator[Sequence[Sequence[Any]]]: ...


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What is going to be done; the guards hold, unless it is a plan that is made to be looked at.

    :param plan: name of the file that says it.
    :param sealed: name of the sealed plan that this is, or is what is left of.
    :param ledger: about the fields of the plan.
    :param truncated: how many values were cut, by field.
    """

    plan: str
    sealed: str | None
    ledger: Ledger
    counts: Counts
    truncated: dict[str, int] = dataclasses.field(default_factory=dict)


def prepare(
    source: Source, state: State, ledger: Ledger, options: Options, *, seal: bool = False
) -> Prepared:
    """Read and map the source, compare it with the ledger, and hold the outcome against the guards.

    :param seal: make a plan to be looked at, and applied later; a guard that is breached stops it then.
    :raises ValueError: the source cannot be mapped so.
    :raises SyncGuardError: a guard is breached.
    """
    mapping = FieldMapping(source.columns, options)
    ledger = ledger.with_fields(mapping.fields)
    planner = Planner(
        mapping,
        Fingerprints(state.salt, mapping.fields),
        ledger,
        state.location,
        state.run,
        retry_rejects=options.retry_rejects,
        full_resync=options.full_resync,
        progress=_Progress(),
    )
    writer, counts = planner.plan(source)
    with writer:
        counts.check_planned()
        if not seal:
            check_guards(options, counts, int(ledger.living.sum()))
        size, digest = writer.close()
    if seal:
        seal_plan(
            state.location,
            writer.name,
            Seal(
                run=state.run,
                sync_name=state.sync_name,
                contact_type=options.contact_type,
                ledger_sequence=ledger.sequence,
                fields=list(ledger.fields),
                rows_read=counts.rows_read,
                unchanged=counts.unchanged,
                bytes=size,
                sha256=digest,
            ),
        )
    ledger.plan = ""
    return Prepared(writer.name, writer.name if seal else None, ledger, counts, dict(mapping.truncated))


def prepare_sealed(plan: str, state: State, ledger: Ledger, options: Options) -> Prepared:
    """Take a sealed plan, or what is left of it after an earlier try.

    :param plan: its name.
    :raises ValueError: the plan was altered, is that of another sync, or was overtaken by another run.
    :raises SyncGuardError: a guard is breached.
    """
    seal, actions = read_seal(state.location, plan)
    for what, planned, now in (
        ("the sync", seal.sync_name, state.sync_name),
        ("contact_type", seal.contact_type, options.contact_type),
    ):
        if planned != now:
            raise ValueError(f"The plan {plan} was made for {what} {planned!r}, not {now!r}. Plan again.")
    if seal.ledger_sequence != ledger.sequence and ledger.plan != plan:
        raise ValueError(
            f"The plan {plan} was overtaken: another run has synced since it was made. Plan again: what was "
            "delivered is not sent again."
        )
    ledger = ledger.with_fields(seal.fields)
    counts = Counts.from_dict(
        {**actions, "rows_read": seal.rows_read, "unchanged": seal.unchanged, "reasons": {}}
    )
    name = plan
    if ledger.plan == plan:
        name = write_remainder(state.location, plan, state.run, ledger, counts)
        log.info("Going on with %s: what an earlier try has delivered counts as unchanged", plan)
    check_guards(options, counts, int(ledger.living.sum()))
    ledger.plan = plan
    return Prepared(name, plan, ledger, counts)


class _Progress:
    """Tells now and then how far the reading is."""

    def __init__(self) -> None:
        self._begun = self._said = time.monotonic()

    def __call__(self, rows: int) -> None:
        now = time.monotonic()
        if now - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = now
            log.info("%d rows read and compared, %.0f/s", rows, rows / (now - self._begun))
