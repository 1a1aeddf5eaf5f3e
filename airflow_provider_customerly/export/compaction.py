"""Folds changes into a new base."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import msgspec

from airflow_provider_customerly.export.current import open_state
from airflow_provider_customerly.export.writer import PartWriter
from airflow_provider_customerly.storage import chain

if TYPE_CHECKING:
    from airflow_provider_customerly.storage import Dataset, Manifest

log = logging.getLogger(__name__)

_SHARE = 0.25
"""Rows of changes for each row of the base."""
_MOST_COMMITS = 100
"""Each commit of changes makes every reading of the others slower, however few rows it has."""


def compact(dataset: Dataset, compression: str = "zstd", row_group_size: int = 131_072) -> Manifest | None:
    """Write the newest state as one base, if the changes have passed a quarter of it or are in many commits.

    Nothing that was committed is removed: earlier states can still be read.

    :return: the commit; None if it is not worth it, or another commit came first.
    """
    newest = dataset.newest()
    if newest is None or not newest.after:
        return None
    base, *changes = chain(dataset.location, newest)
    if len(changes) < _MOST_COMMITS and sum(change.rows for change in changes) <= base.rows * _SHARE:
        return None
    now = datetime.now(timezone.utc)
    state = open_state(dataset.location, newest)
    partition = {"compacted_date": now.date().isoformat()}
    with (
        dataset.begin() as write,
        PartWriter(write, partition, state.schema, compression, row_group_size) as writer,
    ):
        for batch in state.to_batches(batch_readahead=2, fragment_readahead=1):
            writer.add(batch)
        writer.finish({})
        if dataset.newest() != newest:
            return None  # the next export folds that one in too
        commit = write.commit(
            msgspec.structs.replace(
                newest,
                run=write.run,
                owner="",
                mode="compacted",
                after="",
                partition=partition,
                files=writer.files,
                rows=writer.rows,
                low=writer.low,
                high=writer.high,
                since=None,
                certificate=base.certificate,
                finished_at=datetime.now(timezone.utc),
            )
        )
    log.info("Folded %d exports of changes into a base of %d contacts", len(changes), commit.rows)
    return commit
