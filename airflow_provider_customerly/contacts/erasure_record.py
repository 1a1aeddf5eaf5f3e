"""What an erasure did to each contact, as a JSON file: evidence that keeps nothing personal."""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003  (msgspec reads the annotations)
from typing import TYPE_CHECKING, Literal

import msgspec

from airflow_provider_customerly.sync.email import identity_of

if TYPE_CHECKING:
    from airflow_provider_customerly.contacts.named import NamedBy
    from airflow_provider_customerly.storage import Location

Outcome = Literal["pending", "deleted", "already_gone", "failed"]


class Entry(msgspec.Struct, kw_only=True):
    """One contact. Its outcome is `pending` while it is not known that it was answered.

    :param position: where the contact stands in the source, from 1.
    :param key: keyed hash of its name, see `key_of`; None when there is no secret.
    :param deleted_from: the lists in which it was found.
    :param reason: why it failed, in words that hold nothing of it.
    """

    position: int
    key: str | None
    outcome: Outcome = "pending"
    deleted_from: list[str] = msgspec.field(default_factory=list)
    reason: str | None = None


class ErasureRecord(msgspec.Struct, kw_only=True):
    """One erasure. Times are UTC.

    :param run: tells runs apart, and names the file.
    :param owner: what stays the same when a task is tried again: it joins the records of its tries.
    :param outcome: `running` also when the process died; `success`: all contacts are gone; `failed`: all were
        tried and some failed; `stopped`: it ended early.
    :param error: class of the error that ended it.
    """

    run: str
    owner: str
    base_url: str
    contact_type: str
    named_by: str
    outcome: Literal["running", "success", "failed", "stopped"] = "running"
    error: str | None = None
    started_at: datetime
    finished_at: datetime | None = None
    counts: dict[str, int]
    contacts: list[Entry]
    versions: dict[str, str]

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"{self.run}.json"

    def write(self, location: Location) -> None:
        """Write the file, or replace it whole."""
        location.write_atomic(self.name, msgspec.json.format(msgspec.json.encode(self), indent=2))


def key_of(secret: str, by: NamedBy, name: str) -> str:
    """Hash a contact's name: SHA-256 of the secret and the email in lower case, or the user id.

    Who has the secret can tell whether a contact they know is in a record; nobody can read one out of it.
    """
    return hashlib.sha256(f"{secret}{identity_of(name) if by == 'email' else name}".encode()).hexdigest()
