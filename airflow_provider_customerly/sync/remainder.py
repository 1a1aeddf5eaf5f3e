"""What is left of a sealed plan that an earlier try has applied in part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_customerly.sync.ledger import Status, keys_of
from airflow_provider_customerly.sync.plan_file import FOLDER, PlanWriter, read_plan

if TYPE_CHECKING:
    from airflow_provider_customerly.storage import Location
    from airflow_provider_customerly.sync.counts import Counts
    from airflow_provider_customerly.sync.ledger import Ledger
    from airflow_provider_customerly.sync.plan_file import Planned


def write_remainder(location: Location, plan: str, run: str, ledger: Ledger, counts: Counts) -> str:
    """Write down what is left of a plan, as a plan without a seal.

    Rows that were accepted are left out and count as unchanged; those that were refused are not sent again.
    Rows that the plan sends though they had not changed do not show whether they were sent, so they are sent
    once more.

    :param run: unique name of the run.
    :param ledger: nothing but the plan was entered into it since the plan was made.
    :param counts: the plan's figures; become those of what is left.
    :return: name of the file.
    """
    with PlanWriter(location, f"{FOLDER}/{run}.parquet") as writer:
        for planned in read_plan(location, plan):
            status = _status(ledger, planned)
            if planned.action == "vanished" and status == Status.VANISHED:
                counts.vanished -= 1
            elif planned.action in ("new", "changed") and status == Status.DELIVERED:
                _move(counts, planned.action, "unchanged")
            elif planned.action in ("new", "changed") and status == Status.REFUSED:
                _move(counts, planned.action, "still_refused")
                writer.add(planned._replace(action="still_refused", contact=None, changed_fields=None))
            else:
                writer.add(planned)
        writer.close()
    return writer.name


def _status(ledger: Ledger, planned: Planned) -> Status | None:
    """Tell what became of a row as it is planned; None if nothing yet."""
    [position] = ledger.find(keys_of([planned.key])) if planned.key else [-1]
    if position < 0:
        return None
    entry = ledger.entries[position]
    is_same = planned.fingerprint is None or entry["row"].tobytes() == planned.fingerprint.row
    return Status(entry["status"]) if is_same else None


def _move(counts: Counts, of: str, to: str) -> None:
    setattr(counts, of, getattr(counts, of) - 1)
    setattr(counts, to, getattr(counts, to) + 1)
