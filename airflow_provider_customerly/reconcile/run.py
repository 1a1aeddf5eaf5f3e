"""Compare a warehouse with the newest export. Every row and every contact gets one verdict."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.comparison import UNKNOWN, HeldContacts, is_same
from airflow_provider_customerly.reading.keyset import KeySet
from airflow_provider_customerly.reconcile.differences import Difference, DifferenceWriter, remove_old
from airflow_provider_customerly.reconcile.options import LIMITS
from airflow_provider_customerly.storage import Location
from airflow_provider_customerly.sync.mapping import FieldMapping
from airflow_provider_customerly.sync.options import allowed
from airflow_provider_customerly.values.top_counts import most_frequent, some_reasons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_customerly.comparison import Contact
    from airflow_provider_customerly.reconcile.options import ReconcileOptions
    from airflow_provider_customerly.sync import Source
    from airflow_provider_customerly.values.rows import MappedRow

log = logging.getLogger(__name__)

_REASONS = 10


class ReconcileLimitError(Exception):
    """The warehouse and the export differ by more than a limit allows.

    :param result: the same as the return value of a reconciliation within its limits.
    """

    def __init__(self, message: str, result: dict[str, Any]) -> None:
        super().__init__(message)
        self.result = result


def reconcile(
    source: Source,
    export_path: Any,
    base_url: str,
    options: ReconcileOptions,
    *,
    differences: Any = None,
) -> dict[str, Any]:
    """Compare the rows of a source with the newest export. No request is sent to Customerly.

    :param export_path: the ``path`` of the export, as for ``read_contacts``.
    :param base_url: the API from which the contacts must have been exported.
    :param differences: folder for the differences, as for ``Location.of``; None to write none.
    :return: counts and the path of the differences; no personal data.
    :raises ValueError: an argument is invalid, or the export cannot be used. The message says how to fix it.
    :raises ReconcileLimitError: the two differ by more than a limit allows.
    """
    options.check()
    started = datetime.now(timezone.utc)
    mapping = FieldMapping(source.columns, options)
    place = None if differences is None else dataclasses.replace(Location.of(differences), private=True)
    if place is not None:
        place.check_writable()
    with (
        HeldContacts.open(
            export_path,
            options.contact_type,
            base_url,
            mapping.fields,
            max_age=options.max_export_age,
            name="export_path",
        ) as held,
        DifferenceWriter(place) as writer,
    ):
        work = _Reconciliation(mapping, held, writer)
        for chunk in source:
            work.take(chunk)
        work.take_contacts_without_rows()
        path = writer.close()
        result = {
            "contact_type": options.contact_type,
            **work.figures(),
            "limits": {name: getattr(options, name) for name in ("min_rows", *LIMITS)},
            "breached": work.breached(options),
            "differences": path,
            "export_run": held.export.run,
            "export_time": held.time.isoformat(),
            "age_seconds": round(held.export.age.total_seconds()),
            "seconds": round((datetime.now(timezone.utc) - started).total_seconds(), 3),
        }
    if place is not None and options.keep_days is not None:
        try:
            remove_old(place, options.keep_days)
        except Exception as error:  # the comparison is done, and the next run tries again
            log.warning(
                "Could not remove old differences (%s). The next run does it.\n%s",
                type(error).__name__,
                place,
            )
    told = _in_words(result)
    if result["breached"]:
        raise ReconcileLimitError(told, result)
    log.info("%s", told)
    return result


class _Reconciliation:
    """Judge each row and each contact."""

    def __init__(self, mapping: FieldMapping, held: HeldContacts, writer: DifferenceWriter) -> None:
        self._mapping = mapping
        self._held = held
        self._writer = writer
        self._rows = self._equal = self._differing = self._only_warehouse = self._invalid = 0
        self._only_customerly = 0
        self._fields = Counter[str]()
        self._reasons = Counter[str]()
        self._met = KeySet()
        names = mapping.fields
        self._user_id = names.index("user_id") if "user_id" in names else None
        self._compared = [(at, field) for at, field in enumerate(names) if field not in held.not_shown]

    def take(self, chunk: Sequence[Sequence[Any]]) -> None:
        """Compare rows of the source."""
        rows = self._mapping.map(chunk, self._rows + 1)
        self._rows += len(rows)
        user_ids = [self._id_of(row) for row in rows]
        contacts = self._held.look_up([row.email for row in rows], user_ids)
        found = [contact.id for contact in contacts if contact is not None]
        again = iter(self._met.add(found))
        for row, user_id, contact in zip(rows, user_ids, contacts, strict=True):
            is_taken = contact is not None and next(again)
            self._judge(row, user_id, contact, is_taken)

    def take_contacts_without_rows(self) -> None:
        """Add the contacts without a row. Call this after the last row."""
        self._only_customerly = self._held.count_not_looked_up
        if self._writer.is_used:
            for contact in self._held.not_looked_up():
                self._writer.add(
                    Difference(
                        "only_customerly", email=contact.email, user_id=contact.user_id, contact=contact.id
                    )
                )

    def figures(self) -> dict[str, Any]:
        """Return the counts."""
        rows, contacts = self._rows, len(self._held)
        counts = {
            "equal": self._equal,
            "differing": self._differing,
            "only_warehouse": self._only_warehouse,
            "invalid": self._invalid,
        }
        shares = {name: _share(count, rows) for name, count in counts.items()}
        return {
            "rows": rows,
            "contacts": contacts,
            **counts,
            "only_customerly": self._only_customerly,
            "shares": {**shares, "only_customerly": _share(self._only_customerly, contacts)},
            "fields": most_frequent(self._fields),
            "reasons": most_frequent(self._reasons),
            "not_compared": some_reasons(self._held.not_shown),
        }

    def breached(self, options: ReconcileOptions) -> list[str]:
        """Return the names of the limits that are exceeded."""
        values = {
            "max_differing": (self._differing, self._rows),
            "max_only_warehouse": (self._only_warehouse, self._rows),
            "max_only_customerly": (self._only_customerly, len(self._held)),
            "max_invalid": (self._invalid, self._rows),
        }
        found = ["min_rows"] if self._rows < options.min_rows else []
        for name in LIMITS:
            limit, (count, whole) = getattr(options, name), values[name]
            if limit is not None and count > allowed(limit, whole):
                found.append(name)
        return found

    def _judge(self, row: MappedRow, user_id: str | None, contact: Contact | None, is_taken: bool) -> None:
        if row.problems or is_taken:
            first = row.problems[0] if row.problems else None
            reason = first.reason if first else "duplicate_contact"
            field = first.field if first else None
            self._invalid += 1
            self._reasons[reason if field is None or reason.endswith(field) else f"{reason} in {field}"] += 1
            self._writer.add(
                Difference("invalid", row.number, row.email, user_id, field=field, reason=reason)
            )
        elif contact is None:
            self._only_warehouse += 1
            self._writer.add(Difference("only_warehouse", row.number, row.email, user_id))
        else:
            self._compare(row, user_id, contact)

    def _compare(self, row: MappedRow, user_id: str | None, contact: Contact) -> None:
        differing = [
            (at, field)
            for at, field in self._compared
            # A sync does not send null, so any value in Customerly is right.
            if row.values[at] is not None and not is_same(field, contact.values[at], row.values[at])
        ]
        if not differing:
            self._equal += 1
            return
        self._differing += 1
        for at, field in differing:
            self._fields[field] += 1
            there = contact.values[at]
            self._writer.add(
                Difference(
                    "differing",
                    row.number,
                    row.email,
                    user_id,
                    contact.id,
                    field,
                    None if there is UNKNOWN else there,
                    row.values[at],
                )
            )

    def _id_of(self, row: MappedRow) -> str | None:
        return None if self._user_id is None else row.values[self._user_id]


def _share(count: int, whole: int) -> float:
    return round(count / whole, 6) if whole else 0.0


def _in_words(result: dict[str, Any]) -> str:
    lines = [
        f"{result['rows']} rows of the warehouse and {result['contacts']} {result['contact_type']} of the "
        f"export of {result['export_time']}:",
        f"  equal: {result['equal']}",
        f"  differing: {result['differing']}",
        f"  only in the warehouse: {result['only_warehouse']}",
        f"  only in Customerly: {result['only_customerly']}",
        f"  invalid: {result['invalid']}",
    ]
    lines += _most(result["fields"], "  rows that differ in {}: {}")
    lines += _most(result["reasons"], "  rows that are invalid, {}: {}")
    lines += [f"  not compared: {field}, {reason}" for field, reason in result["not_compared"].items()]
    if result["breached"]:
        told = ", ".join(f"{name}={result['limits'][name]}" for name in result["breached"])
        lines.append(
            f"That is more than {told} allows."
            if result["breached"] != ["min_rows"]
            else f"That is fewer rows than {told}. Check the query and the table."
        )
        lines.append("Run the sync or fix the rows, export again, and reconcile again. Or raise the limit.")
    if result["differences"]:
        lines += ["The differences, which contain personal data:", result["differences"]]
    return "\n".join(lines)


def _most(counts: dict[str, int], form: str) -> list[str]:
    return [form.format(name, count) for name, count in list(counts.items())[:_REASONS]]
