"""Tells rows of contacts that came again in a newer version."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_customerly.export.arrays import to_array
from airflow_provider_customerly.export.schema import KEY, TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Mapping


class Superseded:
    """The newest versions of contacts that came more than once.

    :param newest: contact id to the `last_update` of its newest version.
    """

    columns: ClassVar[list[str]] = list(KEY)
    """The columns that are needed to tell."""

    def __init__(self, newest: Mapping[int, str]) -> None:
        self._ids = pa.array(list(newest), pa.int64())
        self._stamps, _ = to_array(list(newest.values()), TIMESTAMP)

    def keep(self, rows: pa.RecordBatch) -> pa.Array:
        """Give true for each row that stays: it is the newest version, or no other one has come."""
        at = pc.index_in(rows["crmhero_user_id"], value_set=self._ids)
        newest = self._stamps.take(at)
        # The list puts rows without a stamp first, so any stamp is newer than none.
        stamp = pc.fill_null(rows["last_update"], _BEFORE_ALL)
        return pc.invert(pc.fill_null(pc.less(stamp, newest), False))


_BEFORE_ALL = pa.scalar(-(2**63), pa.int64()).cast(TIMESTAMP)
