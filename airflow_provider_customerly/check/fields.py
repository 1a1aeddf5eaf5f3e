"""Judge the fields of a contact. Only field names and counts leave this module, never values."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from airflow_provider_customerly.check.judgement import Judgement, listed
from airflow_provider_customerly.export.columns import FIELDS
from airflow_provider_customerly.values.words import count

if TYPE_CHECKING:
    from airflow_provider_customerly.check.inquiry import Observed

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}")  # other names are not shown
_MOST_NAMES = 20

_NUMERIC = [
    name
    for name, kind in FIELDS["users"].items()
    if not pa.types.is_string(kind) and name not in ("crmhero_user_id", "last_update")
]
_SHAPES = {dict: "object", list: "list", str: "text", type(None): "null", bool: "flag"}
_KNOWN_SHAPES = {"object", "object, empty", "list, empty", "null", "absent"}

_NO_ROWS = Judgement("not checked", "No contact was seen.")


def key(seen: Observed) -> Judgement:
    """Judge ``crmhero_user_id``."""
    rows = seen.rows
    if not rows:
        return _NO_ROWS
    kinds = Counter(
        "integer" if type(value := row.get("crmhero_user_id")) is int else _kind(value) for row in rows
    )
    if kinds["integer"] == len(rows):
        return Judgement("holds", f"All of {count(len(rows), 'contact')} have one.")
    unusable = kinds["other"] + kinds["number"]
    if unusable:
        return Judgement(
            "differs",
            f"{unusable} of {count(len(rows), 'contact')} have no readable id.",
            "An export with such a contact fails with an error. Report it to Customerly.",
        )
    return Judgement(
        "differs", f"{kinds['numeric text']} of {count(len(rows), 'contact')} have an id as text."
    )


def numbers(seen: Observed) -> Judgement:
    """Judge the fields with numbers and flags."""
    rows = seen.rows
    if not rows:
        return _NO_ROWS
    odd: dict[str, Counter[str]] = {"numeric text": Counter(), "other": Counter()}
    for row in rows:
        for name in _NUMERIC:
            kind = "number" if row.get(name) is None else _kind(row[name])
            if kind in odd:
                odd[kind][name] += 1
    if not any(odd.values()):
        return Judgement("holds", f"True for all of {count(len(rows), 'contact')}.")
    parts = [f"{kind} in {_names(names)}" for kind, names in odd.items() if names]
    consequence = None
    if odd["other"]:
        consequence = "A value that is not a number is null in its column, kept in extra, and counted."
    return Judgement("differs", f"There is {' and '.join(parts)}.", consequence)


def attributes(seen: Observed) -> Judgement:
    """Judge the shape of a contact's attributes."""
    rows = seen.rows
    if not rows:
        return _NO_ROWS
    shapes = Counter(_shape(row) for row in rows)
    evidence = f"Seen: {'; '.join(f'{shape} ({number})' for shape, number in shapes.most_common())}."
    return Judgement("holds" if set(shapes) <= _KNOWN_SHAPES else "differs", evidence)


def known_fields(seen: Observed) -> Judgement:
    """Judge whether there are fields without a column."""
    rows = seen.rows
    if not rows:
        return _NO_ROWS
    names = Counter(
        name for row in rows for name in row if name not in FIELDS["users"] and name != "attributes"
    )
    if not names:
        return Judgement("holds", f"{count(len(rows), 'contact')} have no others.")
    return Judgement("differs", f"There are others: {_names(names)}.")


def _shape(row: dict[str, Any]) -> str:
    if "attributes" not in row:
        return "absent"
    value = row["attributes"]
    shape = _SHAPES.get(type(value), "number")
    return f"{shape}, empty" if value in ([], {}) else shape


def _kind(value: Any) -> str:
    if isinstance(value, (int, float)):
        return "number"
    try:
        float(value)
    except (TypeError, ValueError):
        return "other"
    return "numeric text"


def _names(names: Counter[str]) -> str:
    """List the names that look like field names, unlike email addresses, and count the others."""
    shown = [name for name, _ in names.most_common() if _NAME.fullmatch(name)][:_MOST_NAMES]
    rest = len(names) - len(shown)
    return listed(shown) + (f" and {rest} more" if rest and shown else f"{rest} oddly named" if rest else "")
