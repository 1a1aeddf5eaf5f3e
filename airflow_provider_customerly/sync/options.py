"""The options of a sync."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from fractions import Fraction
from functools import partial
from typing import Annotated, ClassVar

from msgspec import Meta

from airflow_provider_customerly.client.settings import MaxConcurrency
from airflow_provider_customerly.delivery.deliver import BatchSize
from airflow_provider_customerly.sync.compared_with import OnEdited
from airflow_provider_customerly.sync.rules import Rules
from airflow_provider_customerly.sync.summary import check_preview
from airflow_provider_customerly.sync.vanished import OnVanished
from airflow_provider_customerly.values.arguments import Rule


def _check_limit(name: str, options: Options) -> None:
    if (limit := getattr(options, name)) is not None:
        check_limit(name, limit)


def _check_vanished(options: Options) -> None:
    if options.on_vanished == "untag" and not options.tags:
        raise ValueError("on_vanished='untag' removes the tags of the sync, but tags is empty. Set tags.")
    if options.on_vanished == "unsubscribe" and options.contact_type == "leads":
        raise ValueError(
            "on_vanished='unsubscribe' only works for users, because the API cannot unsubscribe leads. "
            "Choose another on_vanished."
        )


def _check_age(options: Options) -> None:
    if options.max_export_age is not None and options.max_export_age <= timedelta(0):
        raise ValueError("max_export_age must be longer than zero.")


def _check_preview(options: Options) -> None:
    check_preview(options.preview_fields)


Limit = int | float | str
"""A number of rows, such as 5, or a share from 0.0 to 1.0. Both may be text."""


def allowed(limit: Limit, whole: int) -> int:
    """Return the number of rows that a limit allows out of ``whole``."""
    # Calculated from the text, because as a float 0.29 of 100 is less than 29.
    return int(Fraction(str(limit).strip()) * (whole if is_share(limit) else 1))


def is_share(limit: Limit) -> bool:
    """Return whether a limit is a share: ``1`` is one row, ``1.0`` is all rows."""
    return not str(limit).strip().lstrip("+").isdecimal()


def check_limit(name: str, limit: Limit) -> None:
    """Raise ``ValueError`` if a limit is invalid."""
    try:
        number = float(limit)
    except ValueError:
        number = -1.0
    if not 0 <= number <= (1 if is_share(limit) else float("inf")):
        raise ValueError(
            f"{name} must be a number of rows, such as 5, or a share from 0.0 to 1.0. It is {limit!r}."
        )


class Options(Rules, frozen=True, kw_only=True):
    """The options of a sync, including the rules for its rows.

    A limit is a number of rows, such as 5, or a share from 0.0 to 1.0.

    :param batch_size: contacts per request, 1 to 100.
    :param max_concurrency: maximum number of concurrent requests, 1 to 64.
    :param min_rows: minimum number of rows in the source.
    :param max_changes: maximum number of rows to send. A share is relative to the known contacts: those in
        the source of the last run, and those that it had still to remove. It is ignored in the first run.
    :param max_vanished: maximum number of contacts that may be missing from the source. A share is relative
        to the known contacts, as for ``max_changes``.
    :param max_rejects: maximum number of rows that may not be delivered. A share is relative to the rows
        read.
    :param retry_rejects: resend rows that Customerly refused, even if they have not changed.
    :param full_resync: send all rows, even if they have not changed.
    :param on_vanished: what to do with contacts that are no longer in the source: ``keep`` them unchanged,
        ``untag`` them (removes ``tags``), ``unsubscribe`` or ``delete`` them.
    :param on_edited: what to do with a field that was edited in Customerly since its delivery: ``overwrite``
        it, ``keep`` it unchanged, or ``reject`` the row.
    :param skip_equal: do not send rows whose values Customerly already has.
    :param max_export_age: refuse to compare with an older export.
    :param preview_fields: fields whose values the result may show, for some rows.
    :param keep_days: remove rejects, plans and records of runs older than this; None keeps all.
    """

    batch_size: BatchSize = 50
    max_concurrency: MaxConcurrency = 1
    min_rows: Annotated[int, Meta(ge=0)] = 1
    max_changes: Limit | None = None
    max_vanished: Limit = 0.1
    max_rejects: Limit = 0
    retry_rejects: bool = False
    full_resync: bool = False
    on_vanished: OnVanished = "keep"
    on_edited: OnEdited = "overwrite"
    skip_equal: bool = False
    max_export_age: timedelta | None = None
    preview_fields: Sequence[str] = ()
    keep_days: Annotated[float, Meta(ge=0, le=36_500)] | None = None

    expected: ClassVar[Mapping[str, str]] = {
        **Rules.expected,
        "max_export_age": "must be a duration such as PT36H or P2D, or None for any age",
        "preview_fields": "must be a list of field names",
        "keep_days": "must be a number of days from 0 to 36500, or None to keep all",
    }
    rules: ClassVar[Sequence[Rule]] = (
        *Rules.rules,
        *(partial(_check_limit, name) for name in ("max_changes", "max_vanished", "max_rejects")),
        _check_vanished,
        _check_age,
        _check_preview,
    )
