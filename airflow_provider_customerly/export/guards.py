"""What stops an export before its commit."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_customerly.client import Certificate
    from airflow_provider_customerly.export.options import ExportOptions
    from airflow_provider_customerly.storage import FileEntry, Location, Manifest

log = logging.getLogger(__name__)

_NOTHING = "Nothing was committed."
_FEWEST_FOR_A_SHARE = 100
"""Contacts from which on a share of them says something, in an export of changes."""


class ExportGuardError(Exception):
    """A guard stopped an export before its commit: look at the figures, then decide."""


class UnprovenError(ExportGuardError):
    """It could not be proven that no contact was lost."""


def check_verdict(options: ExportOptions, certificate: Certificate) -> None:
    """Stop an export that may have lost a contact, unless the user wants those too."""
    if certificate.verdict == "complete":
        return
    if options.on_unproven == "fail":
        raise UnprovenError(
            f"It is not proven that no contact was lost: {certificate.reason}. {_NOTHING} "
            "Try again at a quieter hour, or set on_unproven='warn' to keep such exports."
        )
    log.warning("It is not proven that no contact was lost: %s", certificate.reason)


def check_rows(rows: int, last: Manifest | None, min_rows: int, max_shrink: float | None) -> None:
    """Stop a whole list that is too short to be believed."""
    if rows < min_rows:
        raise ExportGuardError(
            f"The list has {rows} rows, fewer than min_rows={min_rows}. {_NOTHING} If that is right, lower "
            "min_rows."
        )
    if last is not None and max_shrink is not None and rows < last.rows * (1 - max_shrink):
        raise ExportGuardError(
            f"The list has {rows} rows, the last whole one had {last.rows}: that is more than "
            f"max_shrink={max_shrink} fewer. {_NOTHING} If that is right, raise max_shrink for one run."
        )


def check_vanished(options: ExportOptions, vanished: int, known: int) -> None:
    """Stop a whole list from which too many contacts are missing at once."""
    if options.max_vanished is not None and vanished > known * options.max_vanished:
        raise ExportGuardError(
            f"{vanished} of {known} contacts known so far are not in the list any more: more than "
            f"max_vanished={options.max_vanished}. {_NOTHING} Check that the token belongs to the right "
            "project. If that is right, raise max_vanished for one run."
        )


def check_coercion(options: ExportOptions, misfits: Mapping[str, int]) -> None:
    """Stop an export with too many values that do not fit their column."""
    most = options.max_coercion_failures
    for column, count in sorted(misfits.items()):
        if most is not None and count > most:
            raise ExportGuardError(
                f"{count} values do not fit the type of column {column}: more than "
                f"max_coercion_failures={most}. {_NOTHING} Look at them in Customerly, correct the type in "
                "attributes, or raise max_coercion_failures."
            )


def check_nulls(
    options: ExportOptions, location: Location, files: Sequence[FileEntry], *, is_whole: bool
) -> None:
    """Stop an export with too many nulls in a column."""
    rows = sum(entry.rows for entry in files)
    if not options.max_null_share or rows < (1 if is_whole else _FEWEST_FOR_A_SHARE):
        return
    nulls = _count_nulls(location, files)
    for column, share in options.max_null_share.items():
        if nulls[column] > rows * share:
            raise ExportGuardError(
                f"{nulls[column]} of {rows} values of column {column} are null: more than "
                f"max_null_share={share}. {_NOTHING} If that is right, raise max_null_share for {column}."
            )


def _count_nulls(location: Location, files: Sequence[FileEntry]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for entry in files:
        with location.open(entry.path) as stream:
            footer = pq.ParquetFile(stream).metadata
        for group in range(footer.num_row_groups):
            for number in range(footer.num_columns):
                chunk = footer.row_group(group).column(number)
                counts[chunk.path_in_schema] = (
                    counts.get(chunk.path_in_schema, 0) + chunk.statistics.null_count
                )
    return counts
