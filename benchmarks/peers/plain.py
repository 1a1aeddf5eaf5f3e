"""The loop that everybody writes first: `requests`, one page or batch after another."""

from __future__ import annotations

import json
from typing import Any

import common
import pandas as pd
import pyarrow.parquet as pq  # noqa: F401  # pandas brings it along with its first file
import requests


def export(task: common.Task, session: requests.Session) -> None:
    """Page until a short page, then write everything with pandas."""
    found: list[dict[str, Any]] = []
    per_page = task.options["per_page"]
    for page in range(1_000_000):
        query = {"page": page, "per_page": per_page, "sort": "last_update", "sort_direction": "asc"}
        answer = session.get(f"{task.url}/users/list", params=query)
        answer.raise_for_status()
        users = answer.json()["data"]["users"]
        found += users
        if len(users) < per_page:
            break
    frame = pd.DataFrame(found)
    frame["attributes"] = frame["attributes"].map(json.dumps)
    frame.to_parquet(task.folder / "users.parquet")


def sync(task: common.Task, session: requests.Session) -> None:
    """Post every row."""

    def post() -> None:
        session.post(f"{task.url}/users", json={"users": waiting}).raise_for_status()
        waiting.clear()

    waiting: list[dict[str, Any]] = []
    for row in common.rows(task):
        waiting.append(common.contact(row))
        if len(waiting) == task.options["batch"]:
            post()
    if waiting:
        post()


if __name__ == "__main__":
    todo = common.task()
    with common.measured(todo), requests.Session() as opened:
        opened.headers["Authorization"] = f"Bearer {common.TOKEN}"
        (export if todo.what == "export" else sync)(todo, opened)
