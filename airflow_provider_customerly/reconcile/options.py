"""The options and limits of a reconciliation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Annotated, ClassVar

from msgspec import Meta

from airflow_provider_customerly.sync.options import Limit, check_limit
from airflow_provider_customerly.sync.rules import Rules
from airflow_provider_customerly.values.arguments import Rule

LIMITS = ("max_differing", "max_only_warehouse", "max_only_customerly", "max_invalid")


def _check_limit(name: str, options: ReconcileOptions) -> None:
    if (limit := getattr(options, name)) is not None:
        check_limit(name, limit)


def _check_age(options: ReconcileOptions) -> None:
    if options.max_export_age is not None and options.max_export_age <= timedelta(0):
        raise ValueError("max_export_age must be longer than zero.")


class ReconcileOptions(Rules, frozen=True, kw_only=True):
    """The options of a reconciliation.

    A limit is a number, such as 5, or a share from 0.0 to 1.0 of the rows in the source (of the contacts in
    the export for ``max_only_customerly``).
    """

    min_rows: Annotated[int, Meta(ge=0)] = 1
    """Minimum number of rows in the source."""
    max_differing: Limit = 0
    """Maximum number of rows with a field that differs from their contact's."""
    max_only_warehouse: Limit = 0
    """Maximum number of rows without a contact."""
    max_only_customerly: Limit | None = None
    """Maximum number of contacts without a row; None for no limit."""
    max_invalid: Limit = 0
    """Maximum number of rows that break one of Customerly's rules, or share a contact with an earlier row."""
    max_export_age: timedelta | None = None
    """Refuse an older export."""
    keep_days: Annotated[float, Meta(ge=0, le=36_500)] | None = None
    """Remove older files of differences; None keeps all."""

    expected: ClassVar[Mapping[str, str]] = {
        **Rules.expected,
        "max_export_age": "must be a duration such as PT36H or P2D, or None for any age",
        "keep_days": "must be a number of days from 0 to 36500, or None to keep all",
    }
    rules: ClassVar[Sequence[Rule]] = (
        *Rules.rules,
        *(partial(_check_limit, name) for name in LIMITS),
        _check_age,
    )
