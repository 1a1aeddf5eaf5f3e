"""Remove rejects, plans and records of old runs. The ledger is not touched."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from airflow_provider_customerly.sync import plan_file, records, rejects, undo_file

if TYPE_CHECKING:
    from airflow_provider_customerly.storage import Location

_RUN = re.compile(r"(\d{8}T\d{12})Z-[0-9a-f]+")


def remove_old_runs(location: Location, keep_days: float, newest: str) -> None:
    """Remove the files of runs that began more than `keep_days` ago.

    :param location: the sync's state.
    :param newest: the run that came to all of its rows just now; its files stay, for rows that are still
        refused take their reasons there.
    """
    since = datetime.now(timezone.utc) - timedelta(days=keep_days)
    # The records go last: rejects without a record count as those of a run that died.
    for folder in (rejects.FOLDER, plan_file.FOLDER, undo_file.FOLDER, records.FOLDER):
        for name in location.list(folder):
            match = _RUN.match(PurePosixPath(name).name)
            if match and match[0] != newest and _instant(match[1]) < since:
                location.delete(name)


def _instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%S%f").replace(tzinfo=timezone.utc)
