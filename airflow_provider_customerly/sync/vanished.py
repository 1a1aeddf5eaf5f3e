"""Untag, unsubscribe or delete contacts that are no longer in the source."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec import UNSET

from airflow_provider_customerly.client import CustomerlyNotFound
from airflow_provider_customerly.reading import start_reading
from airflow_provider_customerly.sync.fingerprint import USER_BYTES
from airflow_provider_customerly.values.email import identity_of

if TYPE_CHECKING:
    from airflow_provider_customerly.client import Client, ContactType
    from airflow_provider_customerly.storage import Lock
    from airflow_provider_customerly.sync.fingerprint import Fingerprints

log = logging.getLogger(__name__)

OnVanished = Literal["keep", "untag", "unsubscribe", "delete"]
Fate = Literal["handled", "not_found", "became_user"]
Done = Callable[[Iterable[bytes], Fate], None]

_TAGGED_AT_ONCE = 50
_NO_USER = bytes(USER_BYTES)


class UnprovenSearchError(Exception):
    """Some vanished contacts were not found, but are not proven to be gone: try again."""


class Vanished(NamedTuple):
    """The contacts to look for, by their two identities, email and ``user_id``, and those to leave alone."""

    users: Mapping[bytes, bytes]
    """The digest of the delivered ``user_id``, zeros for none, by the key of each vanished contact."""
    unsure: Collection[bytes]
    """Keys of which it is unknown whether anything was ever delivered."""
    present: Collection[bytes]
    """Digests of the ``user_id`` of rows in the source that were delivered."""
    undelivered: Collection[str]
    """The ``user_id`` of rows in the source that were not delivered, as returned by ``same_user_id``."""
    is_in_source: Callable[[bytes], bool] = lambda key: False
    """Returns whether a row with this email's key is in the source."""


def handle_vanished(
    client: Client,
    contact_type: ContactType,
    fingerprints: Fingerprints,
    vanished: Vanished,
    on_vanished: OnVanished,
    tags: Sequence[str],
    done: Done,
    lock: Lock,
) -> None:
    """Untag, unsubscribe or delete contacts.

    The ledger does not have their emails, so they are looked up in Customerly's list, which is read once in
    full: by email first, then by ``user_id``, because the email may have been changed there.

    Two kinds of contacts are left alone. A contact with the email, but with a ``user_id`` other than the one
    delivered, belongs to another customer by now. A contact with the ``user_id`` of a row that was not
    delivered may be the same customer, whose email was changed or broken in the source; its ledger entry does
    not change. A customer whose row was delivered under another email has not vanished.

    If it is unknown whether a row ever arrived, a contact that has only its email, or only its ``user_id``,
    is left alone too: it is somebody else's if the row was refused.

    :param tags: the tags to remove, for ``untag``.
    :param done: called after each request with the keys of finished contacts.
    :param lock: checked for each page of the list and before each request; checked in the storage before each
        deletion.
    :raises UnprovenSearchError: some contacts may still exist. Those that were found have been handled.
    """
    reading = start_reading(client, contact_type, ("email", "user_id"))
    search = _Search(fingerprints, vanished)
    for records in reading:
        lock.raise_if_lost()
        for record in records:
            search.look_at(record)
    if search.spared:
        log.warning(
            "%d vanished contacts are left alone: they have the user_id of rows that were not delivered, so "
            "they may be the same customers under another email. Fix these rows, which are in the rejects.",
            len(search.spared),
        )
    if search.others:
        log.warning(
            "%d vanished contacts are left alone: another contact has their email or user_id now.",
            len(search.others),
        )
    found = list(search.found())
    for start in range(0, len(found), _TAGGED_AT_ONCE):
        some = found[start : start + _TAGGED_AT_ONCE]
        if on_vanished == "untag":
            contacts = [_name_of(record) for _, record in some]
            for tag in tags:
                lock.raise_if_lost()
                client.untag(tag, **{contact_type: contacts})
            done((key for key, _ in some), "handled")
        else:
            for key, record in some:
                _one(client, contact_type, record, on_vanished, lock)
                done([key], "handled")
    done(search.moved(), "handled")
    missing = search.missing()
    if missing and reading.certificate.verdict != "complete":
        raise UnprovenSearchError(
            f"{len(missing)} vanished contacts were not found, but the list is not proven complete "
            f"({reading.certificate.reason}), so they may still exist. Run the sync again at a quieter time."
        )
    if missing and contact_type == "leads":
        became_users = _became_users(client, fingerprints, missing, lock)
        done(became_users, "became_user")
        missing -= became_users
    if gone := missing - search.others:
        by = "email or user_id" if any(user != _NO_USER for user in vanished.users.values()) else "email"
        log.warning(
            "%d vanished contacts were not found in Customerly by %s: they were deleted or changed there.",
            len(gone),
            by,
        )
    done(missing, "not_found")


class _Search:
    """Find vanished contacts among all contacts."""

    def __init__(self, fingerprints: Fingerprints, vanished: Vanished) -> None:
        self._fingerprints = fingerprints
        self._vanished = vanished
        self._keys = {user: key for key, user in vanished.users.items() if user != _NO_USER}
        self._by_email: dict[bytes, Any] = {}
        self._by_user: dict[bytes, Any] = {}
        self.spared: set[bytes] = set()
        self.others: set[bytes] = set()
        """Keys whose email or user_id belongs to another contact."""

    def look_at(self, record: Any) -> None:
        """Record a contact if it is one of the vanished ones."""
        user_id = None if record.user_id in (None, UNSET, "") else str(record.user_id)
        user = self._fingerprints.user(user_id)
        email = record.email if isinstance(record.email, str) else ""
        key = self._fingerprints.key(identity_of(email)) if email else None
        if key is not None and key in self._vanished.users:
            if self._is_delivered(key, user):
                self._note(key, record, self._by_email)
            else:
                self.others.add(key)
        if (
            (wanted := self._keys.get(user)) is not None
            and wanted != key
            and user not in self._vanished.present
        ):
            # A row that has another customer's user_id is refused: that one is not to be deleted for it.
            if wanted in self._vanished.unsure or (key is not None and self._vanished.is_in_source(key)):
                self.others.add(wanted)
            else:
                self._note(wanted, record, self._by_user)

    def _is_delivered(self, key: bytes, user: bytes) -> bool:
        """Return whether the contact with an email may be the one that was delivered."""
        sent = self._vanished.users[key]
        # A row that was sent with a user_id and arrived has left the user_id there.
        return user == sent or sent == _NO_USER or (user == _NO_USER and key not in self._vanished.unsure)

    def found(self) -> Iterator[tuple[bytes, Any]]:
        """Yield each key with its contact."""
        for key, record in (self._by_user | self._by_email).items():
            if key not in self.spared:
                yield key, record

    def moved(self) -> set[bytes]:
        """Return the keys of customers whose row is in the source under another email."""
        return {key for key in self._rest() if self._vanished.users[key] in self._vanished.present}

    def missing(self) -> set[bytes]:
        """Return the keys of contacts that were not found."""
        return self._rest() - self.moved()

    def _rest(self) -> set[bytes]:
        return set(self._vanished.users) - self.spared - self._by_email.keys() - self._by_user.keys()

    def _note(self, key: bytes, record: Any, where: dict[bytes, Any]) -> None:
        if same_user_id(record.user_id) in self._vanished.undelivered:
            self.spared.add(key)
        elif key not in where or unicodedata.is_normalized("NFC", str(record.email)):
            where[key] = record  # prefer the Unicode form of the email that a sync sends


def _became_users(client: Client, fingerprints: Fingerprints, leads: set[bytes], lock: Lock) -> set[bytes]:
    """Return the keys of leads that are users now, and must not be deleted."""
    reading = start_reading(client, "users", ("email", "user_id"))
    found = set()
    for records in reading:
        lock.raise_if_lost()
        emails = (record.email for record in records if isinstance(record.email, str))
        found |= leads & {fingerprints.key(identity_of(email)) for email in emails}
    if leads - found and reading.certificate.verdict != "complete":
        raise UnprovenSearchError(
            f"{len(leads - found)} vanished leads were not found, but the list of users is not proven "
            f"complete ({reading.certificate.reason}), so they may be users now. Run the sync again at a "
            "quieter time."
        )
    if found:
        log.info("%d vanished leads have become users and are left alone", len(found))
    return found


def same_user_id(user_id: Any) -> str | None:
    """Return a ``user_id`` in the form in which it is compared; None if there is none."""
    return None if user_id in (None, UNSET, "") else str(user_id).strip().lower()


def _name_of(record: Any) -> dict[str, str]:
    return {"email": record.email} if isinstance(record.email, str) else {"user_id": str(record.user_id)}


def _one(client: Client, contact_type: ContactType, record: Any, on_vanished: OnVanished, lock: Lock) -> None:
    try:
        if on_vanished == "delete":
            lock.check()
            client.delete_contact(contact_type, **_name_of(record))
        else:
            lock.raise_if_lost()
            # It is not known which id the endpoint takes. Its parameter is named user_id.
            user_id = record.user_id
            client.unsubscribe_user(record.crmhero_user_id if user_id in (None, UNSET, "") else str(user_id))
    except CustomerlyNotFound:
        log.debug("A vanished contact was already gone")
