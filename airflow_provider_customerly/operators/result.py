"""What a task leaves for the run page beside what it returns."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSkipException,
    TaskInstanceKey,
    redact,
)

from airflow_provider_customerly.contacts.errors import UnfinishedError
from airflow_provider_customerly.hooks.failures import is_ours
from airflow_provider_customerly.operators.run_link import CustomerlyRunLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

_PACKAGE = __name__.partition(".")[0]
_LONGEST_TEXT = 2_000


def leave_link(operator: BaseOperator, context: Context) -> None:
    """Push the link to the run page, so that it is there while the task runs.

    Airflow itself makes it when a try has ended.
    """
    ti = context.get("ti")
    if ti is None or not operator.do_xcom_push:
        return
    link = CustomerlyRunLink()
    with suppress(Exception):  # only the link would be missing
        index = -1 if ti.map_index is None else ti.map_index
        key = TaskInstanceKey(ti.dag_id, ti.task_id, ti.run_id, map_index=index)
        ti.xcom_push(key=link.xcom_key, value=link.get_link(operator, ti_key=key))


def leave_failure(
    operator: BaseOperator, context: Context, result: dict[str, Any] | None, error: Exception
) -> None:
    """Push the result of a task that is about to fail, with the reason.

    :param result: what came of it until then, if anything.
    """
    ti = context.get("ti")
    if ti is None or not operator.do_xcom_push or isinstance(error, AirflowSkipException):
        return
    with suppress(Exception):  # the failure itself is what must be seen
        ti.xcom_push(key="return_value", value={**(result or {}), "error": _told(error)})


def _told(error: Exception) -> dict[str, str | None]:
    """Return the kind of an error, and its text if it is one of ours: only those are sure to name nobody."""
    origin: BaseException = error
    if isinstance(error, AirflowFailException):
        origin = error.__cause__ or error.__context__ or error
    kind = type(origin)
    # Text of a library may quote a value, also in a plain ValueError.
    is_known = kind.__module__.partition(".")[0] == _PACKAGE
    if kind in (ValueError, AirflowFailException):
        is_known = is_ours(origin)
    text = str(redact(str(error)))  # results are not masked as logs are
    if isinstance(origin, UnfinishedError):  # it continues in Customerly's words, which may name somebody
        text = f"{text.partition(': ')[0]}. The reasons are in the task's log."
    if words := getattr(origin, "vendor_message", None):  # which may name somebody
        text = text.replace(words, "...")
    if len(text) > _LONGEST_TEXT:
        text = f"{text[:_LONGEST_TEXT]} ..."
    return {"kind": kind.__name__, "message": text if is_known else None}
