"""Apply a plan, and record the outcome of each row as soon as it is known."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec.structs import replace

from airflow_provider_customerly.delivery.deliver import deliver_by
from airflow_provider_customerly.delivery.outcomes import Verdict, judge
from airflow_provider_customerly.sync.fingerprint import FIELD_BYTES, KEY_BYTES, Fingerprint, Fingerprints
from airflow_provider_customerly.sync.journal import Journal
from airflow_provider_customerly.sync.keys import keys_of
from airflow_provider_customerly.sync.ledger import GONE, Outcomes, Status, packed
from airflow_provider_customerly.sync.plan_file import read_plan
from airflow_provider_customerly.sync.rejects import Reject, RejectWriter
from airflow_provider_customerly.sync.state import most_asked
from airflow_provider_customerly.sync.vanished import Vanished, handle_vanished, same_user_id
from airflow_provider_customerly.values.progress import ProgressClock
from airflow_provider_customerly.values.rows import Outgoing, Problem, Settled
from airflow_provider_customerly.values.words import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy.typing as npt

    from airflow_provider_customerly.client import Client
    from airflow_provider_customerly.sync.counts import Counts
    from airflow_provider_customerly.sync.journal import Answer
    from airflow_provider_customerly.sync.ledger import Ledger
    from airflow_provider_customerly.sync.options import Options
    from airflow_provider_customerly.sync.plan_file import Planned
    from airflow_provider_customerly.sync.state import State
    from airflow_provider_customerly.sync.vanished import Fate

log = logging.getLogger(__name__)

_VANISHED_AT_ONCE = 1_000
_UNSENT_AT_ONCE = 1_000
_MOST_TRIED_AGAIN = 10_000
"""The most refused rows to keep in memory for another attempt at the end."""
_MOST_ROUNDS = 5
_UNKNOWN_REFUSAL = (
    "Refused by an earlier run, whose reason is no longer available; set retry_rejects=True to get a fresh "
    "reason."
)
_NOT_NEEDED = ("changed_fields", "is_there", "held", "edited_fields")
"""What a plan has for people to read."""
_LOST_ANSWER = "It was sent and its answer was lost: it may have arrived. The next run sends it again."


class _Sent(msgspec.Struct, frozen=True, gc=False):
    """A row of the plan that is sent, or was refused and may be sent again."""

    row: Outgoing
    email: str | None
    fingerprint: Fingerprint
    reject: Reject | None = None
    """The reject, if the row was refused."""
    is_old: bool = False
    """True if an earlier run had it refused and it has not changed."""


class Application:
    """One plan being applied. It may crash at any point, because the journal has every response.

    :param ledger: the ledger for the plan's fields, as it was before the run.
    :param counts: the plan's counts, to which those of the outcome are added.
    :param rejects: takes the rows that are not delivered.
    :param earlier: rejects of earlier runs, by key.
    """

    def __init__(
        self,
        client: Client,
        options: Options,
        state: State,
        ledger: Ledger,
        counts: Counts,
        rejects: RejectWriter,
        earlier: Mapping[str, Reject],
    ) -> None:
        self._client = client
        self._options = options
        self._state = state
        self._ledger = ledger
        self._counts = counts
        self._rejects = rejects
        self._earlier = earlier
        self._fingerprints = Fingerprints(state.salt, ledger.fields)
        self.journal = Journal(state.location, state.run, state.id, ledger, most_asked(options))
        self._noting = threading.Lock()
        self._prepared: dict[bytes, _Sent] = {}
        """Rows that are about to be sent."""
        self._under_way: dict[bytes, _Sent] = {}
        """Rows that were sent, and whose response is not in the journal yet."""
        self._refused: dict[bytes, _Sent] = {}
        self._undelivered: set[str | None] = set()
        self._invalid: set[bytes] = set()
        self._vanished: set[bytes] = set()
        self._vanishing: set[bytes] = set()
        """Vanished contacts for which a request may have been sent."""
        self._unsent: list[Answer] = []
        """Rows that Customerly has already, to be recorded as delivered."""
        self._outcomes = Outcomes(len(ledger.fields), counts.to_send + counts.settled)
        self._clock = ProgressClock(log)

    def send(self, plan: str) -> None:
        """Send the rows that the plan sends, and note the others."""
        self._deliver(self._outgoing(plan))
        self._remember_unsent()
        self.journal.flush()
        self._try_refused_again()

    def handle_vanished(self) -> None:
        """Carry out ``on_vanished`` for the contacts that are no longer in the source."""
        keys = self._vanished
        if not keys or self._options.on_vanished == "keep":
            self._vanish(keys, "handled")
            self.journal.flush()
            return
        self._ledger.update(self._outcomes.array)
        # The email of a refused row may belong to somebody else's contact.
        entries = self._ledger.entries[self._ledger.find(keys_of(keys))]
        refused = {entry["key"].tobytes() for entry in entries if entry["status"] == Status.REFUSED}
        if refused:
            log.info("%d vanished contacts are left alone, because their rows had been refused", len(refused))
            self._vanish(refused, "handled")
        users = {entry["key"].tobytes(): entry["user"].tobytes() for entry in entries}
        wanted = {key: user for key, user in users.items() if key not in refused}
        if not wanted:
            self.journal.flush()
            return
        self._vanishing = set(wanted)
        refused_now = {same_user_id(sent.row.contact.get("user_id")) for sent in self._refused.values()}
        undelivered = {user_id for user_id in self._undelivered | refused_now if user_id}
        handle_vanished(
            self._client,
            self._options.contact_type,
            self._fingerprints,
            Vanished(wanted, self._present_users(keys), undelivered, self._is_in_source),
            self._options.on_vanished,
            self._options.tags,
            partial(self._vanish, is_looked_up=True),
            self._state.lock,
        )
        self.journal.flush()
        self._vanishing = set()

    def finish(self) -> npt.NDArray[Any]:
        """End the journal, and return what was done and what may have been, as entries of a ledger."""
        self.journal.close()
        now = int(time.time())
        for key, sent in self._under_way.items():
            self._counts.unknown += 1
            self._counts.refused -= self._refused.pop(key, None) is not None
            self._reject(sent.row.number, sent.email, key, Problem("unknown", None, _LOST_ANSWER))
            self._outcomes.add(packed(key, sent.fingerprint, Status.UNKNOWN, now))
        for key in self._vanishing:
            self._outcomes.add(packed(key, self._nothing, Status.UNKNOWN, now))
        self._write_refused()
        return self._outcomes.array

    def leave(self) -> None:
        """Record in the journal what may have been done, for the next run."""
        now = int(time.time())
        unknown: list[Answer] = [
            *((key, sent.fingerprint, Status.UNKNOWN, now) for key, sent in self._under_way.items()),
            *((key, self._nothing, Status.UNKNOWN, now) for key in self._vanishing),
        ]
        if unknown:
            self.journal.write(unknown)

    @property
    def _nothing(self) -> Fingerprint:
        return Fingerprint(bytes(KEY_BYTES), bytes(FIELD_BYTES * len(self._ledger.fields)))

    def _deliver(self, rows: Iterable[Outgoing]) -> None:
        def upsert(group: list[Outgoing]) -> Verdict:
            self._state.lock.raise_if_lost()
            for row in group:
                if (sent := self._prepared.pop(row.key, None)) is not None:
                    self._under_way[row.key] = sent
            contacts = [row.text for row in group]
            return judge(group, self._client.upsert_contacts(self._options.contact_type, contacts))

        deliver_by(
            upsert,
            f"POST /{self._options.contact_type}",
            self._client,
            rows,
            self._settle,
            batch_size=self._options.batch_size,
            max_concurrency=self._options.max_concurrency,
            ahead=self._options.max_concurrency,
        )

    def _outgoing(self, plan: str) -> Iterator[Outgoing]:
        """Read the plan once: yield what is to be sent, and note the rest."""
        for planned in read_plan(self._state.location, plan, leave_out=_NOT_NEEDED):
            if planned.action == "vanished":
                self._vanished.add(planned.key)
            elif planned.action == "invalid":
                self._undelivered.add(same_user_id(planned.user_id))
                self._invalid.add(planned.key)
                with self._noting:
                    problem = Problem(planned.reason or "bad_value", planned.field, planned.message or "")  # type: ignore[arg-type]
                    self._reject(planned.number, planned.email, planned.key, problem)
            elif planned.action == "settled":
                self._settle_unsent(planned)
            elif planned.action == "still_refused":
                with self._noting:
                    self._note_still_refused(planned)
            else:
                yield self._outgoing_row(_sent(planned))

    def _outgoing_row(self, sent: _Sent) -> Outgoing:
        self._prepared[sent.row.key] = sent
        return sent.row

    def _settle_unsent(self, planned: Planned) -> None:
        assert planned.fingerprint is not None  # noqa: S101  # the planner gives each such row one
        self._unsent.append((planned.key, planned.fingerprint, Status.DELIVERED, int(time.time())))
        if len(self._unsent) == _UNSENT_AT_ONCE:
            self._remember_unsent()

    def _remember_unsent(self) -> None:
        if unsent := self._unsent:
            self._unsent = []
            self.journal.note(unsent, partial(self._remember, unsent))

    def _note_still_refused(self, planned: Planned) -> None:
        before = self._earlier.get(planned.key.hex()) or Reject(
            self._state.run,
            planned.number,
            planned.email,
            planned.key.hex(),
            "refused",
            None,
            _UNKNOWN_REFUSAL,
        )
        self._counts.refused += 1
        self._keep_refused(planned.key, replace(_sent(planned), reject=before, is_old=True))

    def _settle(self, settled: list[Settled]) -> None:
        now = int(time.time())
        answers: list[Answer] = [
            (
                row.key,
                self._under_way[row.key].fingerprint,
                Status.DELIVERED if problem is None else Status.REFUSED,
                now,
            )
            for row, problem in settled
        ]
        self.journal.note(answers, partial(self._remember, answers, settled))

    def _remember(self, answers: list[Answer], settled: Iterable[Settled] = ()) -> None:
        """Accept what the journal now has."""
        with self._noting:
            for answer in answers:
                self._outcomes.add(packed(*answer))
            for row, problem in settled:
                self._note_answer(row, self._under_way.pop(row.key), problem)
            self._tell_progress()

    def _note_answer(self, row: Outgoing, sent: _Sent, problem: Problem | None) -> None:
        was_refused = self._refused.pop(row.key, None) is not None
        if problem is None:
            self._counts.sent += 1
            self._counts.refused -= was_refused
            return
        self._counts.refused += not was_refused
        reject = Reject(self._state.run, row.number, sent.email, row.key.hex(), *problem)
        self._keep_refused(row.key, replace(sent, reject=reject))

    def _keep_refused(self, key: bytes, sent: _Sent) -> None:
        if len(self._refused) < _MOST_TRIED_AGAIN:
            self._refused[key] = sent
        else:
            self._undelivered.add(same_user_id(sent.row.contact.get("user_id")))
            self._write_reject(sent.reject)

    def _try_refused_again(self) -> None:
        """Send refused rows again, because an email or user_id that another row gave up is free by now."""
        for _ in range(_MOST_ROUNDS):
            old_too = self._is_something_given_up()
            again = {
                key: sent
                for key, sent in self._refused.items()
                if sent.row.contact and (old_too or not sent.is_old)
            }
            if not again or not self._counts.sent:
                return
            log.info("Sending %s again", count(len(again), "refused row"))
            now = int(time.time())
            unknown: list[Answer] = [
                (key, sent.fingerprint, Status.UNKNOWN, now) for key, sent in again.items()
            ]
            self.journal.note(unknown, partial(self._remember, unknown))
            self.journal.flush()
            sent_before = self._counts.sent
            self._deliver(map(self._outgoing_row, again.values()))
            self.journal.flush()
            if self._counts.sent == sent_before:
                return

    def _is_something_given_up(self) -> bool:
        """Return whether a delivered row gave up an email or a user_id that another row may need."""
        if not len(self._ledger):
            return False
        answered = self._outcomes.array
        is_delivered = (answered["status"] == Status.DELIVERED) & (answered["user"] != 0)
        if not is_delivered.any():
            return False
        held = np.where(self._ledger.entries["status"] == Status.DELIVERED, self._ledger.entries["user"], 0)
        at = self._ledger.find(answered["key"][is_delivered])
        users = answered["user"][is_delivered]
        before = np.where(at >= 0, held[at], 0)
        has_changed = before != users
        # A new email may belong to a customer who had another one before, even if that one's row was refused.
        return bool((has_changed & ((before != 0) | (at < 0) | np.isin(users, held))).any())

    def _is_in_source(self, key: bytes) -> bool:
        entry = self._ledger.entry(key)
        is_known = entry is not None and entry["status"] != Status.VANISHED
        return key not in self._vanished and (is_known or key in self._invalid)

    def _present_users(self, vanished: set[bytes]) -> set[bytes]:
        entries = self._ledger.entries
        is_present = (entries["status"] == Status.DELIVERED) & (entries["user"] != 0)
        is_present[self._ledger.find(keys_of(vanished))] = False
        return {user.tobytes() for user in entries["user"][is_present]}

    def _vanish(self, keys: Iterable[bytes], fate: Fate, *, is_looked_up: bool = False) -> None:
        is_gone = fate == "not_found" or (
            is_looked_up and fate == "handled" and self._options.on_vanished == "delete"
        )
        nothing = replace(self._nothing, row=GONE) if is_gone else self._nothing
        now = int(time.time())
        waiting = list(keys)
        for start in range(0, len(waiting), _VANISHED_AT_ONCE):
            some = waiting[start : start + _VANISHED_AT_ONCE]
            answers: list[Answer] = [(key, nothing, Status.VANISHED, now) for key in some]
            self.journal.note(answers, partial(self._remember_vanished, answers, fate))

    def _remember_vanished(self, answers: list[Answer], fate: Fate) -> None:
        self._remember(answers)
        self._vanishing.difference_update(key for key, *_ in answers)
        if fate == "handled":
            self._counts.vanished_handled += len(answers)
        elif fate == "not_found":
            self._counts.not_found += len(answers)
        else:
            self._counts.became_users += len(answers)

    def _write_refused(self) -> None:
        for sent in sorted(self._refused.values(), key=lambda sent: sent.row.number):
            self._undelivered.add(same_user_id(sent.row.contact.get("user_id")))
            self._write_reject(sent.reject)
        self._refused.clear()

    def _reject(self, number: int, email: str | None, key: bytes, problem: Problem) -> None:
        self._write_reject(Reject(self._state.run, number, email, key.hex(), *problem))

    def _write_reject(self, reject: Reject | None) -> None:
        assert reject is not None  # noqa: S101  # rows that are refused have one
        self._counts.reject(reject.reason, reject.field)
        self._rejects.add(reject)

    def _tell_progress(self) -> None:
        if not self._clock.is_due():
            return
        done = self._counts.sent + self._counts.refused - self._counts.still_refused
        self._clock.tell(
            "%d of %d rows answered, %.0f/s, %d refused, %d requests",
            done,
            self._counts.to_send,
            self._clock.per_second(done),
            self._counts.refused,
            self._client.requests_sent,
        )


def _sent(planned: Planned) -> _Sent:
    assert planned.fingerprint is not None  # noqa: S101  # the planner gives each such row one
    text = msgspec.Raw((planned.contact or "{}").encode())
    return _Sent(Outgoing(planned.number, planned.key, text), planned.email, planned.fingerprint)
