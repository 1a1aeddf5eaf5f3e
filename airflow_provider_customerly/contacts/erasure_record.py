"""The record of an erasure, a JSON file: evidence for each contact, without personal data."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from airflow_provider_customerly.values.email import identity_of

if TYPE_CHECKING:
    from airflow_provider_customerly.contacts.named import NamedBy
    from airflow_provider_customerly.storage import Location

Outcome = Literal["pending", "deleted", "already_gone", "failed"]


class Entry(msgspec.Struct, kw_only=True):
    """One contact. Its outcome is ``pending`` until a response is known.

    :param position: position in the source, from 1.
    :param key: keyed hash of the email or id, see ``key_of``; None without a secret.
    :param deleted_from: the lists in which it was found.
    :param reason: why it failed, without personal data.
    """

    position: int
    key: str | None
    outcome: Outcome = "pending"
    deleted_from: list[str] = msgspec.field(default_factory=list)
    reason: str | None = None


class ErasureRecord(msgspec.Struct, kw_only=True):
    """One erasure. Times are UTC.

    :param run: unique id, which is also the file name.
    :param owner: what stays the same across retries of a task; it links their records.
    :param outcome: ``success``: all contacts are gone. ``failed``: all were tried and some failed.
        ``stopped``: it ended early. ``running``: it is still running, or the process died.
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
        """Write or atomically replace the file."""
        location.write_atomic(self.name, msgspec.json.format(msgspec.json.encode(self), indent=2))


def key_of(secret: str, by: NamedBy, name: str) -> str:
    """Return the SHA-256 of the secret followed by the email in lower case, or by the user_id.

    With the secret, you can check whether a known contact is in a record, but not list the contacts in it.
    """
    return hashlib.sha256(f"{secret}{identity_of(name) if by == 'email' else name}".encode()).hexdigest()
