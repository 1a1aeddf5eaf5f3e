"""Answers that arrive together are journaled together, and nothing is believed before its page is there."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sync_helpers import Rows, Sync, customers

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.storage import Location, OldFormatError
from airflow_provider_customerly.storage.process import Process
from airflow_provider_customerly.sync import Options, sync_contacts
from airflow_provider_customerly.sync import journal as journal_file
from airflow_provider_customerly.sync.journal import Journal, Page, Remainder, list_pages
from airflow_provider_customerly.sync.keys import keys_of
from airflow_provider_customerly.sync.ledger import Ledger, Status, entries_of
from airflow_provider_customerly.sync.state import most_asked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_customerly.emulator import Emulator

pytestmark = pytest.mark.emulator(users=0, leads=0)

RUN = "20260101T000000000000Z-00000000"
DEADLINE = 30


class StoreError(Exception):
    """What a store's library raises need not be an OSError."""


class Watched(Location):
    """A place that looks at each page of a journal before it is written."""

    watch: Callable[[Page], None]

    def write_atomic(self, name: str, content: bytes) -> None:
        if "journal/" in name:
            self.watch(msgspec.json.decode(content, type=Page))
        super().write_atomic(name, content)


def watched(path: Path, watch: Callable[[Page], None]) -> Location:
    place = Location.of(path)
    watching = type("Watching", (Watched,), {"watch": staticmethod(watch)})
    return watching(place.fs, place.root)  # type: ignore[no-any-return]


def send_the_rest_later(client: Client, later: threading.Event) -> None:
    """Hold back all requests but the first one, so that the first page has the answer of that one alone.

    Otherwise a thread that is slow to begin the page finds more answers there by then.
    """
    send, is_first = client._session.send, threading.Lock()

    def hold(request: Any) -> Any:
        if not is_first.acquire(blocking=False):
            assert later.wait(DEADLINE)
        return send(request)

    client._session.send = hold  # type: ignore[method-assign]


def pages_at(path: Path) -> list[Page]:
    place = Location.of(path)
    return [msgspec.json.decode(place.read(page.name), type=Page) for page in list_pages(place)]


def answer(number: int) -> Any:
    return entries_of(keys_of([number.to_bytes(16, "little")]), 0, Status.DELIVERED)


def test_answers_that_arrive_while_a_page_is_written_share_the_next_one(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()
    pages: list[int] = []
    done: list[int] = []

    def watch(page: Page) -> None:
        pages.append(len(page.entries))
        begun.set()
        assert go_on.wait(DEADLINE)

    journal = Journal(watched(tmp_path, watch), RUN, "id", Ledger(()), 100)
    journal.note(answer(0), lambda: done.append(0))
    assert begun.wait(DEADLINE)
    for number in range(1, 40):
        journal.note(answer(number), lambda number=number: done.append(number))  # type: ignore[misc]
    assert (pages, done) == ([1], [])
    go_on.set()
    journal.flush()
    assert (pages, done) == ([1, 39], list(range(40)))
    assert [page.number for page in list_pages(Location.of(tmp_path))] == [1, 2]


def test_answers_wait_for_others_to_share_a_page_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not once half of what may be unwritten has gathered, or somebody waits for all of it."""
    monkeypatch.setattr(journal_file, "_LONGEST_WAIT", 10 * DEADLINE)
    done = threading.Semaphore(0)
    journal = Journal(Location.of(tmp_path), RUN, "id", Ledger(()), 10)
    for number in range(4):
        journal.note(answer(number), done.release)
    assert not list_pages(Location.of(tmp_path))
    journal.note(answer(4), done.release)
    assert all(done.acquire(timeout=DEADLINE) for _ in range(5))
    assert len(list_pages(Location.of(tmp_path))) == 1
    journal.note(answer(5), done.release)
    journal.flush()
    journal.note(answer(6), done.release)
    journal.close()
    assert [len(page.entries) for page in pages_at(tmp_path)] == [5, 1, 1]


@given(st.integers(0, 10**6), st.integers(1, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_page_of_which_a_byte_was_changed_is_not_believed(tmp_path: Path, place: int, change: int) -> None:
    entries = entries_of(keys_of([bytes(range(16)), bytes(16)]), 2, Status.DELIVERED, 7)
    stands = Remainder(Process.current(), datetime(2026, 1, 1, tzinfo=timezone.utc))
    page = Page.of(entries, state="id", base=0, fields=["email", "name"], plan="plans/x", remainder=stands)
    content = bytearray(msgspec.json.encode(page))
    content[place % len(content)] ^= change
    try:
        damaged = msgspec.json.decode(content, type=Page)
        assert damaged == page or damaged.entries is None
    except (msgspec.MsgspecError, ValueError):
        return  # as whoever reads pages expects


def test_a_page_of_an_older_version_stops_the_run_and_stays(emulator: Emulator, tmp_path: Path) -> None:
    """Its answers are not guessed: a row that was refused would count as one that may have arrived."""
    sync = Sync(emulator, tmp_path)
    sync.run(customers(3))
    line = {"key": "00" * 16, "status": "refused", "at": 1, "row": "00" * 16, "fields": "00" * 16}
    page = {"state": "id", "base": 1, "fields": ["email"], "lines": [line]}
    Location.of(sync.state).write_atomic(f"journal/{RUN}-00000001.json", msgspec.json.encode(page))
    with pytest.raises(OldFormatError, match="older version"):
        sync.run(customers(4))
    assert (sync.state / "journal" / f"{RUN}-00000001.json").exists()
    assert sync.writes() == 0


def test_no_more_answers_wait_than_a_crash_may_lose(tmp_path: Path) -> None:
    noted = 0
    most = 0
    written = 0

    def watch(page: Page) -> None:
        nonlocal most, written
        most = max(most, noted - written)
        written += len(page.entries)

    journal = Journal(watched(tmp_path, watch), RUN, "id", Ledger(()), 10)
    for number in range(300):
        journal.note(answer(number), lambda: None)
        noted += 1
    journal.close()
    assert written == 300
    assert most <= 10


def test_after_a_page_that_failed_nothing_more_is_taken(tmp_path: Path) -> None:
    def watch(page: Page) -> None:
        raise StoreError

    done: list[int] = []
    journal = Journal(watched(tmp_path, watch), RUN, "id", Ledger(()), 10)
    journal.note(answer(0), lambda: done.append(0))
    with pytest.raises(StoreError):
        journal.flush()
    with pytest.raises(StoreError):
        journal.note(answer(1), lambda: done.append(1))
    journal.close()
    assert not done
    assert not list_pages(Location.of(tmp_path))


@pytest.mark.parametrize("concurrency", [1, 4])
def test_rows_are_sent_while_a_page_is_written(emulator: Emulator, tmp_path: Path, concurrency: int) -> None:
    """One page is held up until more has been asked than could be without; then all of it is one page."""
    options = Options(batch_size=10, max_concurrency=concurrency)
    begun, asked_more = threading.Event(), threading.Event()
    pages: list[int] = []
    reach: list[int] = []

    def watch(page: Page) -> None:
        if not pages:
            begun.set()
            assert asked_more.wait(DEADLINE)
        reach.append(len(emulator.store.truth("users")) - sum(pages))
        pages.append(len(page.entries))

    def look() -> None:
        while len(emulator.store.truth("users")) < 10 * (concurrency + 3):  # so two more were answered
            assert not stopped.wait(0.001)
        asked_more.set()

    stopped = threading.Event()
    with ThreadPoolExecutor(1) as pool, Client(emulator.token, emulator.url, max_concurrency=8) as client:
        send_the_rest_later(client, begun)
        looking = pool.submit(look)
        try:
            sent = sync_contacts(client, Rows(customers(400)), watched(tmp_path, watch), "nightly", options)
        finally:
            stopped.set()
        looking.result()
    assert sent["sent"] == sum(pages) == 400
    assert sent["requests"] == 40
    assert len(pages) < 40
    assert pages[0] == 10
    assert pages[1] > 10
    assert max(reach) <= 2 * most_asked(options)


def test_rows_whose_page_failed_are_sent_again_whatever_they_are_by_then(
    emulator: Emulator, tmp_path: Path
) -> None:
    sync = Sync(emulator, tmp_path)
    before, after = customers(30), [(*row[:3], 99) for row in customers(30)]
    sync.run(before, batch_size=10)
    begun = threading.Event()
    pages: list[int] = []

    def watch(page: Page) -> None:
        begun.set()
        pages.append(len(page.entries))
        if len(pages) == 2:
            raise StoreError

    with Client(emulator.token, emulator.url) as client:
        send_the_rest_later(client, begun)
        with pytest.raises(StoreError):
            sync_contacts(client, Rows(after), watched(tmp_path, watch), "nightly", Options(batch_size=10))
    sync.run(before, batch_size=10)
    held = {
        record["email"]: record["attributes"]["seats"] for record in emulator.store.truth("users").values()
    }
    assert held == {row[0]: row[3] for row in before}


def test_the_pages_of_a_run_are_removed_in_bulk_on_s3(
    emulator: Emulator, s3_location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted: list[int] = []
    remove = type(s3_location.fs)._bulk_delete

    async def count(fs: Any, paths: list[str], **more: Any) -> Any:
        deleted.append(len(paths))
        return await remove(fs, paths, **more)

    monkeypatch.setattr(type(s3_location.fs), "_bulk_delete", count)
    names = [f"journal/{RUN}-{number:08d}.json" for number in range(1, 41)]
    for name in names:
        s3_location.write_atomic(name, b"{}")
    assert not s3_location.delete_many([*names, "journal/gone"])
    assert deleted == [41]
    assert not s3_location.list("journal")


def test_what_cannot_be_deleted_is_named(tmp_path: Path) -> None:
    place = Location.of(tmp_path)
    place.write_atomic("a", b"")
    (tmp_path / "folder").mkdir()
    assert list(place.delete_many(["a", "folder", "gone"])) == ["folder"]
    assert not (tmp_path / "a").exists()
