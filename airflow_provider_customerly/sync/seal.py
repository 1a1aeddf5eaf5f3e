"""The seal of a plan: a file beside it, by which it can be applied later and shows when it was altered."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Literal

import msgspec

from airflow_provider_customerly.storage import read_batches
from airflow_provider_customerly.storage.intact import digest
from airflow_provider_customerly.storage.run_id import RunId
from airflow_provider_customerly.sync.compared_with import ComparedWith
from airflow_provider_customerly.sync.damage import reading
from airflow_provider_customerly.sync.plan_file import FOLDER

if TYPE_CHECKING:
    from airflow_provider_customerly.storage import Location

PLAN_NAME = re.compile(rf"{FOLDER}/({RunId.PATTERN})(?:-\d+)?\.parquet")


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """The file beside a plan that says what the plan is and what it was made for.

    The seal shows that a plan was cut short, or altered by mistake, since somebody looked at it. It does not
    protect against people who may write to the state: they can seal anew, as they can change the ledger.
    """

    run: str
    state: str
    """Names the salt of the plan's digests; see `State.id`."""
    sync_name: str
    contact_type: str
    digests: Literal[2]
    """Format of the digests. Plans made before 0.3 lack it, and are refused."""
    ledger_sequence: int
    """The ledger's commit that the rows were compared with."""
    fields: list[str]
    rows_read: int
    """Of the source."""
    unchanged: int
    """Rows of the source that are not in the plan."""
    bytes: int
    sha256: str
    compared_with: ComparedWith | None = None
    undoes: str = ""
    """The run that it undoes, if it does."""
    cannot_undo: dict[str, int] | None = None


def seal_plan(location: Location, name: str, seal: Seal) -> None:
    """Write the seal beside a plan."""
    location.write_atomic(seal_name(name), msgspec.json.format(msgspec.json.encode(seal), indent=2))


def read_seal(location: Location, name: str) -> tuple[Seal, Counter[str]]:
    """Read a plan's seal and hold the plan against it.

    :param name: name of the plan, relative to the sync's state.
    :return: the seal, and how many rows the plan has of each action.
    :raises ValueError: there is no such plan, it was altered since it was made, or made before 0.3.
    """
    try:
        seal = msgspec.json.decode(location.read(seal_name(name)), type=Seal)
        checksum, size = digest(location, name)
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(
            f"There is no sealed plan {name} at {location}. Pass the `plan` of a dry run's result."
        ) from None
    except msgspec.DecodeError as error:
        raise ValueError(
            f"The seal of {name} at {location} is damaged, or a version before 0.3 made it ({error}). Plan "
            "again."
        ) from None
    altered = ValueError(
        f"The plan {name} at {location} was altered since it was made. Plan again: correct rows in the "
        "warehouse, not in the plan."
    )
    if (checksum, size) != (seal.sha256, seal.bytes):
        raise altered
    actions = _count_actions(location, name)
    if seal.unchanged < 0 or seal.rows_read != seal.unchanged + actions.total() - actions["vanished"]:
        raise altered
    return seal, actions


def check_name(name: str) -> None:
    """Make sure that a name is that of a plan, and leads nowhere else.

    :raises ValueError: it is not.
    """
    if not PLAN_NAME.fullmatch(name):
        raise ValueError(
            f"plan_path is {name!r}, which is not a plan of this sync. Pass the `plan` of a dry run's "
            "result, such as plans/20261123T020000123456Z-9f86d081.parquet. It lies below the sync's state."
        )


def seal_name(name: str) -> str:
    """Return the name of a plan's seal."""
    return name.removesuffix(".parquet") + ".json"


def _count_actions(location: Location, name: str) -> Counter[str]:
    actions = Counter[str]()
    with reading(location, name), location.open(name) as stream:
        for batch in read_batches(stream, ["action"]):
            actions.update(batch["action"].to_pylist())
    return actions
