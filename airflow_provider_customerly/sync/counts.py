"""Counts of what became of every row. They must add up."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

_TOP_REASONS = 5


@dataclasses.dataclass
class Counts:
    """The counts of one run. Each row read has exactly one outcome; see ``check_settled``."""

    rows_read: int = 0
    new: int = 0
    """To be sent because the contact is not in the ledger."""
    changed: int = 0
    """To be sent because a mapped field changed."""
    again: int = 0
    """To be sent although no field changed: retried rejects, contacts that came back, ``full_resync``."""
    unchanged: int = 0
    """Not to be sent because nothing would change."""
    settled: int = 0
    """``unchanged`` rows that changed since the last delivery, but equal what Customerly holds."""
    invalid: int = 0
    """Not to be sent because the row breaks a rule."""
    still_refused: int = 0
    """Not to be sent because Customerly refused the same row before."""
    vanished: int = 0
    """Contacts in the ledger that are no longer in the source."""
    sent: int = 0
    """Accepted by Customerly, whether created or updated."""
    refused: int = 0
    """Refused by Customerly, in this run or before."""
    unknown: int = 0
    """Sent, but the response was lost and the run failed. The next run sends them again."""
    vanished_handled: int = 0
    """Vanished contacts for which ``on_vanished`` was carried out."""
    not_found: int = 0
    """Vanished contacts that Customerly does not have under their email or ``user_id``."""
    became_users: int = 0
    """Vanished leads that are users now. They are left alone."""
    reasons: Counter[str] = dataclasses.field(default_factory=Counter)
    """Rows that were not delivered, by reason and field, such as ``nested_value in attributes.meta``."""
    changed_fields: Counter[str] = dataclasses.field(default_factory=Counter)
    """Changed rows to send, by changed field. A row may count for several fields."""

    def __str__(self) -> str:
        shown = {name: value for name, value in self.to_dict().items() if value and isinstance(value, int)}
        return ", ".join(f"{name} {value}" for name, value in shown.items()) or "no rows"

    @property
    def to_send(self) -> int:
        """Rows that this run sends."""
        return self.new + self.changed + self.again

    @property
    def rejects(self) -> int:
        """Rows that should have been delivered but were not."""
        return self.invalid + self.refused

    def reject(self, reason: str, field: str | None) -> None:
        """Count a row that is not delivered."""
        self.reasons[reason if field is None or reason.endswith(field) else f"{reason} in {field}"] += 1

    def top_reasons(self) -> str:
        """Return the most frequent reasons with their counts."""
        return ", ".join(f"{reason}: {count}" for reason, count in self.reasons.most_common(_TOP_REASONS))

    def check_planned(self) -> None:
        """Check that each row read was planned exactly once.

        :raises AssertionError: a row was lost or counted twice, which is a bug in this package.
        """
        planned = self.to_send + self.unchanged + self.invalid + self.still_refused
        if planned != self.rows_read:
            raise AssertionError(
                f"{planned} rows were planned, but {self.rows_read} were read: {self!r}. Report this bug."
            )

    def check_settled(self) -> None:
        """Check that each row read has exactly one outcome.

        :raises AssertionError: a row was lost or counted twice, which is a bug in this package.
        """
        settled = self.sent + self.unchanged + self.refused + self.invalid
        if settled != self.rows_read:
            raise AssertionError(
                f"{settled} rows have an outcome, but {self.rows_read} were read: {self!r}. Report this bug."
            )

    @classmethod
    def from_dict(cls, figures: dict[str, Any]) -> Counts:
        """Read the result of ``to_dict``."""
        counters = {name: Counter(figures.get(name, {})) for name in ("reasons", "changed_fields")}
        return cls(**{**figures, **counters})

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        counters = {"reasons": dict(self.reasons), "changed_fields": dict(self.changed_fields)}
        return {**dataclasses.asdict(self), **counters}
