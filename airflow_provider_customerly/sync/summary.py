"""Summarise a plan: fields, comparison and some of its rows, without personal data."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_customerly.sync.contact_text import values_of
from airflow_provider_customerly.sync.plan_file import SENDING
from airflow_provider_customerly.sync.rules import OWN, PREFIX
from airflow_provider_customerly.values.top_counts import most_frequent, some_reasons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_customerly.sync.compared_with import ComparedWith
    from airflow_provider_customerly.sync.plan_file import Planned
    from airflow_provider_customerly.sync.vanished import OnVanished

MOST_ROWS = 20
_CREATIONS, _DELETIONS = 4, 2
"""How many creations and deletions are shown even if changes alone would fill the preview."""
_LONGEST_TEXT = 60
_MOST_BYTES = 5_000
"""Maximum size of the preview, because a result must stay below 20 KB."""
_MOST_FIELDS = 15
"""Maximum number of fields per row of the preview."""
_PERSONAL = ("email", "user_id", "name")


class Summary:
    """Count the rows of a plan, and pick some to show. Add every row of the plan.

    :param on_vanished: what the run does with vanished contacts.
    :param fields: fields whose values may be shown.
    """

    def __init__(self, on_vanished: OnVanished = "keep", fields: Sequence[str] = ()) -> None:
        self.already_so = self.edited = self.kept = self.rejected = self.unknown = 0
        self.edited_fields = Counter[str]()
        self._on_vanished = on_vanished
        self._shown = frozenset(fields)
        self._changed: list[Planned] = []
        self._new: list[Planned] = []
        self._gone: list[Planned] = []

    def add(self, planned: Planned, on_edited: str = "") -> None:
        """Add a row."""
        if planned.action == "vanished":
            if self._on_vanished == "delete" and len(self._gone) < MOST_ROWS:
                self._gone.append(planned)
            return
        if planned.action in SENDING:
            rows = self._new if _action(planned) == "create" else self._changed
            if len(rows) < MOST_ROWS and (rows is self._new or planned.changed_fields):
                rows.append(planned)
        if planned.is_there is None:
            return
        if edited := planned.edited_fields:
            self.edited += 1
            self.edited_fields.update(edited)
            self.kept += on_edited == "keep"
            self.rejected += planned.reason == "edited_in_customerly"
        elif planned.is_there and not planned.changed_fields:
            self.already_so += 1
        self.unknown += len(_held(planned)) < len(planned.changed_fields or ()) if planned.is_there else 0

    def comparison(self, compared_with: ComparedWith) -> dict[str, Any]:
        """Return the comparison as it is shown in the result."""
        return {
            "export_run": compared_with.export_run,
            "export_time": compared_with.export_time.isoformat(),
            "age_seconds": round(compared_with.age.total_seconds()),
            "already_so": self.already_so,
            "edited_in_customerly": self.edited,
            "edited_fields": most_frequent(self.edited_fields),
            "on_edited": compared_with.on_edited,
            "kept": self.kept,
            "rejected": self.rejected,
            "partly_unknown": self.unknown,
            "not_compared": some_reasons(compared_with.not_shown),
        }

    def preview(self) -> list[dict[str, Any]]:
        """Return some rows: changes first, then creations and deletions."""
        created, gone = self._new[:_CREATIONS], self._gone[:_DELETIONS]
        changed = self._changed[: MOST_ROWS - len(created) - len(gone)]
        room = MOST_ROWS - len(changed) - len(gone)
        rows = [self._row(planned) for planned in chain(changed, self._new[:room], gone)]
        while rows and len(msgspec.json.encode(rows)) > _MOST_BYTES:
            rows.pop()
        return rows

    def _row(self, planned: Planned) -> dict[str, Any]:
        if planned.action == "vanished":
            return {"row": None, "action": "delete", "fields": {}}
        wanted, held = values_of(planned.contact), _held(planned)
        names = planned.changed_fields if planned.changed_fields is not None else list(wanted)
        fields: dict[str, Any] = {}
        for name in sorted(names, key=lambda name: name not in self._shown)[:_MOST_FIELDS]:
            if name not in self._shown:
                fields[name] = None
                continue
            fields[name] = {"new": _short(wanted.get(name))}
            if name in held:
                fields[name] = {"old": _short(held[name]), **fields[name]}
        return {"row": planned.number, "action": _action(planned), "fields": fields}


def shown_fields(asked: Sequence[str], fields: Sequence[str]) -> list[str]:
    """Return the full names of the fields whose values may be shown.

    :param asked: names of fields, with or without ``attributes.``.
    :param fields: the mapped fields.
    :raises ValueError: a field is not mapped.
    """
    found = []
    for name in asked:
        field = name if name in OWN or name.startswith(PREFIX) else PREFIX + name
        if field not in fields:
            raise ValueError(
                f"preview_fields names {name!r}, but no column is mapped to it. Choose from: "
                f"{', '.join(field for field in fields if field not in _PERSONAL)}."
            )
        found.append(field)
    return found


def check_preview(asked: Sequence[str]) -> None:
    """Raise ``ValueError`` if a preview field identifies a person."""
    for name in asked:
        if name in _PERSONAL:
            raise ValueError(
                f"preview_fields names {name}, which identifies contacts. Everyone who can see the task "
                "could see it. Remove it here, and look it up in the plan's file under state_path."
            )


def _action(planned: Planned) -> str:
    is_new = planned.action == "new" if planned.is_there is None else not planned.is_there
    return "create" if is_new else "update"


def _held(planned: Planned) -> dict[str, Any]:
    return msgspec.json.decode(planned.held) if planned.held else {}


def _short(value: Any) -> Any:
    text = value if isinstance(value, str) else None
    if isinstance(value, list | dict):
        text = msgspec.json.encode(value).decode()
    if text is None:
        return value
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
