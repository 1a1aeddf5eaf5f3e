"""The run page in a real browser: it shows what Airflow and Customerly have, to those who may see it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow import __version__ as airflow_version
from chromium import chromium, looking, show
from holding import held_from
from playwright.sync_api import Browser, Page, Route, expect
from run_pages import (
    EXPORT,
    PASSWORDS,
    SCORES,
    SYNC,
    UNDONE,
    Run,
    Seen,
    add_sellers,
    numbers,
    seen,
    sellers,
    tile,
    wait_until,
)
from strangers import STRANGER

from airflow_provider_customerly.emulator import Emulator

pytestmark = pytest.mark.slow

PERSONAL = re.compile(r"(warehouse|seller)\.test|@|Customer \d|Seller ", re.IGNORECASE)  # of the warehouse


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def airflow(
    browser: Browser, migrated_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Seen]:
    """An Airflow in which the nightly chain runs, with a tab on each task instance."""
    home = tmp_path_factory.mktemp("seen")
    with (
        Emulator(users=430, leads=60, token="tok-4f1c77d2e9") as emulator,
        seen(home, migrated_database, emulator, AIRFLOW__CUSTOMERLY__RUN_TAB="True") as running,
    ):
        yield running


@pytest.fixture(scope="module")
def export(airflow: Seen) -> Run:
    airflow.run(EXPORT, "export_leads")
    return airflow.run(EXPORT, "export_leads")


@pytest.fixture(scope="module")
def sync(airflow: Seen) -> Run:
    airflow.run(SYNC, "sync_customers")
    airflow.database.execute("update customers set plan = 'business' where customer_id like 'c-10_'")
    return airflow.run(SYNC, "sync_customers")


@pytest.fixture(scope="module")
def plan(airflow: Seen, sync: Run) -> Run:
    airflow.database.execute("update customers set seats = 99 where customer_id like 'c-11_'")
    return airflow.run(SYNC, "sync_customers", dry_run=True)


@pytest.fixture(scope="module")
def red(airflow: Seen, plan: Run) -> Run:
    airflow.database.execute("delete from customers where customer_id like 'c-1%'")
    return airflow.run(SYNC, "sync_customers", "failed")


@pytest.fixture(scope="module")
def sellers_before(airflow: Seen) -> dict[str, dict[str, Any]]:
    return add_sellers(airflow)


@pytest.fixture(scope="module")
def undo(airflow: Seen, sellers_before: dict[str, dict[str, Any]]) -> Run:
    assert len(sellers_before) == 8
    return airflow.run(UNDONE, "undo")


@pytest.fixture(scope="module")
def token(airflow: Seen) -> str:
    return airflow.api.token("ann", PASSWORDS["ann"])


@pytest.fixture
def page(browser: Browser, airflow: Seen, token: str) -> Iterator[Page]:
    with looking(browser, airflow.api.address, token) as page:
        yield page


def test_page_of_an_export(page: Page, airflow: Seen, export: Run) -> None:
    result = airflow.result(export)
    assert result["rows"] == len(airflow.emulator.store.versions("leads")) == 60
    main = show(page, export.page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Export of leads")
    expect(main).to_contain_text("60 leads exported, and proven complete.")
    expect(tile(page, "Rows")).to_have_text("60")
    expect(tile(page, "New")).to_have_text(str(result["changes"]["new"]))
    expect(tile(page, "Changed")).to_have_text(str(result["changes"]["changed"]))
    expect(tile(page, "Gone")).to_have_text(str(result["changes"]["gone"]))
    expect(tile(page, "Requests")).to_have_text(str(result["requests"]))
    expect(main).to_contain_text(f"{result['certificate']['windows']} windows")
    expect(page.get_by_role("row", name="max_shrink")).to_contain_text("50% of 60")
    expect(main.get_by_text(result["path"], exact=True)).to_be_visible()
    # As many runs as there are, each a link to its own page.
    runs = page.locator(".strip a")
    assert runs.count() >= 2
    expect(page.locator(".strip a[aria-current=page]")).to_have_count(1)
    page.get_by_text("As a table").click()
    expect(page.get_by_role("region", name="Last runs").get_by_role("row")).to_have_count(runs.count() + 1)
    runs.first.click()
    expect(page.locator("main[aria-busy=false]")).to_contain_text("Export of leads")
    assert not PERSONAL.search(page.content())


def test_page_of_a_sync(page: Page, airflow: Seen, sync: Run) -> None:
    result = airflow.result(sync)
    assert result["changed_fields"] == {"attributes.plan": 10}
    main = show(page, sync.page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Sync to users")
    shown = numbers(page.get_by_role("region", name="What became of each row"))
    expected = {name: result[name] for name in ("sent", "unchanged", "refused", "invalid")}
    assert shown == expected
    assert sum(shown.values()) == result["rows_read"] == 300
    expect(main).to_contain_text(f"= {result['rows_read']} rows read")
    expect(page.get_by_role("region", name="Fields that changed")).to_contain_text("attributes.plan")
    reasons = page.get_by_role("region", name="Rows that are not delivered")
    expect(reasons).to_contain_text("Malformed email")
    expect(reasons).to_contain_text("Refused by Customerly")
    expect(main).to_contain_text(f"airflow customerly state rejects {result['path']} {result['rejects']}")
    held = airflow.emulator.store.truth("users").values()
    ours = [one["attributes"]["plan"] for one in held if str(one["email"]).endswith("@warehouse.test")]
    assert ours.count("business") == result["sent"]
    assert not PERSONAL.search(page.content())


def test_page_of_a_plan(page: Page, airflow: Seen, plan: Run) -> None:
    result = airflow.result(plan)
    main = show(page, plan.page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Plan of a sync to users")
    expect(main).to_contain_text("A plan; nothing was sent. It would send 10 of 300 rows")
    shown = numbers(page.get_by_role("region", name="What would become of each row"))
    assert (shown["changed"], sum(shown.values())) == (result["changed"], 300)
    expect(page.get_by_role("region", name="Fields that would change")).to_contain_text("attributes.seats")
    expect(page.get_by_role("region", name="How to apply it")).to_contain_text(result["plan"])
    assert not PERSONAL.search(page.content())


def test_page_of_a_red_sync(page: Page, airflow: Seen, red: Run) -> None:
    result = airflow.result(red)
    [breached] = [guard for guard in result["guards"] if guard["breached"]]
    show(page, red.page)
    why = page.get_by_role("region", name="This run failed")
    expect(why).to_contain_text(
        f"{breached['value']} of {breached['of']} contacts are no longer in the source"
    )
    expect(why).to_contain_text(f'airflow dags trigger {SYNC} --conf \'{{"max_vanished":"0.')
    expect(page.get_by_role("row", name="max_vanished")).to_contain_text("breached")
    why.get_by_role("button", name="Copy the command").click()
    expect(why.get_by_role("status")).to_have_text(re.compile("Copied|Marked"))


def test_page_of_a_reconciliation(page: Page, airflow: Seen, undo: Run) -> None:
    run = undo._replace(task_id="reconcile")
    result = airflow.result(run)
    main = show(page, run.page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Reconciliation of users")
    expect(main).to_contain_text("9 of 11 rows agree")
    shown = numbers(page.get_by_role("region", name="Each row of the warehouse"))
    assert shown == {"equal": 9, "differing": 1, "only in the warehouse": 0, "invalid": 1}
    assert shown["equal"] == result["equal"]
    assert sum(shown.values()) == result["rows"]
    expect(page.get_by_role("region", name="Fields that differ")).to_contain_text("attributes.town")
    expect(tile(page, "Contacts")).to_have_text(str(result["contacts"]))
    expect(tile(page, "Only in Customerly")).to_have_text(str(result["contacts"] - 10))
    expect(page.get_by_role("row", name="max_differing")).to_contain_text("50% of 11")
    assert not PERSONAL.search(page.content())


def test_pages_of_an_undo(
    page: Page, airflow: Seen, sellers_before: dict[str, dict[str, Any]], undo: Run
) -> None:
    synced, planned = (airflow.result(undo._replace(task_id=name)) for name in ("sync", "plan_undo"))
    undone = Path(synced["undo"]).stem
    main = show(page, undo._replace(task_id="sync").page)
    how = page.get_by_role("region", name="How to undo it")
    expect(how).to_contain_text(f"airflow customerly undo {synced['path']} {synced['undo']}")

    main = show(page, undo._replace(task_id="plan_undo").page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Plan of a sync to users")
    expect(main).to_contain_text("A plan; nothing was sent. It would send 8 of")
    expect(main).to_contain_text(f"It undoes the run {undone}.")
    shown = numbers(page.get_by_role("region", name="What would become of each row"))
    assert (shown["changed"], sum(shown.values())) == (8, planned["rows_read"])
    expect(page.get_by_role("region", name="Fields that would change")).to_contain_text("name")
    cannot = page.get_by_role("region", name="What cannot be undone")
    expect(cannot).to_contain_text("2 contacts that were created")
    expect(cannot).to_contain_text(f"{planned['cannot_undo']['empty']} rows with a value that was empty")
    assert not PERSONAL.search(page.content())

    result = airflow.result(undo)
    main = show(page, undo.page)
    expect(main).to_contain_text(f"8 of {result['rows_read']} rows sent")
    expect(main).to_contain_text(f"It put back what the run {undone} had changed.")
    shown = numbers(page.get_by_role("region", name="What became of each row"))
    assert (shown["sent"], sum(shown.values())) == (result["sent"], result["rows_read"])
    assert not PERSONAL.search(page.content())
    # As Customerly has it: the old names are back, and the two that were made are still there.
    names = {email: contact["name"] for email, contact in sellers(airflow).items()}
    assert {name for name in names if name.endswith("@seller.test")} == names.keys() - sellers_before.keys()
    assert len(names) == 10
    assert {email: names[email] for email in sellers_before} == {
        email: contact["name"] for email, contact in sellers_before.items()
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_pages_fit_and_follow_the_theme(
    browser: Browser, airflow: Seen, token: str, export: Run, red: Run, width: int, theme: str
) -> None:
    for path in (export.page, red.page, "/customerly/index.html"):
        with looking(browser, airflow.api.address, token, width=width, theme=theme) as page:
            show(page, path)
            assert page.evaluate("document.documentElement.scrollWidth") == width
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (int(re.findall(r"\d+", background)[0]) < 128) == (theme == "dark")
            # With a keyboard, and with a screen reader.
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.tagName") == "A"
            names = page.locator("a, button").evaluate_all(
                "all => all.map(one => one.getAttribute('aria-label') || one.textContent.trim())"
            )
            assert "" not in names


def test_list_of_all(page: Page, airflow: Seen, export: Run, red: Run) -> None:
    show(page, "/customerly/index.html")
    for task in (f"{EXPORT} / export_users", f"{EXPORT} / export_leads", f"{SYNC} / sync_customers"):
        expect(page.get_by_role("listitem").filter(has_text=task)).to_be_visible()
    row = page.locator(".tasks > li", has_text="export_leads")
    expect(row).to_contain_text("60 rows, complete")
    row.get_by_role("link", name="Export of leads").click()
    expect(page.locator("main[aria-busy=false]")).to_contain_text("60 leads exported")


def test_list_says_that_it_is_cut(page: Page, export: Run) -> None:
    def many(route: Route) -> None:
        answer = route.fetch(url=re.sub(r"offset=\d+", "offset=0", route.request.url))
        instances = answer.json()["task_instances"]
        of_all = {"task_instances": (instances * 100)[:100], "total_entries": 501}
        route.fulfill(response=answer, json=of_all)

    main = show(page, "/customerly/index.html")
    expect(main).not_to_contain_text("among the newest")
    page.route("**/dags/~/dagRuns/~/taskInstances?*", many)
    main = show(page, "/customerly/index.html")
    expect(main).to_contain_text("These are the tasks among the newest 500 task runs.")


def test_what_a_person_has_opened_stays_so_while_the_page_looks_again(page: Page, export: Run) -> None:
    def waiting(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "state": "up_for_retry"})

    page.route(f"**/taskInstances/{export.task_id}", waiting)
    show(page, export.page)
    page.get_by_text("As a table").click()
    link = page.locator("details").get_by_role("link").last
    link.focus()
    page.locator("header").evaluate("header => { header.dataset.seen = 'before' }")
    expect(page.locator("header[data-seen]")).to_have_count(0)
    expect(link).to_be_visible()
    expect(link).to_be_focused()


def test_a_running_task_shows_how_far_it_has_come(page: Page, airflow: Seen, export: Run) -> None:
    """Also once its log is gone from here, if Airflow has a task state store."""
    store, service = airflow.emulator.store, airflow.emulator.service
    usual = store.max_per_page, service.latency
    store.max_per_page, service.latency = 10, 1.0
    try:
        # It reads a few pages and is held then: else it may end before the page looks at it again.
        with held_from(airflow.emulator, "GET /users/list", 12):
            run = Run(EXPORT, airflow.api.trigger(EXPORT), "export_users")
            if has_state_store():
                page.route("**/logs/*", lambda route: route.fulfill(json={"content": []}))
            progress = show(page, run.page).locator(".progress")
            expect(progress).to_have_text(re.compile(r"^\d+ of about \d+ contacts read, \d+/s"))
    finally:
        store.max_per_page, service.latency = usual
    assert airflow.api.wait_for(EXPORT, run.run_id) == "success"


def has_state_store() -> bool:
    return tuple(map(int, airflow_version.split(".")[:2])) >= (3, 3)


def test_a_result_in_an_object_store_is_not_called_missing(page: Page, airflow: Seen, export: Run) -> None:
    result = airflow.result(export)
    entry = f"{airflow.path(export)}/xcomEntries/return_value"
    # As Airflow's XComObjectStorageBackend leaves it in the database.
    for value in ("s3://bucket/xcom/7f5e.json", result):
        assert airflow.api.ask("PATCH", entry, {"value": value, "map_index": -1})[0] == 200
        main = show(page, export.page)
        text = "The result is kept outside Airflow's database" if value != result else "60 leads exported"
        expect(main).to_contain_text(text)
        expect(main).not_to_contain_text("left no result")


def test_airflow_leads_to_the_pages(page: Page, airflow: Seen, export: Run) -> None:
    page.goto(f"/dags/{export.dag_id}/runs/{export.run_id}/tasks/{export.task_id}/details")
    link = page.get_by_role("link", name="Customerly run")
    expect(link).to_be_visible()
    target = link.get_attribute("href")
    assert target is not None
    show(page, f"/{target}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Export of leads")
    # A link back, and the tab of the task instance.
    page.get_by_role("link", name="export_leads").click()
    page.get_by_role("link", name="Customerly", exact=True).first.click()
    inside = page.frame_locator("iframe")
    expect(inside.locator("main[aria-busy=false]")).to_contain_text("60 leads exported")
    # The list is below Browse.
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("menuitem", name="Customerly").click()
    expect(inside.get_by_role("link", name="Export of leads")).to_be_visible()
    # Out of the frame, which may not leave itself.
    inside.get_by_role("link", name="Export of leads").click()
    inside.get_by_role("link", name="export_leads").click()
    expect(page).to_have_url(re.compile(f"/dags/{EXPORT}/runs/.*/tasks/export_leads"))


@pytest.mark.usefixtures("export")  # which starts the other DAG
def test_tab_on_a_task_that_is_not_ours(page: Page, airflow: Seen) -> None:
    def started() -> Any:
        status, found = airflow.api.ask(
            "GET", f"dags/{SCORES}/dagRuns/~/taskInstances?task_id=build_users_scores"
        )
        assert status == 200
        return found["task_instances"]

    instance = wait_until(started)[0]
    main = show(page, Run(SCORES, instance["dag_run_id"], "build_users_scores").page)
    expect(main).to_contain_text("Not a Customerly task")


def test_nothing_is_shown_without_login(browser: Browser, airflow: Seen, export: Run) -> None:
    with looking(browser, airflow.api.address, None) as page:
        answers: list[int] = []
        page.on("response", lambda answer: answers.append(answer.status) if "/api/" in answer.url else None)
        for path in (export.page, "/customerly/index.html"):
            main = show(page, path)
            expect(main).to_contain_text("You are not logged in")
            assert EXPORT not in main.inner_text()
            expect(page.get_by_role("link", name="Log in to Airflow")).to_be_visible()
        assert set(answers) == {401}


def test_a_user_without_access_sees_nothing(browser: Browser, airflow: Seen, export: Run, red: Run) -> None:
    with airflow.to_strangers() as address:
        api = airflow.api_at(address)
        with looking(browser, address, api.token("ann", PASSWORDS["ann"])) as page:
            expect(show(page, export.page)).to_contain_text("60 leads exported")
        with looking(browser, address, None) as page:
            token = api.token(STRANGER, PASSWORDS[STRANGER])
            page.context.add_cookies([{"name": "_token", "value": token, "url": address}])
            for run in (export, red):
                main = show(page, run.page)
                expect(main).to_contain_text("You may not see this")
                assert run.task_id not in main.inner_text()
            main = show(page, "/customerly/index.html")
            expect(main).to_contain_text(re.compile("No runs yet|You may not see this"))
            assert EXPORT not in main.inner_text()
