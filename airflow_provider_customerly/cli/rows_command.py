"""``airflow customerly state rejects`` and ``plan``, the two commands that show personal data."""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.cli.places import check_form, location_of, problems_told
from airflow_provider_customerly.cli.terminal import write, write_csv, write_json, write_note, write_table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

_REJECTED = ("sync", "run", "row", "email", "reason", "field", "message")
_PLANNED = (
    *("row", "action", "email", "user_id", "changed_fields", "reason", "field", "message", "contact"),
    *("is_there", "held", "edited_fields"),
)
_WARNING = "This output contains personal data. Treat it like the table that the rows come from."


def rejects(args: argparse.Namespace) -> None:
    """Print the rows that were not delivered."""
    from airflow_provider_customerly.housekeeping import find_rejects

    with problems_told(args):
        check_form(args)
        found = find_rejects(location_of(args), args.run)
        if any(one.name for one in found):
            write_note(_WARNING)
        if args.json or args.csv:
            rows = chain.from_iterable(one.rows() for one in found)
            write_json(rows) if args.json else write_csv(rows, _REJECTED)
            return
        for number, one in enumerate(found):
            start = ("\n" if number else "") + f"sync {one.sync}"
            if one.run is None:
                write(f"{start}: no run yet")
            elif one.name is None:
                write(f"{start}, run {one.run}: all rows were delivered")
            else:
                write(f"{start}, run {one.run}: rows that were not delivered")
                columns = {name: name for name in _REJECTED if name not in ("sync", "run")}
                write_table(one.rows(), columns)


def plan(args: argparse.Namespace) -> None:
    """Print what a plan would do with each row."""
    from airflow_provider_customerly.housekeeping import find_plan

    with problems_told(args):
        check_form(args)
        found = find_plan(location_of(args), args.plan)
        write_note(_WARNING)
        if args.json:
            write_json(found.rows())
        elif args.csv:
            write_csv(found.rows(), _PLANNED)
        else:
            actions = ", ".join(f"{action} {count}" for action, count in sorted(found.actions.items()))
            write(
                f"sync {found.sync}, {found.name}: {actions or 'nothing to do'}; unchanged {found.unchanged}"
            )
            columns = dict.fromkeys(_PLANNED[:4]) | {"what": None}
            write_table(_in_short(found.rows()), {name: name.replace("_", " ") for name in columns})


def _in_short(rows: Iterator[dict[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Add a short summary to each row: the fields that change, or why the row is not sent."""
    for row in rows:
        if row["reason"]:
            what = f"{row['reason']}: {row['message']}"
        elif row["changed_fields"]:
            what = ", ".join(_change(row, field) for field in row["changed_fields"])
        else:
            what = ", ".join(_fields(row["contact"] or {}))
        yield {**row, "what": what}


def _change(row: Mapping[str, Any], field: str) -> str:
    """Describe a changed field, with both values if the plan was compared with an export."""
    if field not in (row["held"] or {}):
        return field
    contact = row["contact"] or {}
    new = contact.get(field, contact.get("attributes", {}).get(field.removeprefix("attributes.")))
    told = f"{field}: {_json(row['held'][field])} -> {_json(new)}"
    return f"{told} (edited in Customerly)" if field in (row["edited_fields"] or ()) else told


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _fields(contact: Mapping[str, Any]) -> Iterator[str]:
    for name, value in contact.items():
        if name == "attributes":
            yield from (f"attributes.{attribute}" for attribute in value)
        else:
            yield name
