"""Limits that stop a sync before its first write, or make it fail after its last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.sync.options import allowed, is_share
from airflow_provider_customerly.values.words import count

if TYPE_CHECKING:
    from airflow_provider_customerly.sync.counts import Counts
    from airflow_provider_customerly.sync.options import Limit, Options


class SyncGuardError(Exception):
    """A guard stopped a sync before anything was sent: check the figures, then decide.

    :param counts: the counts of the plan.
    :param living: number of contacts that the ledger does not hold as vanished; see ``Ledger.living``.
    """

    def __init__(self, message: str, counts: Counts, living: int) -> None:
        super().__init__(message)
        self.counts = counts
        self.living = living


def check_guards(options: Options, counts: Counts, living: int) -> None:
    """Check a plan against the guards.

    :param living: number of contacts that the ledger does not hold as vanished; see ``Ledger.living``.
    :raises SyncGuardError: a guard fails. The message has its name and the figures.
    """
    if text := breach(options, counts, living):
        raise SyncGuardError(text, counts, living)


def held_against(options: Options, counts: Counts, living: int) -> list[dict[str, Any]]:
    """Return what each limit allows and the actual values, in rows; ``max_rejects`` comes last.

    The parameters are those of ``check_guards``.
    """
    fewest = options.min_rows
    told = [_told("min_rows", fewest, counts.rows_read, fewest, None, counts.rows_read < fewest)]
    limits = [
        ("max_vanished", options.max_vanished, counts.vanished, living),
        ("max_changes", options.max_changes, counts.to_send, living),
        ("max_rejects", options.max_rejects, counts.rejects, counts.rows_read),
    ]
    for name, limit, value, whole in limits:
        if limit is None or (name == "max_changes" and is_share(limit) and not living):
            continue
        most = allowed(limit, whole)
        told.append(_told(name, limit, value, most, whole if is_share(limit) else None, value > most))
    return told


def _told(
    name: str,
    limit: Limit,
    value: int,
    rows: int,
    of: int | None,
    breached: bool,
) -> dict[str, Any]:
    return {"name": name, "limit": limit, "allowed": rows, "value": value, "of": of, "breached": breached}


def breach(options: Options, counts: Counts, living: int) -> str | None:
    """Return which guard stops a plan, with the figures, or None. Parameters as in ``check_guards``."""
    if counts.rows_read < options.min_rows:
        return (
            f"The source has {count(counts.rows_read, 'row')}, fewer than min_rows={options.min_rows}. "
            "Nothing was sent. Check the query and the table. If this is expected, lower min_rows for one "
            "run."
        )
    if counts.vanished > allowed(options.max_vanished, living):
        return (
            f"{counts.vanished} of {living} contacts are no longer in the source, more than "
            f"max_vanished={options.max_vanished} allows. Nothing was sent. Check the query and the table. "
            "If this is expected, raise max_vanished for one run."
        )
    most = options.max_changes
    if most is None or (is_share(most) and not living):  # the first run has no contacts to compare with
        return None
    if counts.to_send > allowed(most, living):
        return (
            f"{counts.to_send} rows are to be sent ({counts.new} new, {counts.changed} changed, "
            f"{counts.again} again), more than max_changes={most} allows with {living} known "
            "contacts. Nothing was sent. If this is expected, raise max_changes for one run."
        )
    return None
