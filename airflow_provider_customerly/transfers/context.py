"""What operators take from, and leave in, the context of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.sdk import BaseOperator, Context


def name_of_task_instance(context: Context) -> str:
    """Name what each try of a task instance shares, so that a try can clean up after the one before."""
    ti = context.get("ti")
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}" if ti else ""


def tell_outlets(outlets: Iterable[Any], context: Context, result: dict[str, Any]) -> None:
    """Put the result into the event of each asset that the task produces."""
    for outlet in outlets:
        if isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra.update(result)


def leave_result(operator: BaseOperator, context: Context, result: dict[str, Any]) -> None:
    """Push the result of a task that is about to fail: tasks behind it may want to know how far it came."""
    ti = context.get("ti")
    if ti is not None and operator.do_xcom_push:
        ti.xcom_push(key="return_value", value=result)
