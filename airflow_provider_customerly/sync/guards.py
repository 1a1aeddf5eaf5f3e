"""Limits that stop a sync before its first write, and the one that makes it fail after its last."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from airflow_provider_customerly.sync.counts import Counts


class SyncGuardError(Exception):
    """A guard stopped a sync before anything was sent: look at the figures, then decide."""


class Limit(msgspec.Struct, frozen=True):
    """A number of rows, or a share of a whole."""

    value: float
    is_share: bool

    def of(self, whole: int) -> int:
        """Give the number of rows that the limit allows out of `whole`."""
        # By its text: as a float, 0.29 of 100 is less than 29.
        return int(Fraction(str(self.value)) * (whole if self.is_share else 1))

    def __str__(self) -> str:
        return f"{self.value:g}"


def limit(name: str, value: float | str) -> Limit:
    """Read a limit: an integer is a number of rows, a fraction a share from 0.0 to 1.0; both may be text.

    :raises ValueError: it is neither; the text says so.
    """
    text = str(value)
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    is_share = not text.strip().lstrip("+").isdecimal()
    if not 0 <= number <= (1 if is_share else float("inf")):
        raise ValueError(
            f"{name} must be a number of rows, such as 5, or a share from 0.0 to 1.0. It is {value!r}."
        )
    return Limit(number, is_share)


class Guards(msgspec.Struct, frozen=True, kw_only=True):
    """What must hold of a plan before anything is sent.

    :param min_rows: fewest rows that the source must have.
    :param max_changes: most rows to send; a share is one of the contacts that were in the source the last
        time, and is not applied to a first run, which has none.
    :param max_vanished: most contacts that may have disappeared from the source; a share is one of the
        contacts that were in it the last time.
    """

    min_rows: int = 1
    max_changes: Limit | None = None
    max_vanished: Limit = Limit(0.1, is_share=True)

    def check(self, counts: Counts, living: int) -> None:
        """Hold a plan against the guards.

        :param living: contacts of the ledger that were in the source the last time.
        :raises SyncGuardError: one is breached; the text names it with the figures.
        """
        if breach := self.breach(counts, living):
            raise SyncGuardError(breach)

    def breach(self, counts: Counts, living: int) -> str | None:
        """Tell which guard a plan breaches, if any, with the figures; the parameters are those of `check`."""
        if counts.rows_read < self.min_rows:
            return (
                f"The source gave {counts.rows_read} rows, fewer than min_rows={self.min_rows}. Nothing was "
                "sent. Look at the query and the table; if that is right, lower min_rows for one run."
            )
        if counts.vanished > self.max_vanished.of(living):
            return (
                f"{counts.vanished} of {living} contacts are no longer in the source, more than "
                f"max_vanished={self.max_vanished} allows. Nothing was sent. Look at the query and the "
                "table; if that is right, raise max_vanished for one run."
            )
        most = self.max_changes
        if most and (living or not most.is_share) and counts.to_send > most.of(living):
            return (
                f"{counts.to_send} rows are to be sent ({counts.new} new, {counts.changed} changed, "
                f"{counts.again} again), more than max_changes={most} allows with {living} "
                "contacts known. Nothing was sent. If that is right, raise max_changes for one run."
            )
        return None
