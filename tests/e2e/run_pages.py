"""An Airflow that runs by itself, with a Customerly and a warehouse, for what is to be seen of its runs."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from airflow_process import LONGEST, REPOSITORY, Airflow, Api, daily_far_from_now
from databases import Database
from playwright.sync_api import Locator, Page
from strangers import STRANGER
from warehouse_customers import add_customers, page_of_users, warehouse_connection

from airflow_provider_customerly.emulator import Emulator

EXPORT, SCORES, SYNC = "customerly_nightly_export", "customerly_nightly_scores", "customerly_contacts_sync"
UNDONE = "sync_undone"
NOBODY_IS_ADMIN = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False"}
PASSWORDS = {"ann": "ann-7d1f", STRANGER: "stranger-2b90"}


class Run(NamedTuple):
    """One task instance."""

    dag_id: str
    run_id: str
    task_id: str

    @property
    def page(self) -> str:
        named = self._asdict() | {"map_index": -1}
        return "/customerly/run.html?" + "&".join(f"{name}={quote(str(one))}" for name, one in named.items())


class Seen:
    """What runs here."""

    def __init__(self, airflow: Airflow, api: Api, emulator: Emulator, database: Database) -> None:
        self.airflow, self.api, self.emulator, self.database = airflow, api, emulator, database

    @contextmanager
    def to_strangers(self) -> Iterator[str]:
        """Serve the same runs once more, to a user who may see no DAG; yield the address."""
        with self.airflow.web_interface(
            AIRFLOW__CORE__AUTH_MANAGER="strangers.StrangerAuthManager", **NOBODY_IS_ADMIN
        ) as address:
            yield address

    def api_at(self, address: str) -> Api:
        """The API at another address, such as ``to_strangers`` gives."""
        return Api(int(address.rpartition(":")[2]), ("ann", PASSWORDS["ann"]))

    def run(self, dag_id: str, task_id: str, state: str = "success", **params: object) -> Run:
        """Run a DAG to its end, and name one of its tasks."""
        run_id = self.api.trigger(dag_id, **params)
        assert self.api.wait_for(dag_id, run_id) == state, self.airflow.states(dag_id)
        return Run(dag_id, run_id, task_id)

    def path(self, run: Run) -> str:
        """Where the API has a run."""
        return f"dags/{run.dag_id}/dagRuns/{quote(run.run_id, safe='')}/taskInstances/{run.task_id}"

    def result(self, run: Run) -> dict[str, Any]:
        """What the task returned, or left when it failed."""
        status, entry = self.api.ask("GET", f"{self.path(run)}/xcomEntries/return_value")
        assert status == 200, entry
        value = entry["value"]
        while isinstance(value, str):
            value = json.loads(value)
        return dict(value)


@contextmanager
def seen(home: Path, migrated_database: Path, emulator: Emulator, **settings: str) -> Iterator[Seen]:
    """Run every part of an Airflow with the example DAGs and one that undoes a sync; none is paused.

    :param home: an empty folder.
    """
    shutil.copy(migrated_database, home)
    database = Database("sqlite", {"conn_type": "sqlite", "host": str(home / "warehouse.sqlite")})
    dags = home / "dags"
    dags.mkdir()
    for name in ("customerly_nightly", "customerly_contacts_sync"):
        text = daily_far_from_now((REPOSITORY / "dags" / f"{name}.py").read_text())
        # A machine that is too busy to start a worker in time costs a try, and that five minutes.
        (dags / f"{name}.py").write_text(text.replace("timedelta(minutes=5)", "timedelta(seconds=5)"))
    shutil.copy(Path(__file__).parent / "dags" / f"{UNDONE}.py", dags)
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps(PASSWORDS))
    airflow = Airflow(
        home,
        AIRFLOW_VAR_CUSTOMERLY_EXPORT_PATH=str(home / "contacts"),
        AIRFLOW_VAR_CUSTOMERLY_STATE_PATH=str(home / "state"),
        AIRFLOW_CONN_CUSTOMERLY_DEFAULT=emulator.airflow_connection,
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS=f"ann:admin,{STRANGER}:viewer",
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE=str(passwords),
        AIRFLOW__CORE__DAGS_FOLDER=str(dags),
        **warehouse_connection(database),
        **settings,
    )
    with (
        pytest.MonkeyPatch.context() as patch,
        airflow.all_of_it(login=("ann", PASSWORDS["ann"]), **NOBODY_IS_ADMIN) as api,
    ):
        for name, value in database.environment.items():
            patch.setenv(name, value)
        add_customers(database, emulator)
        # Not from the start: a task that runs long before the API answers uses up its tries.
        for dag_id in (SCORES, EXPORT, SYNC, UNDONE):
            wait_until(lambda dag_id=dag_id: api.ask("GET", f"dags/{dag_id}")[0] == 200)
            assert api.ask("PATCH", f"dags/{dag_id}", {"is_paused": False})[0] == 200
        # Whichever test comes first: else the first runs, which Airflow starts by itself, come between what a
        # test changes in the warehouse and its own run, and send it.
        for dag_id in (EXPORT, SYNC, SCORES):
            wait_until(lambda dag_id=dag_id: has_run(api, dag_id))
        yield Seen(airflow, api, emulator, database)


def wait_until(condition: Callable[[], Any]) -> Any:
    """Wait for something to be true, and give it."""
    until = time.monotonic() + LONGEST
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.3)
    return found


def has_run(api: Api, dag_id: str) -> bool:
    status, found = api.ask("GET", f"dags/{dag_id}/dagRuns")
    assert status == 200, found
    states = [run["state"] for run in found["dag_runs"]]
    assert "failed" not in states, found
    return "success" in states


def add_sellers(airflow: Seen) -> dict[str, dict[str, Any]]:
    """Make a table of eight users under new names, two new ones, and one with a broken email.

    :return: the users as Customerly has them, by email.
    """
    users = [user["email"] for user in page_of_users(airflow.emulator) if user["email"] and user["name"]]
    new = ["new1@seller.test", "new2@seller.test", "new3(at)seller.test"]
    airflow.database.execute("create table sellers (email varchar(254), name varchar(99), town varchar(9))")
    rows = [(email, f"Seller {n}", "Rome") for n, email in enumerate((*users[-8:], *new))]
    airflow.database.insert("sellers", rows)
    return sellers(airflow)


def sellers(airflow: Seen) -> dict[str, dict[str, Any]]:
    """Those that Customerly has, by email."""
    emails = {email for (email,) in airflow.database.query("select email from sellers")}
    truth = airflow.emulator.store.truth("users").values()
    return {contact["email"]: contact for contact in truth if contact["email"] in emails}


def tile(page: Page, name: str) -> Locator:
    return page.locator(".tile", has=page.get_by_text(name, exact=True)).locator(".big")


def numbers(legend: Locator) -> dict[str, int]:
    """The parts of a stacked bar, as its legend has them."""
    texts = [text.strip().split(" ", 1) for text in legend.locator(".what").all_inner_texts()]
    return {name: int(value.replace(",", "")) for value, name in texts}
