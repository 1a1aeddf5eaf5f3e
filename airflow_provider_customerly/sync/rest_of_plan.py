"""The rest of a sealed plan that an earlier attempt applied in part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from airflow_provider_customerly.sync.ledger import Status
from airflow_provider_customerly.sync.plan_file import FOLDER, SENDING, PlanWriter, read_plan

if TYPE_CHECKING:
    from airflow_provider_customerly.storage import Location
    from airflow_provider_customerly.sync.counts import Counts
    from airflow_provider_customerly.sync.intent import Intent
    from airflow_provider_customerly.sync.ledger import Ledger
    from airflow_provider_customerly.sync.plan_file import Planned


def write_rest(
    location: Location, plan: str, run: str, ledger: Ledger, counts: Counts, intent: Intent
) -> str:
    """Write the rest of a plan as a new plan for the run that will apply it.

    Accepted rows are left out and count as unchanged. Refused rows are not sent again. For rows that the plan
    sends although they had not changed, it is unknown whether they were sent, so they are sent again.

    :param run: unique name of the run.
    :param ledger: the ledger, to which only this plan was applied since the plan was made.
    :param counts: the counts of the plan; they are changed to those of the rest.
    :return: name of the file.
    """
    with PlanWriter(location, f"{FOLDER}/{run}.parquet", intent.notes) as writer:
        for planned in read_plan(location, plan):
            status = _status(ledger, planned)
            if planned.action == "vanished" and status == Status.VANISHED:
                counts.vanished -= 1
            elif planned.action in ("new", "changed") and status == Status.DELIVERED:
                _move(counts, planned.action, "unchanged")
            elif planned.action in ("new", "changed") and status == Status.REFUSED:
                _move(counts, planned.action, "still_refused")
                writer.add(replace(planned, action="still_refused", changed_fields=None))
            else:
                if planned.action in SENDING:
                    counts.changed_fields.update(planned.changed_fields or ())
                writer.add(planned)
        writer.close()
    return writer.name


def _status(ledger: Ledger, planned: Planned) -> Status | None:
    """Return the outcome of a planned row; None if it has none yet."""
    entry = ledger.entry(planned.key)
    if entry is None:
        return None
    is_same = planned.fingerprint is None or entry["row"].tobytes() == planned.fingerprint.row
    return Status(entry["status"]) if is_same else None


def _move(counts: Counts, of: str, to: str) -> None:
    setattr(counts, of, getattr(counts, of) - 1)
    setattr(counts, to, getattr(counts, to) + 1)
