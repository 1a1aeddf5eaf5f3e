"""Helpers that read and write the context of a run."""

from __future__ import annotations

from datetime import date, timezone
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.sdk import BaseOperator, Context


def name_of_task_instance(context: Context) -> str:
    """Return a name that all attempts of a task instance share, so that one can clean up after another."""
    ti = context.get("ti")
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}" if ti else ""


def day_of_run(context: Context) -> date:
    """Return the UTC day on which the data interval ends, or of the run if it has no interval."""
    moment = context.get("data_interval_end") or context["dag_run"].run_after
    return moment.astimezone(timezone.utc).date()


def tell_outlets(outlets: Iterable[Any], context: Context, result: dict[str, Any]) -> None:
    """Add the result to the event of each asset that the task produces."""
    for outlet in outlets:
        if isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra.update(result)


def withhold_events(operator: BaseOperator) -> None:
    """Produce no asset events for a task that changed nothing, such as a dry run.

    Airflow produces one for each of the ``outlets`` that a successful task has at its end.
    """
    operator.outlets = []
