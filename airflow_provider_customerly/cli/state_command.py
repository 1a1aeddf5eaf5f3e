"""``airflow customerly state``: show, verify and reset."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from typing import TYPE_CHECKING

from airflow_provider_customerly.cli.places import check_form, location_of, problems_told
from airflow_provider_customerly.cli.terminal import write, write_csv, write_json, write_table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from airflow_provider_customerly.housekeeping import Run

_OF_SYNC = {
    "finished_at": "finished",
    "shown_outcome": "outcome",
    "rows": "rows",
    "new": "new",
    "changed": "changed",
    "unchanged": "unchanged",
    "sent": "sent",
    "refused": "refused",
    "invalid": "invalid",
    "gone": "vanished",
    "run": "run",
}
_OF_EXPORT = {
    "finished_at": "finished",
    "outcome": "verdict",
    "rows": "rows",
    "new": "new",
    "changed": "changed",
    "gone": "gone",
    "mode": "mode",
    "partition": "folder",
    "size": "size",
}


def show(args: argparse.Namespace) -> None:
    """Print what is committed at a path, or the newest runs."""
    from airflow_provider_customerly.housekeeping import NEWEST, list_runs, survey

    with problems_told(args):
        check_form(args)
        if args.runs:
            newest = NEWEST if args.last is None else args.last
            if newest < 1:
                raise ValueError(f"--last must be 1 or more. It is {newest}.")
            _write_runs(args, list_runs(location_of(args), newest))
            return
        if args.csv or args.last is not None:
            raise ValueError("--csv and --last only work with --runs. Add --runs, or remove them.")
        found = survey(location_of(args))
        write(json.dumps(found.to_dict(), indent=2) if args.json else found.to_text())


def verify(args: argparse.Namespace) -> None:
    """Compare the files at a path with their checksums."""
    from airflow_provider_customerly.housekeeping import verify

    with problems_told(args):
        outcome = verify(location_of(args))
        write(json.dumps(outcome.to_dict(), indent=2) if args.json else outcome.to_text())
    if not outcome.is_intact:
        sys.exit(1)


def reset(args: argparse.Namespace) -> None:
    """Remove the state at a path."""
    from airflow_provider_customerly.housekeeping import Removal

    with problems_told(args):
        removal = Removal(location_of(args))
        if not args.yes and not _is_confirmed(f"This removes {removal}."):
            sys.exit("Nothing was removed.")
        removal.run()
        write(f"Removed {removal}.")


def _write_runs(args: argparse.Namespace, runs: Iterable[Run]) -> None:
    if args.json:
        write_json(map(vars, runs))
    elif args.csv:
        from airflow_provider_customerly.housekeeping import Run

        write_csv(map(vars, runs), list(Run.__dataclass_fields__))
    else:
        for number, ((kind, name), some) in enumerate(groupby(runs, lambda run: (run.kind, run.name))):
            write(("\n" if number else "") + f"{kind} {name}")
            write_table(map(_shown, some), _OF_SYNC if kind == "sync" else _OF_EXPORT)


def _shown(run: Run) -> dict[str, object]:
    from airflow_provider_customerly.values.words import size

    outcome = f"{run.outcome} ({run.error})" if run.error else run.outcome
    return {**vars(run), "shown_outcome": outcome, "size": None if run.bytes is None else size(run.bytes)}


def _is_confirmed(what: str) -> bool:
    if not sys.stdin.isatty():
        raise ValueError(f"{what} Nothing was removed. Add --yes to confirm.")
    return input(f"{what} Type yes to continue: ").strip().lower() == "yes"
