"""The list is read on while the caller takes its time, up to a limit, and not after the caller has left."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, Queue
from typing import TYPE_CHECKING

import msgspec
import pytest

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.reading import start_reading
from airflow_provider_customerly.reading.ahead import run_ahead
from airflow_provider_customerly.reading.reading import Reading, _cost
from airflow_provider_customerly.reading.records import RecordDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


class Counting:
    """A generator of numbers, with a note of how far it has come."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.made = 0
        self.is_closed = False
        self._fails_at = fails_at

    def __call__(self) -> Generator[int, None, None]:
        try:
            while self.made < 100:
                if self.made == self._fails_at:
                    raise LookupError("no more")
                self.made += 1
                yield self.made
        finally:
            self.is_closed = True


def test_all_items_come_in_order() -> None:
    assert list(run_ahead(Counting()(), 7, lambda: None)) == list(range(1, 101))


def test_it_works_on_up_to_the_limit_while_the_caller_takes_its_time() -> None:
    counting, most = Counting(), 0
    numbers = run_ahead(counting(), 10, lambda: None)
    for number in numbers:
        wait_until(lambda: counting.made >= min(number + 11, 100))  # noqa: B023  # called at once
        most = max(most, counting.made - number)
    assert most == 11
    assert counting.is_closed


def test_large_items_count_as_several() -> None:
    counting, most = Counting(), 0
    numbers = run_ahead(counting(), 10, lambda: None, lambda number: 4 if number <= 50 else 1000)
    for number in numbers:
        wait_until(lambda: counting.made >= min(number + (3 if number < 48 else 1), 100))  # noqa: B023
        most = max(most, counting.made - number)
    assert most == 3
    assert counting.made == 100


def test_who_leaves_before_a_large_item_was_taken_ends_the_thread_too() -> None:
    counting = Counting()
    numbers = run_ahead(counting(), 10, lambda: None, lambda number: 1000)
    assert next(numbers) == 1
    wait_until(lambda: counting.made == 3)
    numbers.close()
    wait_until(lambda: counting.is_closed)


@pytest.mark.parametrize(("width", "cost"), [(0, 1), (1_000, 1), (20_000, 15)])
def test_a_page_costs_what_it_weighs(width: int, cost: int) -> None:
    """The memory that waiting pages take is bounded, not only their number."""

    def fetch(page: int, size: int) -> msgspec.Raw:
        wide, stamp = {"note": "x" * width}, "2026-01-01 00:00:00"
        keys = range(page * size, (page + 1) * size)
        return msgspec.Raw(
            msgspec.json.encode(
                [{"crmhero_user_id": key, "last_update": stamp, "attributes": wide} for key in keys]
            )
        )

    parts = Reading(fetch, RecordDecoder(()), give_up=lambda: None)._read()
    assert _cost(next(parts)) == cost
    parts.close()


def test_an_error_comes_after_the_items_before_it() -> None:
    numbers = run_ahead(Counting(fails_at=3)(), 50, lambda: None)
    assert [next(numbers) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(LookupError):
        next(numbers)


def test_a_caller_who_leaves_ends_the_thread() -> None:
    counting, stopped = Counting(), threading.Event()
    numbers = run_ahead(counting(), 2, stopped.set)
    assert next(numbers) == 1
    numbers.close()
    assert stopped.is_set()
    wait_until(lambda: counting.is_closed)
    assert counting.made < 100


def test_the_generator_is_told_to_stop_before_it_is_closed() -> None:
    """It must not take what the caller did for an error of its own, and act on it when the caller is gone."""
    stopped, seen = threading.Event(), Queue[bool]()

    def items() -> Generator[int, None, None]:
        try:
            while True:
                yield 1
        finally:
            seen.put(stopped.is_set())

    def stop() -> None:
        with suppress(Empty):
            assert not seen.get(timeout=0.05), "closed"
        stopped.set()

    numbers = run_ahead(items(), 2, stop)
    assert next(numbers) == 1
    numbers.close()
    assert seen.get(timeout=30)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="Airflow's timeout is a signal")
def test_a_signal_gets_through_to_a_caller_who_waits() -> None:
    class TimeoutOfTask(BaseException):
        pass

    def time_out(_: int, frame: FrameType | None) -> None:
        if frame is None or frame.f_code is not run_ahead.__code__:
            signal.setitimer(signal.ITIMER_REAL, 0.05)  # on a busy machine, the caller does not wait yet
            return
        raise TimeoutOfTask

    stopped = threading.Event()

    def items() -> Generator[int, None, None]:
        yield 1
        stopped.wait(30)

    before = signal.signal(signal.SIGALRM, time_out)
    numbers = run_ahead(items(), 2, stopped.set)
    try:
        assert next(numbers) == 1
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(TimeoutOfTask):
            next(numbers)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert stopped.is_set()


def test_requests_go_on_while_the_caller_writes() -> None:
    with (
        Emulator(users=5000, leads=0) as emulator,
        Client(emulator.token, emulator.url) as client,
    ):
        batches = iter(start_reading(client, "users"))
        first = next(batches)
        wait_until(lambda: emulator.stats()["requests"] >= 40)
        assert len(first) + sum(map(len, batches)) == 5000


def test_a_list_is_not_complete_before_the_caller_has_all_of_it(client: Client) -> None:
    reading = start_reading(client, "users")
    batches = iter(reading)
    rows = len(next(batches))
    wait_until(lambda: reading._chain.done)
    assert (reading.certificate.verdict, reading.certificate.reason) == (
        "unproven",
        "the reading did not finish",
    )
    assert rows + sum(map(len, batches)) == 40
    assert (reading.certificate.verdict, reading.certificate.reason) == ("complete", None)


@pytest.mark.emulator(users=3000, latency=0.02)
@pytest.mark.client(max_concurrency=2)
def test_who_leaves_a_list_can_use_the_client_at_once(client: Client) -> None:
    """What was asked for the list is still under way then, and its thread has yet to end."""
    batches = start_reading(client, "users").__iter__()
    next(batches)
    batches.close()
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(client.check) for _ in range(6)]
    assert [call.exception() for call in calls] == [None] * 6


def test_a_list_without_order_is_not_read_on_when_the_caller_has_left() -> None:
    """Nearly all that comes then was given out before, so the thread has nothing to hand over for long."""
    stamps = [f"2026-01-01 00:{number // 60:02}:{number % 60:02}" for number in range(3000)]
    contacts = [{"crmhero_user_id": key, "last_update": stamp} for key, stamp in enumerate(stamps)]
    contacts[-20:] = reversed(contacts[-20:])
    in_sequence = 0

    def fetch(page: int, size: int) -> msgspec.Raw:
        nonlocal in_sequence
        if "ascending" in (reading.certificate.reason or ""):
            in_sequence += 1
            reading._stop()
        return msgspec.Raw(msgspec.json.encode(contacts[page * size : (page + 1) * size]))

    reading = Reading(fetch, RecordDecoder(()), give_up=lambda: None, max_concurrency=1)
    assert sum(len(part.rows) for part in reading._read()) < 3000
    assert in_sequence == 1
