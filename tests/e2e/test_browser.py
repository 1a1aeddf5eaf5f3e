"""What a user sees: the connection form, its Test button and the example DAG, in a real browser."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.providers_manager import ProvidersManager
from airflow.sdk import BaseHook
from airflow_process import Airflow
from chromium import LONGEST, chromium
from playwright.sync_api import Browser, Locator, Page, expect

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.hooks.connection import client_arguments
from airflow_provider_customerly.provider_info import get_provider_info

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not hasattr(ProvidersManager, "iter_connection_type_hook_ui_metadata"),
        reason="this Airflow does not build the form from the provider's metadata",
    ),
]

EXTRA_FIELDS = get_provider_info()["connection-types"][0]["conn-fields"]
NEW = "my_crm"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def customerly() -> Iterator[Emulator]:
    with Emulator(users=40, leads=5, token="tok-91b0c2") as running:
        yield running


@pytest.fixture(scope="module")
def airflow(
    browser: Browser, migrated_database: Path, customerly: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Airflow:
    """An Airflow in which the example DAG has run once."""
    home = tmp_path_factory.mktemp("airflow")
    shutil.copy(migrated_database, home)
    airflow = Airflow(
        home,
        AIRFLOW_VAR_CUSTOMERLY_EXPORT_PATH=str(home / "contacts"),
        AIRFLOW_CONN_CUSTOMERLY_DEFAULT=customerly.airflow_connection,
    )
    run = airflow.run("dags", "test", "customerly_contacts_export")
    assert run.returncode == 0, run.stdout
    return airflow


@pytest.fixture(scope="module")
def address(airflow: Airflow) -> Iterator[str]:
    with airflow.web_interface() as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with browser.new_context(base_url=address, locale="en-US") as context:
        context.set_default_timeout(LONGEST)
        page = context.new_page()
        yield page
        page.request.delete(f"/api/v2/connections/{NEW}", timeout=LONGEST)


def new_connection(page: Page) -> Locator:
    page.goto("/connections")
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Connection ID").fill(NEW)
    form.get_by_label("Connection Type").fill("Customerly")
    page.get_by_role("option", name="Customerly", exact=True).click()
    return form


def test_form_shows_what_to_fill_in(page: Page) -> None:
    form = new_connection(page)
    standard = form.get_by_role("region", name="Standard Fields")
    expect(standard.locator("label")).to_have_text(["Description", "Base URL", "Access token", "Port"])
    expect(standard.get_by_label("Base URL")).to_have_attribute(
        "placeholder", re.compile("api.customerly.io")
    )
    expect(standard.get_by_label("Access token")).to_have_attribute("placeholder", re.compile("Public API"))
    expect(standard.get_by_label("Access token")).to_have_attribute("type", "password")
    expect(standard.get_by_label("Port")).to_have_attribute("placeholder", re.compile("443"))

    form.get_by_role("button", name="Extra Fields", exact=True).click()
    # The switch of a flag is a label of its own, without text.
    expect(form.locator("label:visible", has_text=re.compile(r"\w"))).to_have_text(
        ["Connection ID *", "Connection Type *", *(field["label"] for field in EXTRA_FIELDS.values())]
    )
    for field in EXTRA_FIELDS.values():
        expect(form.get_by_text(field["description"], exact=True)).to_be_visible()
    expect(form.locator("[name=element_hash_secret]")).to_have_attribute("type", "password")


def test_what_is_typed_reaches_the_client(
    page: Page, airflow: Airflow, customerly: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = new_connection(page)
    form.get_by_label("Base URL").fill(customerly.url)
    form.get_by_label("Access token").fill("tok/with+signs@1")
    form.get_by_role("button", name="Extra Fields", exact=True).click()
    form.get_by_label("Concurrent requests").fill("8")
    form.get_by_label("Page size").fill("19")  # below what an export can work with
    form.get_by_label("Timeout").fill("12.5")
    form.get_by_label("Authorization header").fill("legacy")
    page.get_by_role("option", name="legacy").click()
    form.get_by_role("button", name="Save").click()
    expect(page.get_by_role("row", name=NEW)).to_contain_text(customerly.url)

    told = airflow.run("connections", "get", NEW, "--output", "json")
    [saved] = json.loads(told.stdout[told.stdout.index("[{") :])
    monkeypatch.setenv("AIRFLOW_CONN_CRM", saved["get_uri"])
    assert client_arguments(BaseHook.get_connection("crm")) == {
        "token": "tok/with+signs@1",
        "base_url": customerly.url,
        "max_concurrency": 8,
        "page_size": 20,
        "timeout": 12.5,
        "auth_header": "legacy",
    }


def test_button_tests_what_the_form_has_saved(page: Page, customerly: Emulator) -> None:
    form = new_connection(page)
    form.get_by_label("Base URL").fill(customerly.url)
    form.get_by_label("Access token").fill(customerly.token)
    form.get_by_label("Port").fill("443")  # as the form says: the one in the URL counts
    form.get_by_role("button", name="Save").click()
    row = page.get_by_role("row", name=NEW)
    row.get_by_role("button", name="Test Connection").click()
    expect(page.get_by_text(f"{customerly.url} answered and knows the token.")).to_be_visible()


def test_button_asks_for_the_token_and_names_no_other_connection(page: Page, customerly: Emulator) -> None:
    fields = {"conn_type": "customerly", "host": customerly.url, "port": 443}
    created = page.request.post("/api/v2/connections", data={"connection_id": NEW, **fields}, timeout=LONGEST)
    assert created.ok, created.text()
    page.goto("/connections")
    with page.expect_response("**/connections/test") as answer:
        page.get_by_role("row", name=NEW).get_by_role("button", name="Test Connection").click()
    assert answer.value.json()["message"].startswith("It has no access token. Create one in Customerly")
    expect(page.get_by_text("It has no access token.")).to_be_visible()


@pytest.mark.parametrize(
    ("token", "title", "message"),
    [
        ("tok-91b0c2", "Test Connection Successful", "answered and knows the token"),
        ("tok-revoked", "Test Connection Failed", "Create a new access token in Customerly"),
    ],
)
def test_button_tells_whether_the_token_is_known(
    page: Page, customerly: Emulator, token: str, title: str, message: str
) -> None:
    # With a port of its own, as Airflow 3.3.1 and 3.3.2 want it.
    fields = {"conn_type": "customerly", "host": "127.0.0.1", "port": customerly.port, "password": token}
    created = page.request.post("/api/v2/connections", data={"connection_id": NEW, **fields}, timeout=LONGEST)
    assert created.ok, created.text()
    page.goto("/connections")
    page.get_by_role("row", name=NEW).get_by_role("button", name="Test Connection").click()
    expect(page.get_by_text(title)).to_be_visible()
    expect(page.get_by_text(message)).to_be_visible()
    assert token not in page.content()


def test_example_dag_and_its_run(page: Page) -> None:
    page.goto("/dags/customerly_contacts_export/runs")
    page.get_by_role("link", name=re.compile("^manual__|^20")).first.click()
    for task in ("export_users", "export_leads"):
        row = page.get_by_role("row", name=task)
        expect(row).to_contain_text("Success")
        expect(row).to_contain_text("CustomerlyToParquetOperator")
