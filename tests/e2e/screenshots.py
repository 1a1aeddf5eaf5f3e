"""Takes the docs' pictures of the pages: ``make screenshots``.

The results are those of real runs of the operators against the emulator. No Airflow runs, so that a month
passes in a minute: a few routes answer as its API does. ``test_run_page`` looks at the pages in a real one.
"""

import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp())

import uvicorn
from airflow_process import reserved_ports
from chromium import chromium
from databases import Database
from playwright.sync_api import Browser, expect
from run_pages import EXPORT, SYNC, Run
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from warehouse_customers import add_customers

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.plugin.pages import Pages
from airflow_provider_customerly.transfers.customerly_to_parquet import CustomerlyToParquetOperator
from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

NIGHTS = 24
LAST_NIGHT = datetime(2026, 11, 26, 2, tzinfo=timezone.utc)
SHOTS = [("light", "", 1200), ("dark", "", 1200), ("light", "-narrow", 400)]
HEIGHT = 1000
PARAMS = {name: {"value": None, "schema": {"type": "string"}} for name in ("max_vanished", "plan_path")}
CHANGES = {
    night: [
        f"update customers set plan = 'plan {night}' where customer_id like 'c-{night % 9}%'",
        f"update customers set seats = seats + 1 where customer_id like 'c-1{night % 7}%'",
    ]
    for night in range(0, NIGHTS, 3)
}


class Night:
    """The runs of both tasks, as Airflow's API has them."""

    def __init__(self) -> None:
        self.runs: dict[Run, tuple[dict[str, Any], Any]] = {}
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def run(self, dag_id: str, night: float, task: Any) -> Run:
        when = (LAST_NIGHT - timedelta(days=NIGHTS - 1 - night)).isoformat()
        run = Run(dag_id, f"scheduled__{when}", task.task_id)
        self.xcoms.clear()
        self.dag_id, self.run_id, self.task_id, self.map_index = *run, -1
        try:
            result, state = task.execute({"ti": self}), "success"
        except Exception:
            result, state = self.xcoms["return_value"], "failed"
        named = {"dag_id": dag_id, "dag_run_id": run.run_id, "task_id": task.task_id, "map_index": -1}
        shown = {"operator_name": type(task).__name__, "run_after": when, "start_date": when, "try_number": 1}
        self.runs[run] = ({**named, **shown, "state": state, "duration": result["seconds"] + 1.2}, result)
        return run

    def api(self) -> Starlette:
        def run_of(request: Request) -> tuple[dict[str, Any], Any]:
            return self.runs[Run(*(request.path_params[name] for name in ("dag", "run", "task")))]

        def instances(request: Request) -> JSONResponse:
            dag_id, task_id = request.path_params["dag"], request.query_params.get("task_id")
            some = [one for run, (one, _) in self.runs.items() if dag_id in ("~", run.dag_id)]
            some = [one for one in some if task_id in (None, one["task_id"])]
            newest = sorted(some, key=lambda one: str(one["run_after"]), reverse=True)
            return JSONResponse({"task_instances": newest[: int(request.query_params["limit"])]})

        path = "/api/v2/dags/{dag}/dagRuns/{run}/taskInstances"
        return Starlette(
            routes=[
                Route("/api/v2/dags/{dag}/details", lambda request: JSONResponse({"params": PARAMS})),
                Route(path, instances),
                Route(path + "/{task}", lambda request: JSONResponse(run_of(request)[0])),
                Route(path + "/{task}/xcomEntries", lambda request: JSONResponse({"xcom_entries": [{}]})),
                Route(
                    path + "/{task}/xcomEntries/return_value",
                    lambda request: JSONResponse({"value": run_of(request)[1]}),
                ),
                Mount("/customerly", Pages()),
            ]
        )


def nights(folder: Path) -> tuple[Night, dict[str, Run]]:
    """Let the nights pass; give what has run, and which runs to show."""
    all_of_them, shown = Night(), {}
    with Emulator(users=3_000, leads=40, churn_per_request=0.3) as emulator:
        database = Database("sqlite", {"conn_type": "sqlite", "host": str(folder / "warehouse.sqlite")})
        os.environ.update(database.environment, AIRFLOW_CONN_CUSTOMERLY_DEFAULT=emulator.airflow_connection)
        add_customers(database, emulator)

        def export(night: int) -> Run:
            guards = {"max_shrink": 0.5, "max_vanished": 0.2, "max_null_share": {"email": 0.2}}
            day = (LAST_NIGHT - timedelta(days=NIGHTS - 1 - night)).date().isoformat()
            task = CustomerlyToParquetOperator(
                task_id="export_users", path=str(folder / "crm"), snapshot_date=day, **guards
            )
            return all_of_them.run(EXPORT, night, task)

        def sync(night: float, **arguments: Any) -> Run:
            task = SqlToCustomerlyOperator(
                task_id="sync_customers",
                sync_name="customers",
                sql_conn_id=database.conn_id,
                table="customers",
                field_mapping={"customer_id": "user_id", "internal_note": None},
                state_path=str(folder / "state"),
                max_rejects=0.01,
                **arguments,
            )
            return all_of_them.run(SYNC, night, task)

        # The first run sends all; a change every third night; the last two go another way.
        for night in range(NIGHTS):
            database.execute(*CHANGES.get(night, ["select 1"]))
            shown["export"] = export(night)
            if night < NIGHTS - 2:
                shown["sync"] = sync(night)
        bought = "plan = 'enterprise', seats = 150"
        database.execute(f"update customers set {bought} where customer_id like 'c-15%'")
        compared = {"compare_with": str(folder / "crm"), "preview_fields": ["plan", "seats"]}
        shown["plan"] = sync(NIGHTS - 2, dry_run=True, **compared)
        database.execute("delete from customers where customer_id like 'c-1%'")
        shown["red"] = sync(NIGHTS - 1)
    return all_of_them, shown


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    with reserved_ports(1) as [port]:
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()


def take(browser: Browser, address: str, pages: dict[str, str], folder: Path) -> None:
    """Take the top of each page, in both themes and at both widths."""
    for theme, suffix, width in SHOTS:
        size: Any = {"width": width, "height": HEIGHT}
        with browser.new_context(base_url=address, viewport=size) as context:
            context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
            page = context.new_page()
            for name, path in pages.items():
                page.goto(path)
                expect(page.locator("main[aria-busy=false]")).to_be_visible()
                file = folder / f"run-page-{name}-{theme}{suffix}.png"
                page.screenshot(path=file)
                print(f"{file}: {file.stat().st_size // 1000} KB")


def main() -> None:
    pictures = Path(sys.argv[1])
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="customerly-") as scratch, chromium() as browser:
        all_of_them, shown = nights(Path(scratch))
        pages = {name: run.page for name, run in shown.items()} | {"list": "/customerly/index.html"}
        # Paths of this machine say nothing to a reader.
        text = json.dumps([[list(run), *what] for run, what in all_of_them.runs.items()])
        again = json.loads(text.replace(scratch, "/data"))
        all_of_them.runs = {Run(*run): (one, result) for run, one, result in again}
        with served(all_of_them.api()) as address:
            take(browser, address, pages, pictures)


if __name__ == "__main__":
    main()
