"""Find rows that a newer version of the same contact replaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_customerly.export.arrays import to_array
from airflow_provider_customerly.export.columns import KEY, TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Mapping


class Superseded:
    """The newest versions of contacts that came more than once.

    :param newest: the ``last_update`` of the newest version, by contact id.
    """

    columns: ClassVar[list[str]] = list(KEY)
    """The columns needed for this."""

    def __init__(self, newest: Mapping[int, str]) -> None:
        self._ids = pa.array(list(newest), pa.int64())
        self._stamps, _ = to_array(list(newest.values()), TIMESTAMP)

    def keep(self, rows: pa.RecordBatch) -> pa.Array:
        """Return a mask of the rows to keep: the newest versions, and contacts that came only once."""
        at = pc.index_in(rows["crmhero_user_id"], value_set=self._ids)
        newest = self._stamps.take(at)
        # The list has rows without a timestamp first, so any timestamp is newer than none.
        before_all = pa.scalar(-(2**63), pa.int64()).cast(TIMESTAMP)
        stamp = pc.fill_null(rows["last_update"], before_all)
        return pc.invert(pc.fill_null(pc.less(stamp, newest), False))
