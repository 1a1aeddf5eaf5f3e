"""Guards that stop an export before its commit."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from airflow_provider_customerly.values.top_counts import shortened
from airflow_provider_customerly.values.words import count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_customerly.export.options import ExportOptions
    from airflow_provider_customerly.reading import Certificate
    from airflow_provider_customerly.storage import Location, Manifest

log = logging.getLogger(__name__)

_NOTHING = "Nothing was committed."
_MOST_TOLD = 20
"""Guards in a result: ``max_null_share`` may name hundreds of columns."""


class ExportGuardError(Exception):
    """A guard stopped an export before its commit: check the figures, then decide."""


class UnprovenError(ExportGuardError):
    """The export could not be proven complete."""


class Guards:
    """Check the figures of an export against its limits, and record both."""

    def __init__(self) -> None:
        self._held: list[dict[str, Any]] = []

    def told(self) -> list[dict[str, Any]]:
        """Return the checks so far; if there are many, only breaches and values nearest to their limits.

        ``value`` and ``of`` are numbers of rows or values. ``limit`` is the user's setting.
        """
        nearest = sorted(self._held, key=lambda one: (not one["breached"], -one["value"] / (one["of"] or 1)))
        # In the order of the checks.
        return [one for one in self._held if one in nearest[:_MOST_TOLD]]

    def check_rows(self, rows: int, last: Manifest | None, min_rows: int, max_shrink: float | None) -> None:
        """Stop a table with suspiciously few rows."""
        if self._is_breached("min_rows", min_rows, rows, rows < min_rows):
            raise ExportGuardError(
                f"The table has {count(rows, 'row')}, fewer than min_rows={min_rows}. {_NOTHING} "
                "If this is expected, lower min_rows."
            )
        if last is None or max_shrink is None:
            return
        is_short = rows < last.rows * (1 - max_shrink)
        if self._is_breached("max_shrink", max_shrink, max(0, last.rows - rows), is_short, of=last.rows):
            raise ExportGuardError(
                f"The table has {count(rows, 'row')}, but the last one had {last.rows}. It shrank by more "
                f"than max_shrink={max_shrink}. {_NOTHING} If this is expected, raise max_shrink for one run."
            )

    def check_vanished(self, options: ExportOptions, vanished: int, known: int) -> None:
        """Stop a full refresh in which too many contacts are missing."""
        most = options.max_vanished
        if most is None:
            return
        if self._is_breached("max_vanished", most, vanished, vanished > known * most, of=known):
            raise ExportGuardError(
                f"{vanished} of {known} known contacts are no longer in the list: more than "
                f"max_vanished={most}. {_NOTHING} Check that the token belongs to the right project. If this "
                "is expected, raise max_vanished for one run."
            )

    def check_coercion(self, options: ExportOptions, misfits: Mapping[str, int]) -> None:
        """Stop an export with too many values that do not fit their column."""
        most = options.max_coercion_failures
        if most is None:
            return
        column, count = max(sorted(misfits.items()), key=lambda one: one[1], default=(None, 0))
        if self._is_breached("max_coercion_failures", most, count, count > most, column=column):
            raise ExportGuardError(
                f"{count} values do not fit the type of column {column}: more than "
                f"max_coercion_failures={most}. {_NOTHING} Check the values in Customerly, fix the type in "
                "attributes, or raise max_coercion_failures."
            )

    def check_nulls(
        self, options: ExportOptions, location: Location, names: Sequence[str], rows: int
    ) -> None:
        """Stop a table with too many nulls in a column.

        :param names: the files of the table, relative to the location.
        """
        if not options.null_limits or not rows:
            return
        nulls = _count_nulls(location, names)
        for column, share in options.null_limits.items():
            count = nulls.get(column, 0)
            if self._is_breached(
                "max_null_share", share, count, count > rows * share, of=rows, column=column
            ):
                raise ExportGuardError(
                    f"{count} of {rows} values of column {column} are null: more than "
                    f"max_null_share={share}. {_NOTHING} If this is expected, raise max_null_share for "
                    f"{column}."
                )

    def _is_breached(
        self,
        name: str,
        limit: float,
        value: int,
        breached: bool,
        *,
        of: int | None = None,
        column: str | None = None,
    ) -> bool:
        self._held.append(
            {
                "name": name,
                "limit": limit,
                "value": value,
                "of": of,
                "column": column and shortened(column),
                "breached": breached,
            }
        )
        return breached


def check_verdict(options: ExportOptions, certificate: Certificate) -> None:
    """Stop an export that may have missed a contact, unless ``on_unproven`` allows it."""
    if certificate.verdict == "complete":
        return
    if options.on_unproven == "fail":
        raise UnprovenError(
            f"The export may have missed contacts: {certificate.reason}. {_NOTHING} "
            "Try again at a quieter time, or set on_unproven='warn' to keep such exports."
        )
    log.warning("The export may have missed contacts: %s", certificate.reason)


def _count_nulls(location: Location, names: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        with location.open(name) as stream:
            footer = pq.ParquetFile(stream).metadata
        for group in range(footer.num_row_groups):
            for number in range(footer.num_columns):
                chunk = footer.row_group(group).column(number)
                counts[chunk.path_in_schema] = (
                    counts.get(chunk.path_in_schema, 0) + chunk.statistics.null_count
                )
    return counts
