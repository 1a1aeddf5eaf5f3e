"""``airflow customerly undo``: make the plan that undoes a run of a sync."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.cli.connections import get_connection
from airflow_provider_customerly.cli.places import location_of, problems_told
from airflow_provider_customerly.cli.terminal import write
from airflow_provider_customerly.hooks.connection import client_arguments
from airflow_provider_customerly.values.words import count

if TYPE_CHECKING:
    import argparse

    from airflow_provider_customerly.storage import Location

_STAYS = {
    "created": ("contact", "that the run created: not deleted"),
    "deleted": ("contact", "deleted by the run or gone since: not created again"),
    "unsubscribed": ("contact", "that the run unsubscribed"),
    "tags": ("row", "with tags that the run added, or took off vanished contacts"),
    "empty": ("row", "with a field that was empty before: the API cannot take a value away"),
    "unknown": ("row", "with a field whose old value is not known, or which the API does not take"),
}


def undo(args: argparse.Namespace) -> None:
    """Make the plan and print what it comes to; nothing is sent."""
    from airflow_provider_customerly.client import Client
    from airflow_provider_customerly.hooks.lookup import find_location
    from airflow_provider_customerly.sync import Options, plan_undo

    with problems_told(args):
        folder = _sync_of(location_of(args), args.run)
        identity = _identity(folder)
        export = args.compare_with and find_location(args.compare_with, None)
        options = Options.of({"contact_type": identity.contact_type, "on_edited": args.on_edited})
        if export is None and args.on_edited != "overwrite":
            raise ValueError(
                "--on-edited only works with --compare-with. Set it to the path of an export after the run."
            )
        connection: Any = get_connection(args.conn_id)
        parent, _, name = folder.root.rpartition("/")
        state_path = dataclasses.replace(folder, root=parent)
        with Client(**client_arguments(connection)) as client:
            result = plan_undo(client, args.run, state_path, name, options, export=export)
        write(json.dumps(result, indent=2) if args.json else _in_words(result))


def _sync_of(location: Location, run: str) -> Location:
    """Return the folder of the sync that the run belongs to.

    :raises ValueError: no sync there has anything to undo of it.
    """
    from airflow_provider_customerly.housekeeping.places import find_places, folder
    from airflow_provider_customerly.sync.undo_file import find_undo

    problem: ValueError | None = None
    for name in find_places(location).syncs:
        sync = folder(location, name)
        try:
            find_undo(sync, run)
        except ValueError as error:
            problem = error
        else:
            return sync
    raise problem or ValueError(f"There is no sync at {location}. Pass the state_path of a sync.")


def _identity(folder: Location) -> Any:
    import msgspec

    from airflow_provider_customerly.sync.damage import IDENTITY
    from airflow_provider_customerly.sync.state import Identity

    return msgspec.json.decode(folder.read(IDENTITY), type=Identity)


def _in_words(result: dict[str, Any]) -> str:
    comparison = result.get("comparison")
    stays = {name: number for name, number in result["cannot_undo"].items() if number}
    lines = [
        f"{result['changed']} of the {count(result['rows_read'], 'row')} that run {result['undoes']} changed "
        "would be put back.",
        *(f"  {number} in {field}" for field, number in result["changed_fields"].items()),
        *(["Not undone:"] if stays else []),
        *(f"  {count(number, _STAYS[name][0])} {_STAYS[name][1]}" for name, number in stays.items()),
    ]
    if comparison is None:
        lines.append("Later edits in Customerly were not checked. Use --compare-with to check them.")
    else:
        edited = comparison["edited_in_customerly"]
        verb = "was" if edited == 1 else "were"
        lines.append(f"{count(edited, 'row')} {verb} edited since: {comparison['on_edited']}.")
    lines += [
        f"See it:   airflow customerly state plan {result['path']} {result['plan']}",
        f"Apply it: run the sync's task with plan_path={result['plan']!r} and without sql or table.",
        "The next sync sends the same rows again unless the warehouse has changed by then.",
    ]
    return "\n".join(lines)
