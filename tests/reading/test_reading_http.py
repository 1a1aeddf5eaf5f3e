"""Whole readings over HTTP, from servers that do not keep to what a list should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_customerly.client import Client, CustomerlyProtocolError
from airflow_provider_customerly.emulator import Choices, Emulator
from airflow_provider_customerly.reading import locate, start_reading

if TYPE_CHECKING:
    from airflow_provider_customerly.reading.reading import Reading


def ids(reading: Reading) -> list[int]:
    return [record.crmhero_user_id for rows in reading for record in rows]


@pytest.mark.parametrize("cap", [20, 37, 50, 60, 90])
@pytest.mark.parametrize("newest", [1, 19, 99, 250, 777])
def test_changes_are_read_whole_from_a_server_that_gives_smaller_pages(cap: int, newest: int) -> None:
    with (
        Emulator(users=3000, leads=0, max_per_page=cap, bulk_share=0.1) as emulator,
        Client(emulator.token, emulator.url) as client,
    ):
        versions = emulator.store.versions("users")
        low = sorted(versions.values())[-newest]
        start = locate(client, "users", low, 3000)
        reading = start_reading(client, "users", low=low, start=start)
        found = ids(reading)
    assert set(found) == {key for key, stamp in versions.items() if stamp >= low}
    assert reading.certificate.verdict == "complete"


def test_contacts_left_out_of_pages_do_not_end_the_list() -> None:
    with Emulator(users=5000, leads=0, choices=Choices(short_pages=True), bulk_share=0.02) as emulator:
        with Client(emulator.token, emulator.url) as client:
            reading = start_reading(client, "users")
            found = ids(reading)
        shown = {key for key, contact in emulator.store.truth("users").items() if not contact["spam"]}
    assert len(shown) < 5000
    assert set(found) == shown
    assert reading.certificate.verdict == "complete"


@pytest.mark.usefixtures("empty_at_once")
def test_a_streak_of_empty_answers_does_not_end_the_list() -> None:
    with Emulator(users=5000, leads=0) as emulator, Client(emulator.token, emulator.url) as client:
        emulator.faults.plan([None] * 20 + ["empty"] * 40)
        reading = start_reading(client, "users")
        with pytest.raises(CustomerlyProtocolError, match="came back empty 3 times after"):
            ids(reading)
    assert reading.certificate.verdict == "unproven"


def test_an_unsorted_list_is_read_without_a_proof() -> None:
    with Emulator(users=930, leads=0, choices=Choices(sort_kept="none"), bulk_share=0.1) as emulator:
        with Client(emulator.token, emulator.url) as client:
            reading = start_reading(client, "users")
            found = ids(reading)
        assert sorted(found) == sorted(emulator.store.versions("users"))
    assert reading.certificate.verdict == "unproven"
    assert "order of last_update" in str(reading.certificate.reason)


def test_an_unsorted_list_whose_pages_repeat_ends() -> None:
    choices = Choices(sort_kept="none", past_end="last")
    with Emulator(users=930, leads=0, choices=choices) as emulator:
        with Client(emulator.token, emulator.url) as client:
            reading = start_reading(client, "users")
            with pytest.raises(CustomerlyProtocolError, match="no other contacts than the 930 before them"):
                ids(reading)
        assert emulator.stats()["requests"] < 50


@pytest.mark.parametrize("churn", [0.0, 0.5])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_bulk_imports_cost_no_request_of_their_own(concurrency: int, churn: float) -> None:
    with Emulator(users=10_000, leads=0, bulk_share=0.3, churn_per_request=churn) as emulator:
        before = emulator.store.versions("users")
        with Client(emulator.token, emulator.url, max_concurrency=concurrency) as client:
            reading = start_reading(client, "users")
            found = ids(reading)
        there = before.keys() & emulator.store.versions("users").keys()
    assert reading.certificate.verdict == "complete"
    assert there <= set(found)
    requests = emulator.stats()["requests"]
    if churn and concurrency > 1:
        # Threads decide which window shows a change: rarely, one ends in the midst of a group that has moved.
        assert requests <= 400
    else:
        assert reading.certificate.tie_groups == 0
        assert requests <= 150


def test_bulk_imports_in_an_order_that_changes_are_counted() -> None:
    with Emulator(users=5000, leads=0, bulk_share=0.2, shuffle_ties=True) as emulator:
        with Client(emulator.token, emulator.url) as client:
            reading = start_reading(client, "users")
            found = ids(reading)
        assert sorted(found) == sorted(emulator.store.versions("users"))
    assert reading.certificate.verdict == "complete"
    assert reading.certificate.tie_groups > 0
