"""dlt: its `rest_api` source as its docs show it, the same list tuned, and a custom destination to sync."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"

import common
import dlt
import pyarrow as pa
from dlt.sources.helpers import requests
from dlt.sources.rest_api import rest_api_source

if TYPE_CHECKING:
    from collections.abc import Iterator

QUERY = {"per_page": 100, "sort": "last_update", "sort_direction": "asc"}


def documented(task: common.Task) -> Any:
    """Declare the list as the docs of the source do."""
    return rest_api_source(
        {
            "client": {
                "base_url": f"{task.url}/",
                "auth": {"type": "bearer", "token": common.TOKEN},
                "paginator": {"type": "page_number", "base_page": 0, "total_path": None},
            },
            "resources": [
                {
                    "name": "users",
                    "primary_key": "crmhero_user_id",
                    "write_disposition": "replace",
                    "endpoint": {"path": "users/list", "params": QUERY, "data_selector": "data.users"},
                }
            ],
        }
    )


def tuned(task: common.Task) -> Any:
    """Ask for many pages at a time, and hand them over as Arrow tables, which dlt does not normalize."""
    workers = task.options["workers"]
    headers = {"Authorization": f"Bearer {common.TOKEN}"}

    def page(number: int) -> list[dict[str, Any]]:
        answer = requests.get(f"{task.url}/users/list", params={**QUERY, "page": number}, headers=headers)
        users: list[dict[str, Any]] = answer.json()["data"]["users"]
        return users

    @dlt.resource(name="users", write_disposition="replace")
    def users() -> Iterator[Any]:
        with ThreadPoolExecutor(workers) as pool:
            for first in range(0, 1_000_000, workers):
                pages = list(pool.map(page, range(first, first + workers)))
                if found := [as_text(user) for some in pages for user in some]:
                    yield pa.Table.from_pylist(found)
                if not pages[-1]:
                    return

    return users()


def as_text(user: dict[str, Any]) -> dict[str, Any]:
    """Use one type for every value, or pages do not fit together."""
    return {name: None if value is None else str(value) for name, value in user.items()}


def export(task: common.Task) -> None:
    """Load the list into Parquet files."""
    os.environ["DESTINATION__FILESYSTEM__BUCKET_URL"] = (task.folder / "lake").as_uri()
    pipeline = dlt.pipeline(
        "users", destination="filesystem", dataset_name="crm", pipelines_dir=str(task.folder / "dlt")
    )
    source = tuned(task) if task.options.get("workers") else documented(task)
    pipeline.run(source, loader_file_format="parquet")


def sync(task: common.Task) -> None:
    """Load the table into a custom destination."""
    session = requests.Client().session
    session.headers["Authorization"] = f"Bearer {common.TOKEN}"

    @dlt.destination(batch_size=task.options["batch"], name="customerly")
    def customerly(items: list[dict[str, Any]], table: Any) -> None:
        body = {"users": [common.contact(item) for item in items]}
        session.post(f"{task.url}/users", json=body).raise_for_status()

    pipeline = dlt.pipeline("customers", destination=customerly(), pipelines_dir=str(task.folder / "dlt"))
    pipeline.run(dlt.resource(common.rows(task), name="customers"), write_disposition="replace")


if __name__ == "__main__":
    todo = common.task()
    with common.measured(todo):
        (export if todo.what == "export" else sync)(todo)
