"""Tags put on and taken off contacts, in batches that may be refused whole."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_customerly.client import Client, CustomerlyAuthError, CustomerlyRequestError
from airflow_provider_customerly.contacts import (
    RefusedError,
    StoppedError,
    UnfinishedError,
    collect,
    tag_contacts,
)
from airflow_provider_customerly.emulator import Choices, Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.emulator(users=0, leads=0), pytest.mark.usefixtures("no_backoff")]

USERS = [f"user{n}@x.test" for n in range(130)]
LEADS = [f"lead{n}@x.test" for n in range(3)]


@pytest.fixture(autouse=True)
def contacts(emulator: Emulator) -> None:
    emulator.store.upsert("users", [{"email": one, "user_id": f"id-{n}"} for n, one in enumerate(USERS)])
    emulator.store.upsert("leads", [{"email": email} for email in LEADS])


class Tag:
    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.client = Client(emulator.token, emulator.url, max_concurrency=8)

    def __call__(self, names: list[Any], by: Any = "email", **options: Any) -> dict[str, Any]:
        return tag_contacts(self.client, collect(by, [names]), options.pop("tag", "vip"), **options)

    def tagged(self, kind: str = "users") -> list[str]:
        store, found = self.emulator.store, []
        for email in USERS if kind == "users" else LEADS:
            contact_id = store.find(kind, email=email)
            if contact_id is not None and "vip" in store.tags_of(contact_id):
                found.append(email)
        return found

    def requests(self) -> int:
        return self.emulator.stats()["by_request"].get("POST /tags", 0)


@pytest.fixture
def tag(emulator: Emulator) -> Iterator[Tag]:
    made = Tag(emulator)
    with made.client:
        yield made


@pytest.mark.parametrize("max_concurrency", [1, 4])
def test_batches_are_tagged_and_untagged(tag: Tag, max_concurrency: int) -> None:
    result = tag([*USERS, USERS[0].upper()], max_concurrency=max_concurrency)
    assert (result["given"], result["contacts"], result["sent"], result["requests"]) == (131, 130, 130, 3)
    assert tag.tagged() == USERS
    result = tag(USERS[:100], untag=True, batch_size=100)
    assert (result["untag"], result["sent"], result["requests"]) == (True, 100, 1)
    assert tag.tagged() == USERS[100:]


def test_user_ids(tag: Tag) -> None:
    assert tag(["id-3", "id-5"], "user_id")["sent"] == 2
    assert tag.tagged() == [USERS[3], USERS[5]]


def test_leads(tag: Tag) -> None:
    assert tag(LEADS[:2], contact_type="leads")["sent"] == 2
    assert tag.tagged("leads") == LEADS[:2]
    with pytest.raises(ValueError, match="Leads have no user_id"):
        tag(["id-3"], "user_id", contact_type="leads")


def test_nothing_to_tag_needs_no_request(tag: Tag, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    result = tag([])
    assert (result["sent"], tag.requests()) == (0, 0)
    assert "there is nothing to tag" in caplog.text


def test_strangers_that_are_passed_over_count_as_sent(tag: Tag) -> None:
    assert tag([USERS[0], "nobody@x.test"])["sent"] == 2
    assert tag.tagged() == USERS[:1]


def test_strangers_that_spoil_a_batch_are_found_and_told(tag: Tag) -> None:
    tag.emulator.service.choices = Choices(tag_strangers="refuse")
    names = [*USERS[:20], "nobody@x.test", *USERS[20:], "no.one@x.test"]
    with pytest.raises(RefusedError, match=r"refused 2 of 132 contacts: at 21, 132: .*HTTP 404") as red:
        tag(names)
    assert (red.value.result["sent"], red.value.result["refused"]) == (130, 2)
    assert tag.tagged() == USERS
    assert "x.test" not in str(red.value)


def test_strangers_need_no_untagging(tag: Tag) -> None:
    tag(USERS)
    tag.emulator.service.choices = Choices(tag_strangers="refuse")
    result = tag([*USERS[:9], "nobody@x.test"], untag=True)
    assert (result["sent"], result["already_gone"], result["refused"]) == (9, 1, 0)
    assert tag.tagged() == USERS[9:]


def test_request_that_is_always_refused_is_not_the_contacts_fault(tag: Tag) -> None:
    tag.emulator.faults.set({"400": 1.0})
    with pytest.raises(CustomerlyRequestError, match="POST /tags: 20 contacts"):
        tag(USERS)
    assert tag.tagged() == []


def test_passing_faults_are_not_seen(tag: Tag) -> None:
    tag.emulator.faults.plan(["reset_after", "429-bare", "503"])
    assert tag(USERS[:10])["requests"] == 4
    assert tag.tagged() == USERS[:10]


def test_outage_that_passes_refuses_nobody(tag: Tag) -> None:
    tag.emulator.faults.plan([None, *["500"] * 5])
    assert tag(USERS[:4], batch_size=1)["sent"] == 4
    assert tag.tagged() == USERS[:4]


def test_failure_that_may_pass_is_worth_another_try(tag: Tag) -> None:
    tag.emulator.faults.plan([*["500"] * 5, None, *["500"] * 5])
    with pytest.raises(UnfinishedError, match=r"refused 1 of 2 contacts: at 1: .*\(HTTP 500\)") as red:
        tag(USERS[:2], batch_size=1)
    assert not isinstance(red.value, RefusedError)
    assert tag(USERS[:2])["sent"] == 2


def test_unknown_token_is_asked_for_once(emulator: Emulator) -> None:
    with Client("revoked-77", emulator.url) as client, pytest.raises(CustomerlyAuthError):
        tag_contacts(client, collect("email", [USERS]), "vip")
    assert emulator.stats()["requests"] == 1


def test_told_to_stop_it_begins_no_further_batch(tag: Tag, at_each_line: Any) -> None:
    stop = threading.Event()
    at_each_line(stop.set)
    with pytest.raises(StoppedError):
        tag(USERS, stop=stop)
    assert tag.tagged() == USERS[:50]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tag": " "}, "not a tag"),
        ({"contact_type": "both"}, "Use users or leads"),
        ({"batch_size": 101}, "batch"),
    ],
)
def test_what_cannot_be_meant_is_refused(tag: Tag, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        tag(USERS, **options)
    assert tag.requests() == 0
