"""Compare rows that are about to be sent with what Customerly held in the newest export.

Each field has three values: what we delivered last (the ledger has its digest), what Customerly holds, and
what the warehouse has. If Customerly does not hold what we delivered, somebody edited the field there.

If we delivered a row after the export started, the ledger is newer than the export. Then a value other than
the delivered one is only out of date. It is not an edit, and the current value is unknown.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace

from airflow_provider_customerly.comparison import UNKNOWN, is_same, readings
from airflow_provider_customerly.sync.compared_with import ComparedWith
from airflow_provider_customerly.sync.contact_text import without
from airflow_provider_customerly.sync.fingerprint import FIELD_BYTES
from airflow_provider_customerly.sync.keys import keys_of
from airflow_provider_customerly.sync.ledger import Status
from airflow_provider_customerly.values.email import identities_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_customerly.comparison import Contact, HeldContacts
    from airflow_provider_customerly.sync.compared_with import OnEdited
    from airflow_provider_customerly.sync.fingerprint import Fingerprints
    from airflow_provider_customerly.sync.ledger import Ledger
    from airflow_provider_customerly.sync.plan_file import Planned

CLOCKS_DIFFER_BY = timedelta(minutes=1)
"""Clock difference between the machine that delivered and the one that exported."""
_IDENTITIES = ("email", "user_id")
_NONE = bytes(FIELD_BYTES)
_FIELDS_NAMED = 5


class _Difference(NamedTuple):
    """The difference between a row and its contact."""

    changed: list[str]
    """Fields that change, or may change."""
    held: dict[str, Any]
    """Current values of the fields that differ, if known."""
    edited: list[str]
    """Fields that differ because somebody edited them in Customerly after we delivered them."""
    unsure: list[str]
    """Fields that we delivered as they are now, while the export, which may be older, shows another value."""


class Comparer:
    """Add to a plan's rows what Customerly held, and decide about fields that were edited there.

    :param ledger: the ledger for the plan's fields.
    :param skip_equal: do not send what Customerly already holds.
    """

    def __init__(
        self,
        contacts: HeldContacts,
        fingerprints: Fingerprints,
        ledger: Ledger,
        *,
        on_edited: OnEdited = "overwrite",
        skip_equal: bool = False,
    ) -> None:
        self._contacts = contacts
        self._fingerprints = fingerprints
        self._ledger = ledger
        self._fields = contacts.fields
        self._on_edited = on_edited
        self._skip_equal = skip_equal
        self._nothing = [fingerprints.field(index, None) for index in range(len(ledger.fields))]
        self._since = int((contacts.time - CLOCKS_DIFFER_BY).timestamp())

    @property
    def compared_with(self) -> ComparedWith:
        """The export that rows are compared with."""
        return ComparedWith(
            export_run=self._contacts.export.run,
            export_time=self._contacts.time,
            on_edited=self._on_edited,
            not_shown=self._contacts.not_shown,
        )

    def judge(self, planned: Sequence[Planned], values: Sequence[Sequence[Any]]) -> list[Planned]:
        """Complete rows that are to be sent.

        :param values: the rows' own values, by field.
        :return: the rows, some of which will not be sent any more.
        """
        contacts = self._contacts.look_up([row.email for row in planned], [row.user_id for row in planned])
        return [
            self._judged(row, some, contact, position)
            for row, some, contact, position in zip(
                planned, values, contacts, self._find(planned, contacts), strict=True
            )
        ]

    def _find(self, planned: Sequence[Planned], contacts: Sequence[Contact | None]) -> list[int]:
        """Return the position of each contact in the ledger; -1 if it is not there."""
        emails = [contact.email or "" if contact else "" for contact in contacts]
        by_email = self._ledger.find(keys_of(self._fingerprints.keys(identities_of(emails))))
        by_row = self._ledger.find(keys_of([row.key for row in planned]))  # the email may have been edited
        found: list[int] = np.where(by_email >= 0, by_email, by_row).tolist()
        return found

    def _judged(
        self, planned: Planned, values: Sequence[Any], contact: Contact | None, position: int
    ) -> Planned:
        if contact is None:
            return replace(planned, is_there=False, held=None, edited_fields=[])
        difference = self._difference(planned, values, contact, position)
        changed = difference.changed
        planned = replace(
            planned,
            is_there=True,
            held=msgspec.json.encode(difference.held).decode(),
            changed_fields=changed,
            edited_fields=difference.edited,
        )
        if difference.edited and self._on_edited == "reject":
            return replace(
                planned,
                action="invalid",
                reason="edited_in_customerly",
                field=difference.edited[0],
                message=_edited(difference.edited),
            )
        kept = [*difference.edited, *difference.unsure]
        if kept and self._on_edited == "keep":
            changed = [field for field in changed if field not in kept]
            left = without(planned.contact or "{}", kept, contact.email)
            planned = replace(planned, changed_fields=changed, contact=left)
            if not changed:
                return replace(planned, action="settled")
        if not changed and self._skip_equal:
            return replace(planned, action="settled")
        return planned

    def _difference(
        self, planned: Planned, values: Sequence[Any], contact: Contact, position: int
    ) -> _Difference:
        found = _Difference([], {}, [], [])
        last, is_newer = self._last_delivered(position)
        wanted = _pieces(planned.fingerprint.fields) if planned.fingerprint else []
        is_lost = is_newer and not last  # it was sent without an answer, refused or removed since the export
        for index, (field, value, held) in enumerate(zip(self._fields, values, contact.values, strict=True)):
            if value is None:  # it is not sent, so whatever is there stays
                continue
            before = last[index] if last else None
            is_delivered = before is not None and before == wanted[index]
            if held is UNKNOWN or is_lost:
                if not is_delivered:
                    found.changed.append(field)
                continue
            is_already_so = is_same(field, held, value)
            is_ours = before is None or (is_delivered and is_already_so) or self._is(index, held, before)
            if not is_ours and is_newer:  # the export is from before our last delivery
                if not is_delivered:
                    found.changed.append(field)
                elif field not in _IDENTITIES:
                    found.unsure.append(field)
            elif not is_already_so:
                found.changed.append(field)
                found.held[field] = held
                if not is_ours:
                    found.edited.append(field)
        return found

    def _last_delivered(self, position: int) -> tuple[list[bytes | None], bool]:
        """Return the digests of what we delivered last, and whether that was after the export.

        :param position: of the contact in the ledger; -1 if it is not there.
        """
        if position < 0:
            return [], False
        entry = self._ledger.entries[position]
        is_newer = bool(entry["at"] >= self._since)
        is_leaving = entry["status"] == Status.LEAVING
        if entry["status"] != Status.DELIVERED and (is_newer or not is_leaving):
            return [], is_newer
        digests = _pieces(entry["field_digests"].tobytes())
        # A field that was not mapped at that time, or had no value, was not changed. The tags of a contact
        # that was leaving may have been taken by us.
        return [
            None if one in (_NONE, none) or (is_leaving and field == "tags") else one
            for field, one, none in zip(self._fields, digests, self._nothing, strict=True)
        ], is_newer

    def _is(self, index: int, held: Any, digest: bytes) -> bool:
        """Return whether a digest is that of a value which the API may show as this one."""
        return any(self._fingerprints.field(index, reading) == digest for reading in readings(held))


def _pieces(digests: bytes) -> list[bytes]:
    return [digests[start : start + FIELD_BYTES] for start in range(0, len(digests), FIELD_BYTES)]


def _edited(fields: Sequence[str]) -> str:
    named = ", ".join(fields[:_FIELDS_NAMED])
    more = f" and {len(fields) - _FIELDS_NAMED} more fields" if len(fields) > _FIELDS_NAMED else ""
    return (
        f"Edited in Customerly since the last delivery: {named}{more}. Copy the value to the warehouse, "
        "or choose on_edited='overwrite' or on_edited='keep'."
    )
