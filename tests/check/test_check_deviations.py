"""Each point in which the API may differ is found, and nothing else is taken for a difference."""

from __future__ import annotations

import time
from typing import Any

import pytest

from airflow_provider_customerly.check import Report, run_check
from airflow_provider_customerly.check.findings import ASSUMPTIONS, UNCHECKED
from airflow_provider_customerly.check.wire import MOST_REQUESTS
from airflow_provider_customerly.emulator import Choices, Emulator

NEVER_CHECKED = {one.name: "not checked" for one in UNCHECKED}
ALL_HOLD = {assumption.name: "holds" for assumption in ASSUMPTIONS} | NEVER_CHECKED
NOW = int(time.time())


def check(emulator: Emulator, **settings: Any) -> Report:
    """Check an account in which somebody was just updated, and count the requests where they arrive."""
    if emulator.store.count("users"):
        emulator.store.update("users", next(iter(emulator.store.versions("users"))), {"web_session": 7})
    report = run_check(**{"token": emulator.token, "base_url": emulator.url, **settings})
    stats = emulator.stats()
    assert stats["requests"] == report.requests <= MOST_REQUESTS < 20
    assert {request.split()[0] for request in stats["by_request"]} == {"GET"}
    return report


def changes(report: Report) -> dict[str, str]:
    """What is not as in an account where everything that can be checked holds."""
    return {name: verdict for name, verdict in report.verdicts().items() if verdict != ALL_HOLD[name]}


@pytest.mark.parametrize("users", [130, 930, 2470, 25_530])
def test_an_account_as_it_is_known(users: int) -> None:
    with Emulator(users=users, leads=0) as emulator:
        assert changes(check(emulator)) == {}


def differs(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "differs")


def unseen(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "not checked")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"choices": Choices(legacy_header=False)}, differs("legacy_header")),
        ({"choices": Choices(token_message="Nope.")}, differs("unknown_token")),
        ({"choices": Choices(token_status=401, token_message="Nope.")}, differs("unknown_token")),
        ({"choices": Choices(token_status=401)}, {}),
        ({"choices": Choices(missing_status=500)}, {}),
        ({"choices": Choices(missing_status=200)}, {}),
        ({"choices": Choices(missing_status=500, missing_message="Nothing.")}, differs("unknown_contact")),
        ({"choices": Choices(first_page=1)}, differs("page_from_0")),
        ({"max_per_page": 50}, differs("page_size")),
        ({"choices": Choices(sort_kept="asc")}, differs("sort_descending") | unseen("utc")),
        (
            {"choices": Choices(sort_kept="none")},
            differs("sort_ascending", "sort_descending") | unseen("utc"),
        ),
        ({"shuffle_ties": True}, differs("equal_stamps")),
        (
            {"choices": Choices(past_end="last")},
            differs("end_is_empty") | unseen("short_page_is_last"),
        ),
        (
            {"choices": Choices(past_end="error")},
            differs("end_is_empty") | unseen("short_page_is_last"),
        ),
        ({"choices": Choices(numbers_as_text=True)}, differs("key", "numbers")),
        ({"choices": Choices(empty_attributes="{}")}, {}),
        ({"choices": Choices(empty_attributes="null")}, {}),
        ({"choices": Choices(last_update_zone=2)}, differs("utc")),
        ({"choices": Choices(clock_skew=-3600)}, differs("clock", "utc")),
        ({"choices": Choices(clock_skew=3600), "clock": lambda: time.time() + 3600}, differs("clock")),
        ({"choices": Choices(rate_limit_headers=True)}, differs("rate_limit_headers")),
    ],
)
def test_a_deviation(options: dict[str, Any], expected: dict[str, str]) -> None:
    with Emulator(users=930, leads=0, **options) as emulator:
        assert changes(check(emulator)) == expected


def test_pages_that_are_short_before_the_end() -> None:
    with Emulator(users=930, leads=0, choices=Choices(short_pages=True)) as emulator:
        verdicts = check(emulator).verdicts()
    assert verdicts["short_page_is_last"] == "differs"
    assert verdicts["page_size"] != "differs"


def test_a_zone_behind_utc_shows_by_when_contacts_were_first_seen() -> None:
    with Emulator(users=930, leads=0, choices=Choices(last_update_zone=-3)) as emulator:
        emulator.store.upsert("users", [{"email": "new@created.test"}])
        report = check(emulator)
    assert changes(report) == differs("utc")
    assert "3.0 h" in next(finding.evidence for finding in report.findings if finding.name == "utc")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"loyalty": 3}, differs("known_fields")),
        ({"latitude": "53.3"}, differs("numbers")),
        ({"is_user": "yes"}, differs("numbers")),
        ({"attributes": "plan=pro"}, differs("attributes")),
        ({"attributes": ["pro"]}, differs("attributes")),
        # Of this year, as lists are sorted by this as text.
        ({"last_update": f"{time.gmtime(NOW).tm_year}/11/24"}, differs("stamp_format", "sort_descending")),
        ({"first_seen_at": 1000 * NOW}, differs("epoch_seconds")),
        ({"crmhero_user_id": "7"}, differs("key")),
    ],
)
def test_a_deviation_of_one_contact(fields: dict[str, Any], expected: dict[str, str]) -> None:
    with Emulator(users=930, leads=0) as emulator:
        emulator.store.insert_raw("users", {"crmhero_user_id": 7, "last_update": None, **fields}, NOW - 5)
        if "last_update" not in fields:
            emulator.store.set_last_update("users", 7, NOW - 5)
        assert changes(check(emulator)) == expected


def test_a_slow_account() -> None:
    with Emulator(users=130, leads=0) as emulator:
        emulator.faults.drip_seconds = 3
        emulator.faults.plan([None] * 3 + ["drip"])  # the first whole page
        report = check(emulator, timeout=5)  # an answer that arrives bit by bit may take twice as long
    assert changes(report) == differs("speed")


def test_a_page_cut_to_less_than_asked_is_not_taken_for_the_whole_list() -> None:
    with Emulator(users=70, leads=0, max_per_page=60) as emulator:
        verdicts = check(emulator).verdicts()
    assert verdicts["page_size"] == "differs"


@pytest.mark.parametrize("users", [0, 1, 99])
def test_few_contacts(users: int) -> None:
    """What a small account cannot show is not checked; nothing differs."""
    with Emulator(users=users, leads=0) as emulator:
        verdicts = check(emulator).verdicts()
    assert "differs" not in verdicts.values()
    assert verdicts["page_size"] == "not checked"
    assert verdicts["short_page_is_last"] == ("holds" if users else "not checked")


def test_many_contacts_with_one_stamp() -> None:
    with Emulator(users=930, leads=0, tie_group=930, shuffle_ties=True) as emulator:
        verdicts = check(emulator).verdicts()
    assert verdicts["equal_stamps"] == "differs"
    assert [name for name, verdict in verdicts.items() if verdict == "differs"] == ["equal_stamps"]
