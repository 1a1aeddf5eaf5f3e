"""Concurrency that adapts, starts that are spaced: counted, not timed, wherever that is possible."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import tenacity
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import Reply, ScriptedServer

from airflow_provider_customerly.client import Client, call
from airflow_provider_customerly.client.pacing import Pace
from airflow_provider_customerly.emulator import Emulator

if TYPE_CHECKING:
    import pytest

NEVER = threading.Event()


def turn(pace: Pace) -> int:
    this_round = pace.acquire(NEVER)
    assert this_round is not None
    return this_round


def test_one_round_of_failures_halves_once() -> None:
    pace = Pace(16)
    turns = [turn(pace) for _ in range(16)]
    for this_round in turns:
        pace.release(this_round, distress=True)
    assert pace.limit == 8
    pace.release(turn(pace), distress=True)
    assert pace.limit == 4


def test_good_answers_raise_the_limit_by_one_up_to_the_maximum() -> None:
    pace = Pace(4)
    pace.release(turn(pace), distress=True)
    limits = []
    for _ in range(40):
        pace.release(turn(pace), distress=False)
        limits.append(pace.limit)
    assert limits[:9] == [2] * 9
    assert limits[9:19] == [3] * 10
    assert limits[19:] == [4] * 21


@given(st.lists(st.booleans()), st.integers(1, 20))
def test_limit_stays_within_its_bounds(outcomes: list[bool], most: int) -> None:
    pace = Pace(most)
    for distress in outcomes:
        pace.release(turn(pace), distress=distress)
        assert 1 <= pace.limit <= most


def test_no_more_at_once_than_the_limit() -> None:
    pace, lock = Pace(3), threading.Lock()
    active, most = 0, 0

    def work(_: int) -> None:
        nonlocal active, most
        this_round = turn(pace)
        with lock:
            active += 1
            most = max(most, active)
        with lock:
            active -= 1
        pace.release(this_round, distress=False)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(2000)))
    assert 1 <= most <= 3
    assert active == 0


def test_starts_are_spaced_over_all_threads() -> None:
    with (
        ScriptedServer(Reply(body={"data": []})) as server,
        Client("tok", server.url, requests_per_second=50, max_concurrency=8) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        began = time.monotonic()
        list(pool.map(lambda _: client.list_tags(), range(11)))
        # The last one starts ten intervals after the first, though the server may see the first one late.
        assert time.monotonic() - began > 0.19


def test_turn_is_free_while_a_retry_waits() -> None:
    refusal = Reply(503, headers={"Retry-After": "60"})
    with ScriptedServer(refusal, Reply(body={"data": ["free"]})) as server:
        client = Client("tok", server.url, max_concurrency=1)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.list_tags)
            while client.requests_sent == 0:
                pass
            assert client.list_tags() == ["free"]
            assert not waiting.done()
            client.cancel()


def test_retry_after_of_a_refusal_holds_for_every_thread() -> None:
    refusal = Reply(429, headers={"Retry-After": "1"})
    with (
        ScriptedServer(refusal, Reply(body={"data": []})) as server,
        Client("tok", server.url, max_concurrency=1) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        list(pool.map(lambda _: client.list_tags(), range(4)))
        assert sorted(seen.at for seen in server.seen)[1] - server.seen[0].at > 0.95
        assert len(server.seen) == 5


def test_many_threads_through_a_bad_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "_backoff", tenacity.wait_none())
    faults = {"429-bare": 0.05, "500": 0.02, "502": 0.05, "reset": 0.05, "cut": 0.05, "html": 0.05}
    with (
        Emulator(users=300, leads=1, faults=faults) as emulator,
        Client(emulator.token, emulator.url, max_concurrency=8) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        pages = list(pool.map(lambda page: client.fetch_page("users", page % 6, 50), range(120)))
        assert sum(bytes(page).count(b'"crmhero_user_id"') for page in pages) == 120 * 50
        assert client.retries == sum(emulator.stats()["faults"].values()) > 0
        assert client.requests_sent == 120 + client.retries
        assert 1 <= client.pace.limit <= 8
