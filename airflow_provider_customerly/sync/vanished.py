"""What is done with contacts that are no longer in the source."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from msgspec import UNSET

from airflow_provider_customerly.client import CustomerlyNotFound
from airflow_provider_customerly.sync.email import identity_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from airflow_provider_customerly.client import Client, ContactType
    from airflow_provider_customerly.sync.fingerprint import Fingerprints

log = logging.getLogger(__name__)

OnVanished = Literal["keep", "untag", "unsubscribe", "delete"]

_TAGGED_AT_ONCE = 50


class UnprovenSearchError(Exception):
    """Not all vanished contacts were found, and it is not proven that the others are gone: try again."""


def handle_vanished(
    client: Client,
    contact_type: ContactType,
    fingerprints: Fingerprints,
    keys: set[bytes],
    undelivered: Collection[str],
    on_vanished: OnVanished,
    tags: Sequence[str],
    done: Callable[[Iterable[bytes]], None],
    raise_if_lost: Callable[[], None],
) -> None:
    """Untag, unsubscribe or delete the contacts with these keys.

    The ledger does not know their emails, so they are looked up in Customerly's own list, which is read
    whole, once. A contact that is not there any more needs nothing. One that has the user id of a row which
    was not delivered is left alone, and stays in the ledger as it is: it may well be the same customer, whose
    email was changed or broken in the source.

    :param keys: of the vanished contacts; those that are done with are taken out.
    :param undelivered: the user ids of the rows that were not delivered, as `same_user_id` gives them.
    :param tags: the tags to take off, for `untag`.
    :param done: called after each request with the keys that are done with.
    :param raise_if_lost: called for each page of the list; reading it can take hours.
    :raises UnprovenSearchError: see there; what was found is done with.
    """
    reading = client.read_contacts(contact_type, ("email", "user_id"))
    found: list[tuple[bytes, Any]] = []
    spared = 0
    for records in reading:
        raise_if_lost()
        for record in records:
            if isinstance(record.email, str):
                key = fingerprints.key(identity_of(record.email))
                if key in keys:
                    keys.discard(key)
                    if same_user_id(record.user_id) in undelivered:
                        spared += 1
                    else:
                        found.append((key, record))
    if spared:
        log.warning(
            "%d vanished contacts are left alone: they have the user_id of rows that were not delivered, and "
            "may be the same customers under another email. Mend these rows, which are among the rejects.",
            spared,
        )
    for start in range(0, len(found), _TAGGED_AT_ONCE):
        some = found[start : start + _TAGGED_AT_ONCE]
        if on_vanished == "untag":
            contacts = [{"email": record.email} for _, record in some]
            for tag in tags:
                client.untag(tag, **{contact_type: contacts})
            done(key for key, _ in some)
        else:
            for key, record in some:
                _one(client, contact_type, record, on_vanished)
                done([key])
    if reading.certificate.verdict != "complete" and keys:
        raise UnprovenSearchError(
            f"{len(keys)} vanished contacts were not found, and the list was not read completely "
            f"({reading.certificate.reason}): they may still be there. Run the sync again at a quieter hour."
        )
    done(keys)


def same_user_id(user_id: Any) -> str | None:
    """Give a user id in the form in which equal ones are the same, None if there is none."""
    return None if user_id in (None, UNSET, "") else str(user_id).strip().lower()


def _one(client: Client, contact_type: ContactType, record: Any, on_vanished: OnVanished) -> None:
    try:
        if on_vanished == "delete":
            client.delete_contact(contact_type, email=record.email)
        else:
            # Which of the ids the endpoint takes is not known: the caller's own is what its name says.
            user_id = record.user_id
            client.unsubscribe_user(record.crmhero_user_id if user_id in (None, UNSET, "") else str(user_id))
    except CustomerlyNotFound:
        log.debug("A vanished contact had gone in the meantime")
