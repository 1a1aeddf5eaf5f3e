"""Apply a plan, and record the outcome of each row as soon as it is known."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_customerly.delivery.deliver import deliver_by
from airflow_provider_customerly.delivery.outcomes import Verdict, judge
from airflow_provider_customerly.sync.fingerprint import Fingerprints
from airflow_provider_customerly.sync.journal import Journal
from airflow_provider_customerly.sync.keys import keys_of
from airflow_provider_customerly.sync.ledger import GONE, Outcomes, Status, entries_of, entry_type, packed
from airflow_provider_customerly.sync.plan_file import SENDING, entries_in, read_in_batches, rows_of
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
    from airflow_provider_customerly.sync.ledger import Ledger
    from airflow_provider_customerly.sync.options import Options
    from airflow_provider_customerly.sync.plan_file import Planned
    from airflow_provider_customerly.sync.state import State
    from airflow_provider_customerly.sync.vanished import Fate

log = logging.getLogger(__name__)

_VANISHED_AT_ONCE = 1_000
_MOST_TRIED_AGAIN = 10_000
"""The most refused rows to keep in memory for another attempt at the end."""
_MOST_ROUNDS = 5
_UNKNOWN_REFUSAL = (
    "Refused by an earlier run, whose reason is no longer available; set retry_rejects=True to get a fresh "
    "reason."
)
_NOT_NEEDED = ("changed_fields", "is_there", "held", "edited_fields")
"""What a plan has for people to read."""
_LOST_ANSWER = (
    "It was sent, and no answer says what became of it: it may have arrived. The next run sends it again."
)


class _Row(Outgoing, frozen=True, gc=False):
    """A row of the plan that is sent, or was refused and may be sent again.

    :param entry: its entry in the ledger once it is delivered, as bytes; without the time.
    """

    email: str | None
    entry: bytes


class _Refused(NamedTuple):
    """A row that was refused.

    :param is_old: whether an earlier run had it refused and it has not changed.
    """

    row: _Row
    reject: Reject
    is_old: bool = False


class Application:
    """One plan being applied. It may crash at any point: what the journal lacks is sent again.

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
        self._entry_type = entry_type(len(ledger.fields))
        self._prepared: dict[bytes, _Row] = {}
        """Rows that are about to be sent."""
        self._under_way: dict[bytes, _Row] = {}
        """Rows that were sent, and whose response is not in the journal yet."""
        self._refused: dict[bytes, _Refused] = {}
        self._undelivered: set[str | None] = set()
        self._invalid: set[bytes] = set()
        self._vanished: set[bytes] = set()
        self._vanishing: set[bytes] = set()
        """Vanished contacts for which a request may have been sent."""
        self._outcomes = Outcomes(len(ledger.fields), counts.to_send + counts.settled)
        self._clock = ProgressClock(log)

    def send(self, plan: str) -> None:
        """Send the rows that the plan sends, and note the others."""
        self._deliver(self._outgoing(plan))
        self.journal.flush()
        self._try_refused_again()

    def finish_vanished(self) -> None:
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
        unsure = {entry["key"].tobytes() for entry in entries if entry["status"] == Status.UNKNOWN}
        if not wanted:
            self.journal.flush()
            return
        self._vanishing = set(wanted)
        refused_now = {same_user_id(one.row.contact.get("user_id")) for one in self._refused.values()}
        undelivered = {user_id for user_id in self._undelivered | refused_now if user_id}
        handle_vanished(
            self._client,
            self._options.contact_type,
            self._fingerprints,
            Vanished(wanted, unsure, self._present_users(keys), undelivered, self._is_in_source),
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
        for key, row in self._under_way.items():
            self._counts.unknown += 1
            self._counts.refused -= self._refused.pop(key, None) is not None
            self._reject(row.number, row.email, key, Problem("unknown", None, _LOST_ANSWER))
        self._outcomes.add(self._unanswered())
        self._write_refused()
        return self._outcomes.array

    def leave(self) -> None:
        """Record in the journal what may have been done, for the next run."""
        unknown = self._unanswered()
        if len(unknown):
            self.journal.write(unknown)

    def _unanswered(self) -> npt.NDArray[Any]:
        """Return entries for what may have been done."""
        rows = self._entries(self._under_way.values(), Status.UNKNOWN)
        leaving = self._ledger.entries[self._ledger.find(keys_of(self._vanishing))]
        leaving["status"][leaving["status"] != Status.UNKNOWN] = Status.LEAVING
        leaving["at"] = int(time.time())
        return np.concatenate([rows, leaving])

    def _entries(self, rows: Iterable[_Row], status: Status) -> npt.NDArray[Any]:
        entries = np.frombuffer(bytearray().join([row.entry for row in rows]), self._entry_type)
        entries["status"], entries["at"] = status, int(time.time())
        return entries

    def _deliver(self, rows: Iterable[Outgoing]) -> None:
        def upsert(group: list[Outgoing]) -> Verdict:
            self._state.lock.raise_if_lost()
            for row in group:
                if (prepared := self._prepared.pop(row.key, None)) is not None:
                    self._under_way[row.key] = prepared
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
        for batch in read_in_batches(self._state.location, plan, leave_out=_NOT_NEEDED):
            is_sent = pc.is_in(batch["action"], pa.array(SENDING))
            self._note_unsent(rows_of(batch.filter(pc.invert(is_sent)).to_pydict()))
            yield from self._prepare(_rows(batch.filter(is_sent), self._entry_type))

    def _prepare(self, rows: Iterable[_Row]) -> Iterator[_Row]:
        for row in rows:
            self._prepared[row.key] = row
            yield row

    def _note_unsent(self, rows: Iterable[Planned]) -> None:
        settled = []
        for planned in rows:
            if planned.action == "vanished":
                self._vanished.add(planned.key)
            elif planned.action == "invalid":
                self._undelivered.add(same_user_id(planned.user_id))
                self._invalid.add(planned.key)
                with self._noting:
                    problem = Problem(planned.reason or "bad_value", planned.field, planned.message or "")  # type: ignore[arg-type]
                    self._reject(planned.number, planned.email, planned.key, problem)
            elif planned.action == "settled":
                settled.append(_row(planned))
            else:
                with self._noting:
                    self._note_still_refused(planned)
        if settled:  # Customerly has them already
            entries = self._entries(settled, Status.DELIVERED)
            self.journal.note(entries, partial(self._remember, entries))

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
        self._keep_refused(_Refused(_row(planned), before, is_old=True))

    def _settle(self, settled: list[Settled]) -> None:
        entries = self._entries([self._under_way[row.key] for row, _ in settled], Status.DELIVERED)
        entries["status"][[problem is not None for _, problem in settled]] = Status.REFUSED
        self.journal.note(entries, partial(self._remember, entries, settled))

    def _remember(self, entries: npt.NDArray[Any], settled: Iterable[Settled] = ()) -> None:
        """Accept what the journal now has."""
        with self._noting:
            self._outcomes.add(entries)
            for row, problem in settled:
                self._note_answer(self._under_way.pop(row.key), problem)
            self._tell_progress()

    def _note_answer(self, row: _Row, problem: Problem | None) -> None:
        was_refused = self._refused.pop(row.key, None) is not None
        if problem is None:
            self._counts.sent += 1
            self._counts.refused -= was_refused
            return
        self._counts.refused += not was_refused
        reject = Reject(self._state.run, row.number, row.email, row.key.hex(), *problem)
        self._keep_refused(_Refused(row, reject))

    def _keep_refused(self, refused: _Refused) -> None:
        if len(self._refused) < _MOST_TRIED_AGAIN:
            self._refused[refused.row.key] = refused
        else:
            self._leave_refused(refused)

    def _leave_refused(self, refused: _Refused) -> None:
        self._undelivered.add(same_user_id(refused.row.contact.get("user_id")))
        self._write_reject(refused.reject)

    def _try_refused_again(self) -> None:
        """Send refused rows again, because an email or user_id that another row gave up is free by now."""
        for _ in range(_MOST_ROUNDS):
            old_too = self._is_something_given_up()
            again = [one.row for one in self._refused.values() if old_too or not one.is_old]
            if not again or not self._counts.sent:
                return
            log.info("Sending %s again", count(len(again), "refused row"))
            unknown = self._entries(again, Status.UNKNOWN)
            self.journal.note(unknown, partial(self._remember, unknown))
            self.journal.flush()
            sent_before = self._counts.sent
            self._deliver(self._prepare(again))
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
        is_held = np.isin(self._ledger.entries["status"], (Status.DELIVERED, Status.LEAVING))
        held = np.where(is_held, self._ledger.entries["user"], 0)
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
        waiting = list(keys)
        for start in range(0, len(waiting), _VANISHED_AT_ONCE):
            some = waiting[start : start + _VANISHED_AT_ONCE]
            entries = entries_of(keys_of(some), len(self._ledger.fields), Status.VANISHED, int(time.time()))
            if is_gone:
                entries["row"] = np.frombuffer(GONE, np.uint64)
            self.journal.note(entries, partial(self._remember_vanished, entries, some, fate))

    def _remember_vanished(self, entries: npt.NDArray[Any], keys: list[bytes], fate: Fate) -> None:
        self._remember(entries)
        self._vanishing.difference_update(keys)
        if fate == "handled":
            self._counts.vanished_handled += len(keys)
        elif fate == "not_found":
            self._counts.not_found += len(keys)
        else:
            self._counts.became_users += len(keys)

    def _write_refused(self) -> None:
        for refused in sorted(self._refused.values(), key=lambda one: one.row.number):
            self._leave_refused(refused)
        self._refused.clear()

    def _reject(self, number: int, email: str | None, key: bytes, problem: Problem) -> None:
        self._write_reject(Reject(self._state.run, number, email, key.hex(), *problem))

    def _write_reject(self, reject: Reject) -> None:
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


def _rows(batch: pa.RecordBatch, kind: np.dtype[Any]) -> Iterator[_Row]:
    """Return rows of a plan that are to be sent."""
    numbers, keys, emails = (batch[name].to_pylist() for name in ("row", "key", "email"))
    texts = map(msgspec.Raw, batch["contact"].cast(pa.binary()).to_pylist())
    entries = entries_in(batch, kind).tobytes()
    packed_ones = [entries[at : at + kind.itemsize] for at in range(0, len(entries), kind.itemsize)]
    return map(_Row, numbers, map(bytes.fromhex, keys), texts, emails, packed_ones)


def _row(planned: Planned) -> _Row:
    contact, fingerprint = planned.contact, planned.fingerprint
    assert contact is not None and fingerprint is not None  # noqa: S101, PT018  # each such row has both
    text = msgspec.Raw(contact.encode())
    entry = packed(planned.key, fingerprint, Status.DELIVERED, 0)
    return _Row(planned.number, planned.key, text, planned.email, entry)
