"""Carries a plan out, and writes down what became of each row before the next request is sent."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from airflow_provider_customerly.sync.deliver import deliver
from airflow_provider_customerly.sync.fingerprint import FIELD_BYTES, KEY_BYTES, Fingerprint, Fingerprints
from airflow_provider_customerly.sync.journal import Journal
from airflow_provider_customerly.sync.ledger import Status, entry_type, keys_of, packed
from airflow_provider_customerly.sync.plan_file import SENDING, Planned, read_plan
from airflow_provider_customerly.sync.rejects import Reject, RejectWriter
from airflow_provider_customerly.sync.rows import Outgoing, Settled
from airflow_provider_customerly.sync.vanished import handle_vanished, same_user_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from airflow_provider_customerly.client import Client, ContactType
    from airflow_provider_customerly.sync.counts import Counts
    from airflow_provider_customerly.sync.ledger import Ledger
    from airflow_provider_customerly.sync.state import State
    from airflow_provider_customerly.sync.vanished import OnVanished

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 5.0
_VANISHED_AT_ONCE = 1_000
_UNKNOWN_REFUSAL = (
    "refused by an earlier run, whose reason is not at hand any more; set retry_rejects=True to hear it again"
)


class Application:
    """One plan being applied. Each step may be cut short at any point: the journal has what was answered.

    :param ledger: about the plan's fields; follows when the work is over: see `enter`.
    :param counts: the plan's figures; those of the outcome are added.
    :param rejects: takes the rows that are not delivered.
    """

    def __init__(
        self,
        client: Client,
        contact_type: ContactType,
        state: State,
        ledger: Ledger,
        counts: Counts,
        rejects: RejectWriter,
    ) -> None:
        self._client = client
        self._contact_type = contact_type
        self._state = state
        self._ledger = ledger
        self._counts = counts
        self._rejects = rejects
        self._journal = Journal(state.location, state.run, ledger)
        self._under_way: dict[bytes, tuple[Fingerprint, str | None]] = {}
        self._entries = bytearray()
        self._begun = self._said = time.monotonic()

    def note_undelivered(self, plan: str, earlier: Mapping[str, Reject]) -> None:
        """Write down the rows that are not going to be sent.

        :param earlier: rejects of the run before, by key.
        """
        for planned in read_plan(self._state.location, plan, ("invalid", "still_refused")):
            if planned.action == "invalid":
                self._reject(planned, self._state.run, planned.reason or "", planned.field, planned.message)
            else:
                before = earlier.get(planned.key.hex())
                if before is None:
                    self._reject(planned, self._state.run, "refused", None, _UNKNOWN_REFUSAL)
                else:
                    self._reject(planned, before.run, before.reason, before.field, before.message)
        self._counts.refused += self._counts.still_refused

    def send(self, plan: str, batch_size: int, max_concurrency: int) -> None:
        """Deliver the rows that are to be sent."""
        deliver(
            self._client,
            self._contact_type,
            self._outgoing(plan),
            self._settle,
            batch_size=batch_size,
            max_concurrency=max_concurrency,
        )

    def handle_vanished(
        self, plan: str, on_vanished: OnVanished, fingerprints: Fingerprints, tags: Sequence[str]
    ) -> None:
        """Do what is to be done with the contacts that are no longer in the source."""
        keys = {planned.key for planned in read_plan(self._state.location, plan, ("vanished",))}
        if not keys:
            return
        if on_vanished != "keep":
            # The email of a row that was refused may well be that of somebody else's contact.
            refused = self._refused_among(keys)
            if refused:
                log.info("%d vanished contacts had been refused and are left alone", len(refused))
                self._vanish(refused)
            keys -= refused
            handle_vanished(
                self._client,
                self._contact_type,
                fingerprints,
                keys,
                self._undelivered_user_ids(plan),
                on_vanished,
                tags,
                self._vanish,
                self._state.lock.raise_if_lost,
            )
        else:
            self._vanish(keys)

    def _refused_among(self, keys: set[bytes]) -> set[bytes]:
        entries = self._ledger.entries[self._ledger.find(keys_of(keys))]
        return {entry["key"].tobytes() for entry in entries if entry["status"] == Status.REFUSED}

    def _undelivered_user_ids(self, plan: str) -> set[str]:
        answered = self._answered()
        refused = {key.tobytes() for key in answered["key"][answered["status"] == Status.REFUSED]}
        undelivered = (
            same_user_id(planned.user_id)
            for planned in read_plan(self._state.location, plan, (*SENDING, "invalid", "still_refused"))
            if planned.action not in SENDING or planned.key in refused
        )
        return {user_id for user_id in undelivered if user_id}

    def enter(self) -> bool:
        """Enter into the ledger what was done; tell whether there was anything."""
        answered = self._answered()
        self._ledger.update(answered)
        return len(answered) > 0

    def _answered(self) -> npt.NDArray[Any]:
        """Give what was answered in this run; while the array is there, nothing can be added."""
        return np.frombuffer(self._entries, entry_type(len(self._ledger.fields)))

    def _outgoing(self, plan: str) -> Iterator[Outgoing]:
        for planned in read_plan(self._state.location, plan, SENDING):
            assert planned.fingerprint is not None  # noqa: S101  # the planner gives each such row one
            self._under_way[planned.key] = planned.fingerprint, planned.email
            yield Outgoing(planned.number, planned.key, msgspec.json.decode(planned.contact or "{}"))

    def _settle(self, settled: list[Settled]) -> None:
        now = int(time.time())
        entries = []
        for row, problem in settled:
            fingerprint, email = self._under_way.pop(row.key)
            if problem is None:
                self._counts.sent += 1
            else:
                self._counts.refused += 1
                self._counts.reasons[problem.reason] += 1
                self._rejects.add(Reject(self._state.run, row.number, email, row.key.hex(), *problem))
            status = Status.DELIVERED if problem is None else Status.REFUSED
            entries.append((row.key, fingerprint, status, now))
        self._remember(entries)

    def _vanish(self, keys: Iterable[bytes]) -> None:
        nothing = Fingerprint(bytes(KEY_BYTES), bytes(FIELD_BYTES * len(self._ledger.fields)))
        now = int(time.time())
        waiting = list(keys)
        for start in range(0, len(waiting), _VANISHED_AT_ONCE):
            some = waiting[start : start + _VANISHED_AT_ONCE]
            self._remember([(key, nothing, Status.VANISHED, now) for key in some])
            self._counts.vanished_handled += len(some)

    def _remember(self, entries: list[tuple[bytes, Fingerprint, Status, int]]) -> None:
        self._journal.write(entries)
        for entry in entries:
            self._entries += packed(*entry)
        self._state.lock.raise_if_lost()
        self._tell()

    def _reject(
        self, planned: Planned, run: str, reason: str, field: str | None, message: str | None
    ) -> None:
        self._counts.reasons[reason] += 1
        self._rejects.add(
            Reject(run, planned.number, planned.email, planned.key.hex(), reason, field, message or "")
        )

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = now
            done = self._counts.sent + self._counts.refused - self._counts.still_refused
            log.info(
                "%d of %d rows answered, %.0f/s, %d refused, %d requests",
                done,
                self._counts.to_send,
                done / (now - self._begun),
                self._counts.refused,
                self._client.requests_sent,
            )
