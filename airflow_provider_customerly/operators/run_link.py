"""The link from a task instance to its run page."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import TaskInstanceKey
    from airflow.sdk import BaseOperator


class CustomerlyRunLink(BaseOperatorLink):
    """Leads to the run page; the plugin serves it."""

    name = "Customerly run"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the page, relative to Airflow's own: a worker does not know that one."""
        named = {
            "dag_id": ti_key.dag_id,
            "run_id": ti_key.run_id,
            "task_id": ti_key.task_id,
            "map_index": ti_key.map_index,
        }
        return f"customerly/run.html?{urlencode(named, quote_via=quote)}"
