"""What is tried again, how often, how long, and how it ends."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import tenacity
from scripted_server import Reply, ScriptedServer

from airflow_provider_customerly.client import (
    Client,
    CustomerlyError,
    CustomerlyNotFound,
    CustomerlyProtocolError,
    CustomerlyRateLimited,
    CustomerlyUnavailable,
    call,
)

if TYPE_CHECKING:
    from types import FrameType

    from airflow_provider_customerly.emulator import Emulator

GOOD = Reply(body={"data": ["vip"]})
DOWN = Reply(503, b"<html>down</html>")
EXPLAINED = Reply(500, {"error": {"message": "Internal server error"}})


pytestmark = pytest.mark.emulator(users=50)


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize(
    "fault", ["429-bare", "500", "502", "503", "503-json", "reset", "cut", "html", "error200", "bomb"]
)
def test_passing_fault_is_not_seen(emulator: Emulator, client: Client, fault: str) -> None:
    emulator.faults.plan([fault, fault])
    assert bytes(client.fetch_page("users", 0, 50)).count(b"crmhero_user_id") == 50
    assert (client.requests_sent, client.retries) == (3, 2)
    assert emulator.faults.injected[fault] == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "1"},
        {"Retry-After": "Wed, 21 Oct 2015 07:28:01 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"},
    ],
    ids=["seconds", "date"],
)
@pytest.mark.usefixtures("no_backoff")
def test_retry_after_is_honoured(headers: dict[str, str]) -> None:
    with ScriptedServer(Reply(429, headers=headers), GOOD) as server, Client("tok", server.url) as client:
        assert client.list_tags() == ["vip"]
        first, second = server.seen
        assert second.at - first.at > 0.95


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("value", ["soon", "-5", "Wed, 99 Oct 2015", "0", ""])
def test_useless_retry_after_is_ignored(value: str) -> None:
    refusal = Reply(429, headers={"Retry-After": value})
    with ScriptedServer(refusal, GOOD) as server, Client("tok", server.url) as client:
        assert client.list_tags() == ["vip"]


def test_retry_after_beyond_the_budget_is_cut_to_it() -> None:
    refusal = Reply(429, headers={"Retry-After": "3600"})
    with ScriptedServer(refusal) as server, Client("tok", server.url, retry_budget=0.3) as client:
        with pytest.raises(CustomerlyRateLimited, match="Gave up after 2 attempts") as caught:
            client.list_tags()
        assert len(server.seen) == 2
    assert caught.value.retry_after == 3600


@pytest.mark.parametrize(
    ("reply", "kind"), [(DOWN, CustomerlyUnavailable), (Reply(body=b"<html>"), CustomerlyProtocolError)]
)
def test_tries_end_with_the_budget(
    reply: Reply, kind: type[CustomerlyError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the waits take time here: an answer that comes late may be what uses up the budget."""
    waits: list[float] = []
    monkeypatch.setattr(call, "time", SimpleNamespace(monotonic=lambda: sum(waits)))
    monkeypatch.setattr(tenacity, "sleep_using_event", lambda event: waits.append)
    with ScriptedServer(reply) as server, Client("tok", server.url, retry_budget=60) as client:
        with pytest.raises(kind) as caught:
            client.list_tags()
        tries = len(server.seen)
    assert tries == len(waits) + 1 > 2
    assert sum(waits) == pytest.approx(60)
    assert f"Gave up after {tries} attempts over 60 s" in str(caught.value)
    assert (client.requests_sent, client.retries) == (tries, tries - 1)


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("status", [200, 500])
def test_failure_that_explains_itself_is_tried_five_times(status: int) -> None:
    with ScriptedServer(Reply(status, EXPLAINED.body)) as server, Client("tok", server.url) as client:
        with pytest.raises(CustomerlyUnavailable) as caught:
            client.list_tags()
        assert len(server.seen) == 5
    assert (caught.value.status, caught.value.vendor_message) == (status, "Internal server error")


@pytest.mark.usefixtures("no_backoff")
def test_outages_do_not_use_up_the_tries_of_explained_failures() -> None:
    replies = [EXPLAINED, DOWN, EXPLAINED, DOWN, DOWN, EXPLAINED, DOWN, EXPLAINED, GOOD]
    with ScriptedServer(*replies) as server, Client("tok", server.url) as client:
        assert client.list_tags() == ["vip"]


@pytest.mark.usefixtures("no_backoff")
def test_delete_whose_answer_was_lost_counts_as_done(emulator: Emulator, client: Client) -> None:
    client.upsert_contacts("users", [{"email": "gone@northwind.test"}])
    emulator.faults.plan(["reset_after"])
    client.delete_contact("users", email="gone@northwind.test")
    with pytest.raises(CustomerlyNotFound):
        client.get_contact("users", email="gone@northwind.test")


@pytest.mark.usefixtures("no_backoff")
def test_delete_of_nobody_is_not_found_even_after_a_refusal(emulator: Emulator, client: Client) -> None:
    emulator.faults.plan(["429-bare"])
    with pytest.raises(CustomerlyNotFound):
        client.delete_contact("users", email="nobody@northwind.test")


@pytest.mark.usefixtures("no_backoff")
def test_write_whose_answer_was_lost_is_sent_again(emulator: Emulator, client: Client) -> None:
    emulator.faults.plan(["reset_after"])
    answer = client.upsert_contacts("users", [{"email": "twice@northwind.test", "name": "Ada"}])
    assert answer["inserted"] == 1
    assert client.retries == 1
    assert client.get_contact("users", email="twice@northwind.test")["name"] == "Ada"


def test_round_trip_of_the_small_calls(emulator: Emulator, client: Client) -> None:
    who = {"email": "plus+sign@northwind.test"}
    client.upsert_contacts("users", [{**who, "user_id": "u 1", "attributes": {"plan": "pro"}}])
    client.tag("vip", users=[who])
    assert "vip" in client.list_tags()
    contact = client.get_contact("users", user_id="u 1")
    assert contact["email"] == who["email"]
    assert contact == client.get_contact("users", **who)
    client.untag("vip", users=[who])
    client.unsubscribe_user("u 1")
    assert client.get_contact("users", **who)["unsubscribe"] == 1
    client.delete_contact("users", **who)
    assert {"account_id", "email"} <= set(client.list_accounts()[0])
    assert client.list_knowledge_collections()
    assert client.list_knowledge_articles()
    assert client.retries == 0


def test_cancel_ends_a_wait_for_the_next_try() -> None:
    with ScriptedServer(Reply(503, headers={"Retry-After": "60"})) as server:
        client = Client("tok", server.url)
        with ThreadPoolExecutor(1) as pool:
            (failure,) = cancelled([pool.submit(client.list_tags)], client, server)
        assert "cancelled" in str(failure)
        assert len(server.seen) == 1


def test_cancel_ends_a_wait_for_a_turn() -> None:
    release = threading.Event()
    with ScriptedServer(Reply(body=GOOD.body, hold=release)) as server, ThreadPoolExecutor(3) as pool:
        client = Client("tok", server.url, max_concurrency=1)
        calls = [pool.submit(client.list_tags) for _ in range(3)]
        assert len(cancelled(calls, client, server)) == 2
        release.set()
        assert [call.result() for call in calls if not call.exception()] == [["vip"]]
        assert len(server.seen) == 1


def test_cancel_ends_a_wait_for_the_rate() -> None:
    with ScriptedServer(GOOD) as server, ThreadPoolExecutor(3) as pool:
        client = Client("tok", server.url, requests_per_second=0.01)
        calls = [pool.submit(client.list_tags) for _ in range(3)]
        assert len(cancelled(calls, client, server)) == 2
        assert len(server.seen) == 1


def test_calls_after_a_cancel_work() -> None:
    with ScriptedServer(GOOD) as server, Client("tok", server.url) as client:
        client.cancel()
        assert client.list_tags() == ["vip"]


def test_calls_after_a_stop_send_nothing_even_if_something_cancels() -> None:
    with ScriptedServer(GOOD) as server, Client("tok", server.url) as client:
        client.stop()
        client.cancel()
        with pytest.raises(CustomerlyUnavailable, match="cancelled"):
            client.list_tags()
        assert server.seen == []


def test_a_stop_that_comes_in_the_midst_of_a_cancel_lasts() -> None:
    """A signal's handler stops the client; it may run before any line of the main thread."""
    lines = sum(1 for _ in itertools.takewhile(stop_before_line, itertools.count(1)))
    assert lines >= 4, "each line of the method was tried"


def stop_before_line(number: int) -> bool:
    """Return whether the n-th line of a cancel was reached, before which the client was stopped."""
    with ScriptedServer(GOOD) as server, Client("tok", server.url) as client:
        seen, is_stopped, before = 0, False, sys.gettrace()

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal seen, is_stopped
            if frame.f_code is not Client.cancel.__code__:
                return None
            seen += event == "line"
            if seen == number and not is_stopped:
                is_stopped = True
                client.stop()
            return trace

        sys.settrace(trace)
        try:
            client.cancel()
        finally:
            sys.settrace(before)
        if is_stopped:
            with pytest.raises(CustomerlyUnavailable, match="cancelled"):
                client.list_tags()
            assert server.seen == []
        return is_stopped


def cancelled(
    calls: list[Future[list[str]]], client: Client, server: ScriptedServer
) -> list[CustomerlyUnavailable]:
    """Once a request has come in, cancel until every call has failed but one that may still be under way."""
    wanted = max(1, len(calls) - 1)
    failures: list[CustomerlyUnavailable] = []
    give_up = time.monotonic() + 60
    while len(failures) < wanted:
        assert time.monotonic() < give_up
        time.sleep(0.01)
        if server.seen:
            client.cancel()
        failures = [
            error
            for call in calls
            if call.done() and isinstance(error := call.exception(), CustomerlyUnavailable)
        ]
    return failures


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("status", [502, 503, 504, 522])
def test_words_of_a_gateway_do_not_end_the_tries_before_the_budget(status: int) -> None:
    replies = [Reply(status, {"error": {"message": "Service Unavailable", "code": 0}})] * 20
    with ScriptedServer(*replies, GOOD) as server, Client("tok", server.url) as client:
        assert client.list_tags() == ["vip"]
        assert len(server.seen) == 21
