"""Limits that stop a sync before its first write, and the one that makes it fail after its last."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_customerly.sync.counts import Counts
    from airflow_provider_customerly.sync.options import Options


class SyncGuardError(Exception):
    """A guard stopped a sync before anything was sent: look at the figures, then decide."""


Limit = int | float | str
"""A number of rows, such as 5, or a share of a whole from 0.0 to 1.0; either may be text."""


def allowed(limit: Limit, whole: int) -> int:
    """Give the number of rows that a limit allows out of `whole`."""
    # By its text: as a float, 0.29 of 100 is less than 29.
    return int(Fraction(str(limit).strip()) * (whole if is_share(limit) else 1))


def is_share(limit: Limit) -> bool:
    """Tell whether a limit is a share; `1` is a row, `1.0` all of them."""
    return not str(limit).strip().lstrip("+").isdecimal()


def check_limit(name: str, limit: Limit) -> None:
    """Refuse what is no limit.

    :raises ValueError: says what it must be.
    """
    try:
        number = float(limit)
    except ValueError:
        number = -1.0
    if not 0 <= number <= (1 if is_share(limit) else float("inf")):
        raise ValueError(
            f"{name} must be a number of rows, such as 5, or a share from 0.0 to 1.0. It is {limit!r}."
        )


def check_guards(options: Options, counts: Counts, living: int) -> None:
    """Hold a plan against the guards.

    :param living: contacts of the ledger that were in the source the last time.
    :raises SyncGuardError: one is breached; the text names it with the figures.
    """
    if text := breach(options, counts, living):
        raise SyncGuardError(text)


def breach(options: Options, counts: Counts, living: int) -> str | None:
    """Tell which guard a plan breaches, if any, with the figures; the parameters are `check_guards`'s."""
    if counts.rows_read < options.min_rows:
        return (
            f"The source gave {counts.rows_read} rows, fewer than min_rows={options.min_rows}. Nothing was "
            "sent. Look at the query and the table; if that is right, lower min_rows for one run."
        )
    if counts.vanished > allowed(options.max_vanished, living):
        return (
            f"{counts.vanished} of {living} contacts are no longer in the source, more than "
            f"max_vanished={options.max_vanished} allows. Nothing was sent. Look at the query and the "
            "table; if that is right, raise max_vanished for one run."
        )
    most = options.max_changes
    if most is None or (is_share(most) and not living):  # a first run has no contacts to take a share of
        return None
    if counts.to_send > allowed(most, living):
        return (
            f"{counts.to_send} rows are to be sent ({counts.new} new, {counts.changed} changed, "
            f"{counts.again} again), more than max_changes={most} allows with {living} "
            "contacts known. Nothing was sent. If that is right, raise max_changes for one run."
        )
    return None
