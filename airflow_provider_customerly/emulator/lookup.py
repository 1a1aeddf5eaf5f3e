"""Find contacts by email or ``user_id``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_customerly.emulator.seeded import Seeded
    from airflow_provider_customerly.emulator.table import Table


class Lookup:
    """Emails and user ids of changed and created contacts; those of seeded contacts are computed.

    Ignoring the case of emails is a guess.
    """

    def __init__(self, seeded: Seeded) -> None:
        self._seeded = seeded
        self._emails: dict[str, int] = {}
        self._user_ids: dict[str, int] = {}

    def find(self, table: Table, *, email: str | None = None, user_id: str | None = None) -> int | None:
        """Return the id of the contact in this table, or None. Email takes precedence over ``user_id``."""
        if email is not None:
            field, wanted = "email", email.lower()
            known = self._emails.get(wanted)
            candidate = self._seeded.candidate(email=wanted)
        else:
            field, wanted = "user_id", user_id or ""
            known = self._user_ids.get(wanted)
            candidate = self._seeded.candidate(user_id=wanted)
        if known is not None and known in table:
            return known
        if candidate is None or not table.is_seeded(candidate):
            return None
        return candidate if table.record(candidate).get(field) == wanted else None

    def add(self, contact_id: int, record: dict[str, Any]) -> None:
        """Add a contact that was created or changed."""
        for known, key in self._keys(record):
            known[key] = contact_id

    def drop(self, contact_id: int, record: dict[str, Any]) -> None:
        """Remove a contact that is about to be changed or deleted."""
        for known, key in self._keys(record):
            if known.get(key) == contact_id:
                del known[key]

    def _keys(self, record: dict[str, Any]) -> list[tuple[dict[str, int], str]]:
        keys = []
        if isinstance(record.get("email"), str):
            keys.append((self._emails, record["email"].lower()))
        if record.get("user_id") is not None:
            keys.append((self._user_ids, str(record["user_id"])))
        return keys
