"""What a run leaves behind: its record, its result, and the error of a run with too many rejects."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly import __version__
from airflow_provider_customerly.client.meter import Meter
from airflow_provider_customerly.sync.guards import held_against
from airflow_provider_customerly.sync.records import Outcome, RunRecord
from airflow_provider_customerly.values.top_counts import most_frequent
from airflow_provider_customerly.values.words import count

if TYPE_CHECKING:
    from airflow_provider_customerly.client import Client
    from airflow_provider_customerly.sync.counts import Counts
    from airflow_provider_customerly.sync.options import Options
    from airflow_provider_customerly.sync.prepare import Prepared
    from airflow_provider_customerly.sync.state import State

_REASONS = 10


class SyncRejectsError(Exception):
    """All good rows were delivered, but more than ``max_rejects`` rows were not: check the rejects.

    :param result: the same as the return value of a successful run.
    """

    def __init__(self, message: str, result: dict[str, Any]) -> None:
        super().__init__(message)
        self.result = result


class Results:
    """Makes the records and results of one run, which begins now."""

    def __init__(self, client: Client, state: State, options: Options) -> None:
        self.comparison: dict[str, Any] | None = None
        """How the rows compare with what Customerly held, if they were compared."""
        self.undo: str | None = None
        """Name of the file from which the run can be undone, if there is one."""
        self._state = state
        self._options = options
        self._meter = Meter(client)
        self._started = datetime.now(timezone.utc)

    def record(
        self,
        prepared: Prepared,
        outcome: Outcome,
        error: BaseException | None = None,
        rejects: str | None = None,
    ) -> RunRecord:
        """Return the record of the run."""
        return RunRecord(
            run=self._state.run,
            sync_name=self._state.sync_name,
            contact_type=self._options.contact_type,
            outcome=outcome,
            error=type(error).__name__ if error else None,
            owner=self._state.owner,
            started_at=self._started,
            finished_at=datetime.now(timezone.utc),
            counts=prepared.counts.to_dict(),
            rejects=rejects,
            plan=prepared.sealed,
            ledger_sequence=prepared.ledger.sequence,
            contacts=int(prepared.ledger.living.sum()),
            fields=list(prepared.ledger.fields),
            requests=self._meter.requests,
            comparison=self.comparison,
            undo=self.undo,
            undoes=prepared.undoes,
            cannot_undo=prepared.cannot_undo,
            versions={"airflow-provider-customerly": __version__, "python": platform.python_version()},
        )

    def result(self, record: RunRecord, prepared: Prepared) -> dict[str, Any]:
        """Return the result of the task: counts, reasons and names of files; no personal data."""
        return {
            **self.figures(record.outcome, prepared.counts, prepared.living),
            "truncated": most_frequent(prepared.truncated),
            "record": record.name,
            "rejects": record.rejects,
            "plan": record.plan,
            "contacts": record.contacts,
            **{
                name: value
                for name in ("comparison", "undo", "undoes", "cannot_undo")
                if (value := getattr(record, name)) is not None
            },
        }

    def figures(self, outcome: str, counts: Counts, living: int) -> dict[str, Any]:
        """Return the part of the result that is known without a record."""
        seconds = (datetime.now(timezone.utc) - self._started).total_seconds()
        return {
            "sync_name": self._state.sync_name,
            "contact_type": self._options.contact_type,
            "outcome": outcome,
            **counts.to_dict(),
            "reasons": most_frequent(counts.reasons),
            "changed_fields": most_frequent(counts.changed_fields),
            "on_vanished": self._options.on_vanished,
            "guards": held_against(self._options, counts, living),
            "path": str(self._state.location),
            **self._meter.figures(),
            "seconds": round(seconds, 3),
        }

    def verdict(self, record: RunRecord, counts: Counts) -> str:
        """Return the error of a run with too many rejects."""
        waiting = counts.vanished - counts.vanished_handled - counts.not_found - counts.became_users
        again = " Refused rows are sent again when they change, or with retry_rejects=True."
        again = again if counts.refused else ""
        lines = [
            f"{counts.rejects} of {count(counts.rows_read, 'row')} were not delivered, more than "
            f"max_rejects={self._options.max_rejects} allows:",
            *reason_lines(counts),
            f"{count(counts.sent, 'row')} sent, {counts.unchanged} unchanged.",
            *([f"Vanished contacts that were left alone: {waiting}."] if waiting else ()),
            f"Fix the rows in the warehouse.{again}",
            "The rows, with reasons:",
            f"{self._state.location}/{record.rejects}",
        ]
        return "\n".join(lines)


def reason_lines(counts: Counts) -> list[str]:
    """Return a line for each of the most frequent reasons."""
    lines = [f"  {reason}: {count}" for reason, count in counts.reasons.most_common(_REASONS)]
    others = len(counts.reasons) - len(lines)
    return [*lines, f"  and {others} other reasons"] if others else lines
