"""What a sync says when its state was tampered with, and what it leaves when it is cut short."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sync_process import Rows

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.sync import Options, SyncRejectsError, sync_contacts
from airflow_provider_customerly.sync.fingerprint import Fingerprints
from airflow_provider_customerly.sync.vanished import handle_vanished

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(users=0, leads=0) as running:
        running.store.upsert("users", [{"email": "owner@shop.test", "user_id": "owned"}])
        yield running


def run(emulator: Emulator, path: Path, source: Any) -> dict[str, Any]:
    with Client(emulator.token, emulator.url) as client:
        return sync_contacts(client, source, path, "nightly", Options())


def customers(count: int) -> Rows:
    return Rows(("email", "seats"), [(f"c{n}@shop.test", n) for n in range(count)], chunk=7)


@pytest.mark.parametrize(("content", "told"), [(None, "is gone"), (b"{", "is damaged")])
def test_a_ledger_without_its_salt_is_not_taken_for_another(
    emulator: Emulator, tmp_path: Path, content: bytes | None, told: str
) -> None:
    run(emulator, tmp_path, customers(20))
    identity = tmp_path / "nightly" / "sync.json"
    identity.unlink() if content is None else identity.write_bytes(content)
    before = emulator.stats()["requests"]
    with pytest.raises(ValueError, match=rf"sync\.json at .* {told}.*restore the file"):
        run(emulator, tmp_path, customers(20))
    assert emulator.stats()["requests"] == before


@pytest.mark.parametrize("failure", [ConnectionError, KeyboardInterrupt])
def test_a_source_that_breaks_off_sends_nothing_and_leaves_no_plan(
    emulator: Emulator, tmp_path: Path, failure: type[BaseException]
) -> None:
    class Broken(Rows):
        def __iter__(self) -> Iterator[Sequence[Sequence[Any]]]:
            yield self.rows
            raise failure

    twins = [*customers(20).rows, ("C3@shop.test", 1)]
    with pytest.raises(failure):
        run(emulator, tmp_path, Broken(("email", "seats"), twins))
    assert emulator.stats()["requests"] == 0
    assert [path.name for path in (tmp_path / "nightly").rglob("*") if path.is_file()] == ["sync.json"]
    assert run(emulator, tmp_path, customers(20))["sent"] == 20


def test_rejects_that_somebody_deleted_stop_nothing(emulator: Emulator, tmp_path: Path) -> None:
    rows = Rows(("email", "user_id"), [("a@shop.test", "1"), ("b@shop.test", "owned")])
    for _ in range(2):
        with pytest.raises(SyncRejectsError) as red:
            run(emulator, tmp_path, rows)
        assert red.value.result["refused"] == 1
        for path in (tmp_path / "nightly" / "rejects").iterdir():
            path.unlink()


def test_reading_the_list_for_vanished_contacts_keeps_the_lock_alive(emulator: Emulator) -> None:
    emulator.store.upsert("users", [{"email": f"c{n}@shop.test"} for n in range(500)])
    beats: list[None] = []
    prints = Fingerprints(b"salt", ())
    keys = {prints.key("c7@shop.test")}
    done: list[bytes] = []
    with Client(emulator.token, emulator.url) as client:
        handle_vanished(
            client, "users", prints, keys, set(), "delete", (), done.extend,
            lambda: beats.append(None),
        )  # fmt: skip
    assert len(beats) >= 5
    assert done == [prints.key("c7@shop.test")]
    assert emulator.store.find("users", email="c7@shop.test") is None


@pytest.mark.parametrize("concurrency", [0, 257])
def test_a_concurrency_that_cannot_be_is_refused_at_once(concurrency: int) -> None:
    with pytest.raises(ValueError, match="max_concurrency must be a whole number from 1 to 64"):
        Options(max_concurrency=concurrency).check()
