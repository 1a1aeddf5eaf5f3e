"""Read the rows that a sync did not deliver, and the rows of a plan. Both contain personal data."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import asdict

from airflow_provider_customerly.housekeeping.places import find_places, folder
from airflow_provider_customerly.storage import RefusedError, RunId
from airflow_provider_customerly.sync.plan_file import read_plan
from airflow_provider_customerly.sync.records import read_records
from airflow_provider_customerly.sync.rejects import FOLDER as REJECTS
from airflow_provider_customerly.sync.rejects import read_rejects
from airflow_provider_customerly.sync.seal import check_name, read_seal

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from airflow_provider_customerly.storage import Location

_REJECTS = re.compile(rf"(?:{REJECTS}/)?({RunId.PATTERN})(?:\.parquet)?")
_PLAN = re.compile(rf"(?:plans/)?({RunId.PATTERN}(?:-\d+)?)(?:\.parquet)?")


class Rejects(NamedTuple):
    """The rows that one run of a sync did not deliver."""

    sync: str
    """Folder of the sync, relative to the given folder."""
    run: str | None
    """None if the sync has no run yet."""
    name: str | None
    """Name of the file, relative to the sync's state; None if all rows were delivered."""
    location: Location

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows."""
        if self.name is not None:
            for reject in read_rejects(self.location, self.name):
                row = reject._asdict()
                del row["key"]
                yield {"sync": self.sync, **row}


class PlannedRows(NamedTuple):
    """A sealed plan."""

    sync: str
    name: str
    actions: Counter[str]
    unchanged: int
    """Rows of the source that are not in the plan because Customerly already has them."""
    location: Location

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows; ``contact`` is what will be sent."""
        for planned in read_plan(self.location, self.name):
            row = asdict(planned)
            del row["fingerprint"], row["key"]
            row["row"] = row.pop("number") or None
            for name in ("contact", "held"):
                row[name] = None if row[name] is None else json.loads(row[name])
            yield {name: row[name] for name in ("row", *(name for name in row if name != "row"))}


def find_rejects(location: Location, run: str | None = None) -> list[Rejects]:
    """Find the rows that were not delivered.

    :param run: id of a run, or ``rejects`` from its result; by default the newest run of each sync.
    :raises RefusedError: there is no sync or no such file.
    """
    syncs = _syncs(location)
    if run is None:
        return [_newest_rejects(name, place) for name, place in syncs]
    match = _REJECTS.fullmatch(run.strip())
    if match is None:
        raise RefusedError(
            f"{run!r} is not a run. Pass a run id, or `rejects` from the result of a run, such as "
            "rejects/20261123T020000123456Z-9f86d081.parquet."
        )
    file = f"{REJECTS}/{match[1]}.parquet"
    found = [Rejects(name, match[1], file, place) for name, place in syncs if place.exists(file)]
    if not found:
        raise RefusedError(
            f"No sync at {location} has rejects of run {match[1]}. Either the run delivered all rows, or the "
            "file was removed. List the runs with `airflow customerly state show PATH --runs`."
        )
    return found


def find_plan(location: Location, plan: str) -> PlannedRows:
    """Find a plan and check its seal.

    :param plan: its name in the result of a dry run, or the id of that run.
    :raises ValueError: there is no such plan, or it was altered after it was made.
    """
    match = _PLAN.fullmatch(plan.strip())
    file = f"plans/{match[1]}.parquet" if match else plan
    check_name(file)
    syncs = _syncs(location)
    name, place = next(((name, place) for name, place in syncs if place.exists(file)), syncs[0])
    seal, actions = read_seal(place, file)
    return PlannedRows(name, file, actions, seal.unchanged, place)


def _syncs(location: Location) -> list[tuple[str, Location]]:
    places = find_places(location)
    if not places.syncs:
        raise RefusedError(f"There is no sync at {location}. Pass the state_path of a sync.")
    return [(name or ".", folder(location, name)) for name in places.syncs]


def _newest_rejects(name: str, place: Location) -> Rejects:
    for record in read_records(place):
        if record.outcome != "planned":
            return Rejects(name, record.run, record.rejects, place)
    return Rejects(name, None, None, place)
