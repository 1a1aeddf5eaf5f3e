"""What a check shows, and how it behaves where little works."""

from __future__ import annotations

import json
import logging
import re
import socket
import time
from typing import Any

import pytest
from airflow.sdk import Connection
from docs_blocks import REPOSITORY, blocks

from airflow_provider_customerly.check import run_check
from airflow_provider_customerly.check.wire import MOST_REQUESTS
from airflow_provider_customerly.emulator import Choices, Emulator
from airflow_provider_customerly.hooks.connection import client_arguments

TOKEN = "tok-93be01d7c2"


pytestmark = pytest.mark.emulator(users=430, leads=0, token=TOKEN)


def test_nothing_of_a_contact_and_no_token_is_shown(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    odd: dict[str, Any] = {
        "ada@northwind.test": 1,
        "Ada Byrne": 2,
        "loyalty": "gold-8817",
        "is_user": "x-8817",
    }
    emulator.store.insert_raw("users", {"crmhero_user_id": 7, **odd}, int(time.time()))
    emulator.service.choices = Choices(missing_message=f"Unknown: zoe@northwind.test {TOKEN}")
    report = run_check(emulator.token, emulator.url)
    shown = report.to_text() + json.dumps(report.to_dict()) + caplog.text
    assert "loyalty and 2 more" in shown
    people = emulator.store.truth("users").values()
    secrets = {person[name] for person in people for name in ("email", "name", "user_id") if person.get(name)}
    secrets |= {TOKEN, "northwind", "8817", "Ada Byrne"}
    assert len(secrets) > 430
    assert [secret for secret in secrets if secret in shown] == []
    assert "@" not in shown


def test_settings_of_a_connection_are_taken_and_misspelt_ones_are_not(emulator: Emulator) -> None:
    fields = {"page_size": 50, "max_concurrency": 2, "retry_budget": 1, "timeout": 9, "auth_header": "bearer"}
    connection = Connection(
        conn_id="c",
        conn_type="customerly",
        password=emulator.token,
        host=emulator.url,
        extra=json.dumps(fields),
    )
    assert run_check(**client_arguments(connection)).token_works
    with pytest.raises(TypeError, match="requests_per_secnd"):
        run_check(emulator.token, emulator.url, requests_per_secnd=2)  # type: ignore[call-arg]


def test_json_and_text_tell_the_same(emulator: Emulator) -> None:
    report = run_check(emulator.token, emulator.url)
    as_json = json.loads(json.dumps(report.to_dict()))
    assert (as_json["base_url"], as_json["requests"]) == (emulator.url, emulator.stats()["requests"])
    text = " ".join(report.to_text().split())
    for finding in as_json["findings"]:
        parts = (finding["verdict"], finding["assumption"], finding["evidence"], "->", finding["consequence"])
        assert " ".join(parts) in text
    assert text.endswith(", 0 differs, 6 not checked")


def test_an_unknown_token(emulator: Emulator) -> None:
    report = run_check("tok-revoked", emulator.url)
    verdicts = report.verdicts()
    assert not report.token_works
    assert (verdicts["bearer_header"], verdicts["legacy_header"]) == ("differs", "differs")
    assert "page_size" in verdicts
    assert {verdicts[name] for name in ("page_size", "utc", "key", "unknown_contact")} == {"not checked"}
    assert report.requests == emulator.stats()["requests"] == 3
    first_line, *lines = report.to_text().splitlines()
    assert first_line.startswith(emulator.url)
    assert " ".join(filter(None, lines)) == f"{report.obstacle} The rest was not checked."
    assert 'HTTP 500, "Access token not found.")' in report.obstacle
    assert "Create a new access token" in report.obstacle
    assert len(report.to_dict()["findings"]) == len(verdicts) > 20


@pytest.mark.parametrize("header", ["bearer", "legacy"])
def test_one_form_of_header_is_enough_for_the_rest(header: Any) -> None:
    with Emulator(users=130, leads=0, choices=Choices(legacy_header=False)) as emulator:
        report = run_check(emulator.token, emulator.url, auth_header=header)
    assert report.token_works
    assert report.verdicts()["sort_ascending"] == "holds"
    legacy = next(finding for finding in report.findings if finding.name == "legacy_header")
    assert "Leave auth_header at bearer" in legacy.consequence
    assert ("(as in the connection)" in legacy.evidence) is (header == "legacy")


def test_faults_are_not_taken_for_deviations(emulator: Emulator) -> None:
    faults = ["503", "reset", "cut", "html", "502", "429-bare"]
    emulator.faults.plan(fault for one in faults for fault in (one, None))
    report = run_check(emulator.token, emulator.url)
    assert sum(emulator.faults.injected.values()) == len(faults)
    assert "differs" not in report.verdicts().values()
    assert report.requests == emulator.stats()["requests"] <= MOST_REQUESTS


def test_an_outage_ends_within_the_allowance(emulator: Emulator) -> None:
    emulator.faults.set({"503": 0.5, "reset": 0.5})
    report = run_check(emulator.token, emulator.url)
    assert report.requests == emulator.stats()["requests"] <= MOST_REQUESTS
    assert not report.token_works
    assert "differs" not in report.verdicts().values()


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{unused.getsockname()[1]}"
        report = run_check("tok", f"http://{server}/v1")
    assert report.requests == 2
    assert set(report.verdicts().values()) == {"not checked"}
    text = " ".join(report.to_text().split())
    said = f"the connection to {server} failed (Connection refused)."
    assert f"GET /users/list page=0: {said} Try again later" in text
    assert text.endswith("The rest was not checked.")
    assert f"got no response: {said}" in json.dumps(report.to_dict())


def test_a_page_that_is_not_the_api(emulator: Emulator) -> None:
    report = run_check(emulator.token, emulator.origin + "/elsewhere")
    assert not report.token_works
    assert report.verdicts()["list_shape"] == "not checked"
    assert "Check the path in the connection's host" in " ".join(report.to_text().split())


@pytest.mark.parametrize(("choices", "told"), [(Choices(), False), (Choices(first_page=1), True)])
def test_only_what_differs_is_to_be_reported(choices: Choices, told: bool) -> None:
    with Emulator(users=130, leads=0, choices=choices) as emulator:
        text = run_check(emulator.token, emulator.url).to_text()
    assert ("To report a difference" in text) is told


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"base_url": "http://api.example.test/v1"}, "in clear"),
        ({"base_url": "api.example.test"}, "incomplete"),
        ({"token": " "}, "empty"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run_check(**{"token": "tok", "base_url": "http://127.0.0.1:9/v1", **settings})


def test_the_docs_show_what_an_account_shows_in_which_nothing_changed_lately(emulator: Emulator) -> None:
    for key in emulator.store.versions("users"):
        emulator.store.set_last_update("users", key, int(time.time()) - 11_520)
    shown = run_check(emulator.token, emulator.url).to_text()
    [sample] = blocks(REPOSITORY / "docs" / "reference" / "command-line.md", "text")
    entries = re.split(r"^(?=\S)", sample.text, flags=re.MULTILINE)[1:]
    assert len(entries) == 2
    assert [" ".join(entry.split()) in " ".join(shown.split()) for entry in entries] == [True, True], shown
