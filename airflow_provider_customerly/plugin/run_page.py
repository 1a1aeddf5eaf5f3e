"""What the plugin adds to Airflow's UI."""

from __future__ import annotations

from typing import Any

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from airflow_provider_customerly.plugin.pages import Pages

PREFIX = "/customerly"

# Addresses are relative to Airflow's own, which may lie below a path of a proxy.
_LIST = {
    "name": "Customerly",
    "href": "customerly/index.html",
    "destination": "nav",
    "category": "browse",
    "url_route": "customerly",
    "icon": "customerly/icon.svg",
    "icon_dark_mode": "customerly/icon-dark.svg",
}
_TAB = {
    "name": "Customerly",
    "href": "customerly/run.html?dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}",
    "destination": "task_instance",
    "url_route": "customerly-run",
    "icon": "customerly/icon.svg",
    "icon_dark_mode": "customerly/icon-dark.svg",
}


def views(*, with_tab: bool) -> list[dict[str, Any]]:
    """Return the pages to show in the UI.

    :param with_tab: also a tab on each task instance. Airflow shows it on those of every DAG there is.
    """
    return [dict(_LIST), *([dict(_TAB)] if with_tab else [])]


class CustomerlyPlugin(AirflowPlugin):
    """The run page of each of our tasks, and a list of them under *Browse*."""

    name = "customerly"
    fastapi_apps = [{"name": "customerly", "app": Pages(), "url_prefix": PREFIX}]
    external_views = views(with_tab=conf.getboolean("customerly", "run_tab", fallback=False))
