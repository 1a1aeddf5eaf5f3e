"""What became of every row, in numbers that must add up."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any


@dataclasses.dataclass
class Counts:
    """The figures of one run. Each row read has exactly one outcome: see `check`."""

    rows_read: int = 0
    new: int = 0
    """To be sent, because the ledger does not know the contact."""
    changed: int = 0
    """To be sent, because a mapped field changed."""
    again: int = 0
    """To be sent, though no field changed: retried rejects, contacts that came back, `full_resync`."""
    unchanged: int = 0
    invalid: int = 0
    """Not to be sent, because the row breaks a rule."""
    still_refused: int = 0
    """Not to be sent, because Customerly refused the same row before."""
    vanished: int = 0
    """Contacts of the ledger that are no longer in the source."""
    sent: int = 0
    """Accepted by Customerly, created and updated alike."""
    refused: int = 0
    """Refused by Customerly, in this run or before."""
    vanished_handled: int = 0
    """Vanished contacts with which `on_vanished` was done."""
    reasons: Counter[str] = dataclasses.field(default_factory=Counter)
    """Rows that were not delivered, by reason."""

    def __str__(self) -> str:
        shown = {name: value for name, value in self.to_dict().items() if value and name != "reasons"}
        return ", ".join(f"{name} {value}" for name, value in shown.items()) or "no rows"

    @property
    def to_send(self) -> int:
        """Rows that this run is to send."""
        return self.new + self.changed + self.again

    @property
    def rejects(self) -> int:
        """Rows that are not delivered and should be."""
        return self.invalid + self.refused

    def check_planned(self) -> None:
        """Make sure that each row read was put into one class.

        :raises AssertionError: a row was lost or counted twice: a defect of this package.
        """
        planned = self.to_send + self.unchanged + self.invalid + self.still_refused
        if planned != self.rows_read:
            raise AssertionError(f"{planned} rows planned of {self.rows_read} read: {self!r}. Report this.")

    def check_settled(self) -> None:
        """Make sure that each row read has one outcome.

        :raises AssertionError: a row was lost or counted twice: a defect of this package.
        """
        settled = self.sent + self.unchanged + self.refused + self.invalid
        if settled != self.rows_read:
            raise AssertionError(f"{settled} rows settled of {self.rows_read} read: {self!r}. Report this.")

    @classmethod
    def from_dict(cls, figures: dict[str, Any]) -> Counts:
        """Read what `to_dict` gave."""
        return cls(**{**figures, "reasons": Counter(figures["reasons"])})

    def to_dict(self) -> dict[str, Any]:
        """Give the figures as JSON values."""
        return {**dataclasses.asdict(self), "reasons": dict(self.reasons)}
