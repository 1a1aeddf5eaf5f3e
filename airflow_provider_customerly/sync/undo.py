"""Plan how to undo a run.

A value is restored only if the old one is known. Created contacts are not deleted, deleted ones do not come
back, added tags stay, and a field that was empty keeps its new value, because the API cannot clear one. The
warehouse rows are not read: unless they change, the next sync delivers them again.
"""

from __future__ import annotations

import dataclasses
import hashlib
from contextlib import ExitStack
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec.structs import replace

from airflow_provider_customerly.comparison import UNKNOWN, HeldContacts, is_empty, is_same
from airflow_provider_customerly.sync.compared_with import ComparedWith
from airflow_provider_customerly.sync.comparing import CLOCKS_DIFFER_BY
from airflow_provider_customerly.sync.contact_text import contact_of, values_of
from airflow_provider_customerly.sync.counts import Counts
from airflow_provider_customerly.sync.damage import IDENTITY
from airflow_provider_customerly.sync.fingerprint import FIELD_BYTES, KEY_BYTES, Fingerprint, Fingerprints
from airflow_provider_customerly.sync.ledger import GONE, Status
from airflow_provider_customerly.sync.plan_file import FOLDER, PlanWriter, in_chunks, read_plan
from airflow_provider_customerly.sync.rules import PREFIX
from airflow_provider_customerly.sync.undo_file import find_undo
from airflow_provider_customerly.values.fields import MAX_TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_customerly.comparison import Contact
    from airflow_provider_customerly.sync.compared_with import OnEdited
    from airflow_provider_customerly.sync.ledger import Ledger
    from airflow_provider_customerly.sync.options import Options
    from airflow_provider_customerly.sync.plan_file import Planned
    from airflow_provider_customerly.sync.state import State
    from airflow_provider_customerly.sync.undo_file import UndoNotes


_DELIVERED = (Status.DELIVERED, Status.LEAVING)
"""Those whose digests are of what the contact got last."""
_SECOND = timedelta(seconds=1)
"""The precision of a response's time."""
_EDITED = (
    "A value was edited or delivered again after the run. Choose on_edited='overwrite' to restore the old "
    "value anyway, or 'keep' to keep the new one."
)


@dataclasses.dataclass
class CannotUndo:
    """Counts of rows or contacts that cannot be undone."""

    created: int = 0
    """Contacts that the run created."""
    deleted: int = 0
    """Contacts that the run deleted because they had vanished from the source, and those that are gone since,
    or may be."""
    unsubscribed: int = 0
    """Contacts that the run unsubscribed for the same reason."""
    tags: int = 0
    """Rows that added tags, and vanished contacts whose tags were removed."""
    empty: int = 0
    """Rows with a field that was empty before the run."""
    unknown: int = 0
    """Rows with a field whose old value is unknown, or not accepted by the API."""

    def to_dict(self) -> dict[str, int]:
        """Return the documented counts, and the others if they are not zero."""
        always = ("created", "deleted", "tags", "empty")
        return {name: n for name, n in dataclasses.asdict(self).items() if n or name in always}


class _Undone(NamedTuple):
    """How a row is undone."""

    back: dict[str, Any]
    """Fields to restore, with their old values."""
    now: dict[str, Any]
    """Their current values."""
    edited: list[str]


class UndoPlanner:
    """Make the plan that undoes a run.

    :param source: name of the undo file of the run.
    :param ledger: the ledger for its own fields.
    :param contacts: what Customerly held after the run; None restores values without that comparison.
    """

    def __init__(
        self,
        state: State,
        source: str,
        ledger: Ledger,
        notes: UndoNotes,
        contacts: HeldContacts | None,
        on_edited: OnEdited,
    ) -> None:
        self.cannot = CannotUndo()
        self._location = state.location
        self._name = f"{FOLDER}/{state.run}.parquet"
        self._source = source
        self._ledger = ledger
        self._fingerprints = Fingerprints(state.salt, ledger.fields)
        self._index = {field: at for at, field in enumerate(ledger.fields)}
        self._notes = notes
        self._contacts = contacts
        self._since = None if contacts is None else int((contacts.time - CLOCKS_DIFFER_BY).timestamp())
        self._on_edited = on_edited

    def plan(self, notes: Mapping[bytes, bytes]) -> tuple[PlanWriter, Counts]:
        """Return the finished plan, which must still be closed, and its counts.

        :param notes: what the metadata of the plan's file is to hold.
        """
        counts = Counts()
        self._count_vanished()
        with ExitStack() as unfinished:
            writer = unfinished.enter_context(PlanWriter(self._location, self._name, notes))
            for some in in_chunks(read_plan(self._location, self._source)):
                held = self._look_up(some)
                for planned, contact in zip(some, held, strict=True):
                    counts.rows_read += 1
                    undone = self._undone(planned, contact)
                    row = None if undone is None else self._row(planned, undone, contact)
                    if row is None:
                        counts.unchanged += 1
                        continue
                    counts.invalid += row.action == "invalid"
                    if row.action == "changed":
                        counts.changed += 1
                        counts.changed_fields.update(list(undone.back) if undone else ())
                    writer.add(row)
            unfinished.pop_all()
        return writer, counts

    def _look_up(self, rows: Sequence[Planned]) -> Sequence[Contact | None]:
        if self._contacts is None:
            return [None] * len(rows)
        return self._contacts.look_up([row.email for row in rows], [row.user_id for row in rows])

    def _undone(self, planned: Planned, contact: Contact | None) -> _Undone | None:
        if planned.is_there is None:  # it was refused before, and sent without being compared
            self.cannot.unknown += 1
            return None
        if not planned.is_there:
            self.cannot.created += 1
            return None
        if self._contacts is not None and contact is None:
            self.cannot.deleted += 1
            return None
        if self._may_be_gone(planned.key):
            self.cannot.deleted += 1
            return None
        before = msgspec.json.decode(planned.held or "{}")
        delivered = values_of(planned.contact)
        now = (
            {}
            if contact is None or self._contacts is None
            else dict(zip(self._contacts.fields, contact.values, strict=True))
        )
        found = _Undone({}, {}, [])
        changed = planned.changed_fields or []
        self.cannot.tags += "tags" in changed
        self.cannot.empty += any(field in before and is_empty(before[field]) for field in changed)
        self.cannot.unknown += any(
            field != "tags" and not _is_expressible(field, before.get(field, UNKNOWN)) for field in changed
        )
        for field in changed:
            old = before.get(field, UNKNOWN)
            if old is UNKNOWN or is_empty(old) or not _is_expressible(field, old):
                continue
            held = now.get(field, UNKNOWN)
            if held is not UNKNOWN and is_same(field, held, old):
                continue
            is_other = held is not UNKNOWN and not is_same(field, held, delivered.get(field))
            if is_other or self._is_delivered_anew(planned, field, delivered.get(field)):
                found.edited.append(field)
                if self._on_edited == "keep":
                    continue
            found.back[field] = old
            found.now[field] = delivered.get(field) if held is UNKNOWN else held
        return found

    def _row(self, planned: Planned, undone: _Undone, contact: Contact | None) -> Planned | None:
        row = replace(
            planned,
            action="changed",
            held=msgspec.json.encode(undone.now).decode(),
            edited_fields=undone.edited,
            changed_fields=list(undone.back),
        )
        if undone.edited and self._on_edited == "reject":
            return replace(
                row,
                action="invalid",
                reason="edited_in_customerly",
                field=undone.edited[0],
                message=_EDITED,
            )
        if not undone.back:
            return None
        delivered = values_of(planned.contact)
        # Somebody may have given it another email since: by the old one a second contact would be made.
        email = (contact and contact.email) or delivered["email"]
        restored = contact_of({"email": email, **undone.back})
        return replace(row, contact=restored, fingerprint=self._fingerprint(planned, delivered, undone.back))

    def _fingerprint(
        self, planned: Planned, delivered: Mapping[str, Any], back: Mapping[str, Any]
    ) -> Fingerprint:
        """Return what is known of a contact afterwards.

        Unless the run was the last to deliver it, that is the digest of no row.
        """
        values = {**delivered, **back}
        now = self._fingerprints.of([values.get(field) for field in self._ledger.fields])
        entry = self._ledger.entry(planned.key)
        if entry is not None and entry["status"] not in _DELIVERED:
            entry = None
        before = bytes(len(now.fields)) if entry is None else entry["field_digests"].tobytes()
        pieces = [
            (now.fields if field in back else before)[start : start + FIELD_BYTES]
            for start, field in zip(count(0, FIELD_BYTES), self._ledger.fields, strict=False)
        ]
        if entry is None:
            return replace(now, row=self._nobodys_row(planned.key), fields=b"".join(pieces))
        if entry["status"] == Status.LEAVING and "tags" in self._index:  # they may have been taken
            pieces[self._index["tags"]] = bytes(FIELD_BYTES)
        is_last = (
            entry["status"] == Status.DELIVERED  # a row that comes back is sent, whatever was removed of it
            and planned.fingerprint is not None
            and entry["row"].tobytes() == planned.fingerprint.row
        )
        return Fingerprint(
            now.row if is_last else self._nobodys_row(planned.key),
            b"".join(pieces),
            now.user if "user_id" in values else entry["user"].tobytes(),
        )

    def _nobodys_row(self, key: bytes) -> bytes:
        return hashlib.blake2b(key + self._name.encode(), digest_size=KEY_BYTES).digest()

    def _may_be_gone(self, key: bytes) -> bool:
        """Return whether a run removed a contact, or may have, and no export shows that it is still there."""
        entry = self._ledger.entry(key)
        if entry is None or (self._since is not None and entry["at"] < self._since):
            return False
        is_gone = entry["status"] in (Status.VANISHED, Status.UNKNOWN) and entry["row"].tobytes() == GONE
        return bool(is_gone or entry["status"] == Status.LEAVING)

    def _is_delivered_anew(self, planned: Planned, field: str, delivered: Any) -> bool:
        """Return whether a later run delivered another value."""
        entry, index = self._ledger.entry(planned.key), self._index.get(field)
        if entry is None or index is None or entry["status"] not in _DELIVERED:
            return False
        last: bytes = entry["field_digests"][index].tobytes()
        if not last.strip(b"\0"):  # an older version delivered it, or the field was not mapped
            last = entry["row"].tobytes()
            return planned.fingerprint is not None and last != planned.fingerprint.row
        return last != self._fingerprints.field(index, delivered)

    def _count_vanished(self) -> None:
        vanished = self._notes.vanished
        if self._notes.on_vanished == "delete":
            self.cannot.deleted = vanished
        elif self._notes.on_vanished == "unsubscribe":
            self.cannot.unsubscribed = vanished
        elif self._notes.on_vanished == "untag":
            self.cannot.tags = vanished


def open_undo(
    state: State, run: str, export: Any, base_url: str, options: Options
) -> tuple[str, UndoNotes, HeldContacts | None]:
    """Open what a run has left, and the export that shows what became of it since.

    :raises ValueError: the run left nothing, it belongs to another state, or the export is from before it.
    """
    name, notes = find_undo(state.location, run)
    if notes.state != state.id:
        raise ValueError(
            f"{state.location.path(name)} was made with another {IDENTITY} than the one at {state.location}: "
            "it belongs to another state, perhaps of another project. Undo it there."
        )
    if export is None:
        return name, notes, None
    contacts = HeldContacts.open(
        export, options.contact_type, base_url, notes.fields, max_age=options.max_export_age
    )
    if contacts.time <= notes.delivered_until + _SECOND:
        contacts.__exit__(None, None, None)
        raise ValueError(
            f"compare_with: the newest export is from {contacts.time:%Y-%m-%d %H:%M:%S} UTC, before the end "
            f"of run {notes.run}, so it does not show later edits. Run the export again, or remove "
            "compare_with to restore the values whatever they are now."
        )
    return name, notes, contacts


def compared_with(contacts: HeldContacts | None, on_edited: OnEdited) -> ComparedWith | None:
    """Return what an undo was compared with."""
    return (
        None
        if contacts is None
        else ComparedWith(
            export_run=contacts.export.run,
            export_time=contacts.time,
            on_edited=on_edited,
            not_shown=contacts.not_shown,
        )
    )


def _is_expressible(field: str, old: Any) -> bool:
    """Return whether the API takes a value again; an empty one is counted on its own."""
    if old is UNKNOWN or field == "email":  # whether the old contact was moved or left behind is not known
        return False
    if isinstance(old, list | dict):
        return False
    return not (field.startswith(PREFIX) and isinstance(old, str) and len(old) > MAX_TEXT)
