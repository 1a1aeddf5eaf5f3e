"""The API's rules for writing contacts."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

MAX_TEXT = 128
VENDOR_ATTRIBUTES = frozenset(
    {
        "first_seen_at", "last_activity", "last_page_viewed", "last_page_viewed_at", "os", "country",
        "region", "city", "timezone", "browser_language",
    }
)  # fmt: skip
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_ATTRIBUTE_NAME = re.compile(r"\w+", re.ASCII)


@dataclass(frozen=True)
class Reject:
    """A row of a batch that was not stored."""

    row: int
    email: Any
    user_id: Any
    message: str


@dataclass
class Upserted:
    """The outcome of one batch. ``accepted`` includes updates, like the vendor's ``inserted``."""

    accepted: int = 0
    rejects: list[Reject] = field(default_factory=list)


def attribute_problem(attributes: Any) -> str | None:
    """Return why attributes are refused, or None.

    The vendor documents the limits. That a violation rejects the row is a guess, and so is the wording.
    """
    if attributes in (None, []):
        return None
    if not isinstance(attributes, dict):
        return "attributes must be an object"
    for name, value in attributes.items():
        if not _ATTRIBUTE_NAME.fullmatch(name):
            return f"attribute name '{name}' has spaces or special characters"
        if isinstance(value, dict | list):
            return f"attribute '{name}' must not be nested"
        if isinstance(value, str) and len(value) > MAX_TEXT:
            return f"attribute '{name}' is longer than {MAX_TEXT} characters"
        if isinstance(value, float) and not math.isfinite(value):
            return f"attribute '{name}' is not a number"
    return None


def contact_problem(row: Any) -> str | None:
    """Return why a row is refused regardless of what is stored, or None."""
    if not isinstance(row, dict):
        return "contact must be an object"
    email = row.get("email")
    if not email:
        return "email is required"
    if not isinstance(email, str) or not _EMAIL.fullmatch(email):
        return "email is not valid"
    if isinstance(row.get("name"), dict | list):
        return "name must be text"
    tags = row.get("tags")
    if tags is not None and not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
        return "tags must be a list of texts"
    return attribute_problem(row.get("attributes"))


def merge_attributes(record: dict[str, Any], sent: Any) -> None:
    """Merge sent attributes into a record.

    Missing keys do not change (inferred). ``null`` and ``""`` are stored as sent, and the vendor's own names
    are silently dropped (guesses).
    """
    stored = record.get("attributes")
    merged = dict(stored) if isinstance(stored, dict) else {}
    merged.update({name: value for name, value in (sent or {}).items() if name not in VENDOR_ATTRIBUTES})
    record["attributes"] = merged or []


def merge_contact(record: dict[str, Any], row: dict[str, Any], contact_type: str) -> None:
    """Merge an accepted row into a record. Undocumented top-level keys are ignored (a guess)."""
    if row.get("name") is not None:
        record["name"] = row["name"]
    if contact_type == "users" and row.get("user_id") is not None:
        record["user_id"] = str(row["user_id"])
    merge_attributes(record, row.get("attributes"))
