"""The example DAG with an approval: a person answers in the web interface, or by the API that it uses."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow_process import LONGEST, REPOSITORY, Airflow, Api, connection, daily_far_from_now
from chromium import chromium, looking, show
from databases import Database
from playwright.sync_api import Page, expect
from run_pages import Run, numbers
from warehouse_customers import CUSTOMERS, add_customers, warehouse_connection

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.sync import Options, sync_contacts

DAG = "customerly_sync_approved"
SYNC = "customers_approved"
DELIVERED = CUSTOMERS - 2
REFUSED = "customer201@warehouse.test"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.emulator(users=430, leads=60, token="tok-4f1c77d2e9"),
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
]


class Nights:
    """Runs of the DAG, one after the other."""

    def __init__(self, api: Api, airflow: Airflow, emulator: Emulator) -> None:
        self.api, self.airflow, self.emulator = api, airflow, emulator

    def trigger(self, **params: Any) -> str:
        return self.api.trigger(DAG, **params)

    def question(self, run: str) -> str:
        """Wait until the plan waits for a person; return what that one reads."""
        path = f"dags/{DAG}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"
        found = self.wait_until(lambda: (answer := self.api.ask("GET", path))[0] == 200 and answer[1])
        assert found["options"] == ["Approve", "Reject"]
        return str(found["body"])

    def wait_as_a_person(self, run: str) -> None:
        """Wait until the scheduler has taken in that the task waits: resumed before, it counts as killed."""
        key = f"TaskInstanceKey(dag_id='{DAG}', task_id='approve', run_id='{run}'"
        taken_in = f"executor event with state success for task instance {key}"
        self.wait_until(lambda: taken_in in (self.airflow.home / "standalone.log").read_text())

    def answer(self, run: str, option: str) -> None:
        path = f"dags/{DAG}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"
        self.wait_as_a_person(run)
        status, told = self.api.ask("PATCH", path, {"chosen_options": [option], "params_input": {}})
        assert status == 200, told

    def click(self, page: Page, run: str, option: str) -> None:
        """Find the question in the web interface and answer it."""
        page.goto("/")
        page.get_by_role("button", name="Browse").click()
        page.get_by_role("menuitem", name="Required Actions").click()
        question = page.get_by_role("link", name=f"Send {SYNC} to Customerly?")
        question.and_(page.locator(f"[href*='/runs/{run}/']")).click()  # answered ones are listed, too
        expect(page).to_have_url(re.compile(f"/dags/{DAG}/runs/{re.escape(run)}/tasks/approve/"))
        expect(page.get_by_text("rows are to be sent")).to_be_visible()
        # The link below the figures leads to the page of the plan.
        more = page.get_by_role("link", name="More about this plan").evaluate("link => link.href")
        assert more == self.api.address + Run(DAG, run, "plan").page
        self.wait_as_a_person(run)
        page.get_by_role("button", name=option, exact=True).click()

    def end(self, run: str) -> tuple[str, dict[str, str]]:
        """Wait until a run ends; return its state and that of its tasks."""
        found = self.wait_until(lambda: self.state(run) in ("success", "failed") and self.state(run))
        return found, dict(self.states(run))

    def state(self, run: str) -> str:
        [(state,)] = self.airflow.query(f"select state from dag_run where run_id = '{run}'")
        return str(state)

    def states(self, run: str) -> list[Any]:
        return self.airflow.query(f"select task_id, state from task_instance where run_id = '{run}'")

    def told(self) -> str:
        return str(self.airflow.results(DAG)["tell"])

    def written(self) -> int:
        return int(self.emulator.stats()["contacts_accepted"])

    def log(self, run: str, task: str) -> str:
        [file] = (self.airflow.home / "logs").glob(f"**/run_id={run}/task_id={task}/attempt=*.log")
        return file.read_text()

    def wait_until(self, condition: Callable[[], Any]) -> Any:
        until = time.monotonic() + LONGEST
        while not (found := condition()):
            assert time.monotonic() < until, (self.airflow.home / "standalone.log").read_text()[-5000:]
            time.sleep(0.2)
        return found


@pytest.fixture
def page(nights: Nights) -> Iterator[Page]:
    token = nights.api.token_for_everybody()
    with chromium() as browser, looking(browser, nights.api.address, token) as page:
        yield page


@pytest.fixture
def nights(airflow: Airflow, emulator: Emulator, database: Database, tmp_path: Path) -> Iterator[Nights]:
    (tmp_path / "dags").mkdir()
    text = (REPOSITORY / "dags" / f"{DAG}.py").read_text()
    (tmp_path / "dags" / f"{DAG}.py").write_text(daily_far_from_now(text))
    add_customers(database, emulator)
    airflow.settings |= {
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW_VAR_CUSTOMERLY_STATE_PATH": str(tmp_path / "state"),
        **connection(emulator),
        **warehouse_connection(database),
    }
    with airflow.all_of_it() as api:
        found = Nights(api, airflow, emulator)
        # Not from the start: a task that runs before the API answers fails, and is tried again minutes later.
        found.wait_until(lambda: api.ask("GET", f"dags/{DAG}")[0] == 200)
        assert api.ask("PATCH", f"dags/{DAG}", {"is_paused": False})[0] == 200
        yield found


PASSED = {"plan": "success", "is_small": "success", "apply": "success", "tell": "success"}


def held(emulator: Emulator) -> dict[str, list[Any]]:
    """What Customerly has of the warehouse's columns, by email."""
    found = {}
    for one in emulator.store.truth("users").values():
        attributes = dict(one["attributes"])  # a list if there are none
        found[one["email"]] = [one["name"], attributes.get("plan"), attributes.get("seats")]
    return found


def test_plans_are_approved_rejected_and_overtaken(
    nights: Nights, page: Page, emulator: Emulator, database: Database, tmp_path: Path
) -> None:
    # The scheduler starts the first run by itself: all customers are new.
    [(run,)] = nights.wait_until(lambda: nights.airflow.query("select run_id from dag_run"))
    read = nights.question(run)
    assert f"**{DELIVERED + 1}** of {CUSTOMERS} rows are to be sent" in read
    assert "@" not in read
    assert nights.written() == 0
    rows = database.query("select email, name, plan, seats from customers where email not like '%(at)%'")
    planned = {email: values for email, *values in rows if email != REFUSED}
    # What changes after the plan was made is not in it.
    database.execute("update customers set plan = 'business' where customer_id like 'c-10_'")
    nights.click(page, run, "Approve")
    assert nights.end(run) == ("success", {**PASSED, "approve": "success"})
    assert nights.written() == DELIVERED
    assert nights.told() == f"{DELIVERED} of {CUSTOMERS} rows were sent."
    assert {email: value for email, value in held(emulator).items() if email in planned} == planned
    main = show(page, Run(DAG, run, "apply").page)
    expect(main).to_contain_text(f"{DELIVERED} of {CUSTOMERS} rows sent")
    result = nights.airflow.results(DAG)["apply"]
    outcomes = {name: result[name] for name in ("sent", "unchanged", "refused", "invalid")}
    assert numbers(page.get_by_role("region", name="What became of each row")) == outcomes

    # A few changes pass by themselves, and so does nothing at all.
    for sent in (10, 0):
        run = nights.trigger()
        assert nights.end(run) == ("success", {**PASSED, "approve": "skipped"})
        assert nights.told() == f"{sent} of {CUSTOMERS} rows were sent."
    assert nights.written() == DELIVERED + 10

    # What a person may choose for one run: ask about these ten, too. Rejecting sends nothing.
    database.execute("update customers set plan = 'team' where customer_id like 'c-10_'")
    before = held(emulator)
    run = nights.trigger(approve_above=9)
    assert "**10** of" in nights.question(run)
    nights.click(page, run, "Reject")
    assert nights.end(run) == ("success", {**PASSED, "approve": "success", "apply": "skipped"})
    assert nights.told().startswith("Nothing was sent: the plan was rejected")
    assert (nights.written(), held(emulator)) == (DELIVERED + 10, before)
    expect(show(page, Run(DAG, run, "plan").page)).to_contain_text(f"It would send 10 of {CUSTOMERS} rows")
    expect(show(page, Run(DAG, run, "apply").page)).to_contain_text("Nothing was read or sent.")

    # Another run of the sync delivers something while a plan waits.
    run = nights.trigger(approve_above=0)
    nights.question(run)
    with Client(emulator.token, emulator.url) as client:
        sync_contacts(client, Changed(database), tmp_path / "state", SYNC, Options(max_vanished=1.0))
    before = nights.written()
    nights.answer(run, "Approve")
    state, tasks = nights.end(run)
    assert (state, tasks["apply"], tasks["tell"]) == ("failed", "failed", "upstream_failed")
    assert "was overtaken: another run has synced since the plan was made" in nights.log(run, "apply")
    assert nights.written() == before


def test_a_guard_asks_and_approving_overrules_it(nights: Nights, database: Database) -> None:
    [(run,)] = nights.wait_until(lambda: nights.airflow.query("select run_id from dag_run"))
    nights.question(run)
    nights.answer(run, "Approve")
    nights.end(run)
    database.execute("delete from customers where customer_id like 'c-1%'")
    run = nights.trigger()
    read = nights.question(run)
    assert "A guard would stop this plan" in read
    assert "max_vanished=0.1" in read
    nights.answer(run, "Approve")
    assert nights.end(run) == ("success", {**PASSED, "approve": "success"})
    assert nights.airflow.results(DAG)["apply"]["vanished"] == 100


class Changed:
    """A source with one customer of the warehouse, changed."""

    columns = ("email", "name")

    def __init__(self, database: Database) -> None:
        [(self._email,)] = database.query("select email from customers where customer_id = 'c-250'")

    def __iter__(self) -> Iterator[list[tuple[str, str]]]:
        yield [(self._email, "Somebody Else")]
