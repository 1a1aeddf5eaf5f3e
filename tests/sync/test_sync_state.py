"""What a sync says when its state was tampered with, and what it leaves when it is cut short."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from sync_process import Rows

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.housekeeping.verify import verify
from airflow_provider_customerly.storage import Location, Lock
from airflow_provider_customerly.sync import Options, SyncRejectsError, sync_contacts
from airflow_provider_customerly.sync.fingerprint import Fingerprints
from airflow_provider_customerly.sync.vanished import Vanished, handle_vanished

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from airflow_provider_customerly.emulator import Emulator


pytestmark = pytest.mark.emulator(users=0, leads=0)


@pytest.fixture(autouse=True)
def owner(emulator: Emulator) -> None:
    emulator.store.upsert("users", [{"email": "owner@shop.test", "user_id": "owned"}])


def run(emulator: Emulator, path: Path, source: Any) -> dict[str, Any]:
    with Client(emulator.token, emulator.url) as client:
        return sync_contacts(client, source, path, "nightly", Options())


def customers(count: int) -> Rows:
    return Rows(("email", "seats"), [(f"c{n}@shop.test", n) for n in range(count)], chunk=7)


@pytest.mark.parametrize(("content", "told"), [(None, "it is gone"), (b"{", "is damaged")])
def test_a_ledger_without_its_salt_is_not_taken_for_another(
    emulator: Emulator, tmp_path: Path, content: bytes | None, told: str
) -> None:
    run(emulator, tmp_path, customers(20))
    identity = tmp_path / "nightly" / "sync.json"
    identity.unlink() if content is None else identity.write_bytes(content)
    before = emulator.stats()["requests"]
    with pytest.raises(ValueError, match=rf"sync\.json.* {told}.*Restore the file"):
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


def test_reading_the_list_for_vanished_contacts_looks_at_the_lock(emulator: Emulator, tmp_path: Path) -> None:
    emulator.store.upsert("users", [{"email": f"c{n}@shop.test"} for n in range(500)])

    class Looked(Lock):
        looks = checks = 0

        def raise_if_lost(self) -> None:
            self.looks += 1
            super().raise_if_lost()

        def check(self) -> None:
            self.checks += 1
            super().check()

    prints = Fingerprints(b"salt", ())
    key = prints.key("c7@shop.test")
    done: list[bytes] = []
    with Client(emulator.token, emulator.url) as client, Looked(Location.of(tmp_path), "run") as lock:
        handle_vanished(
            client, "users", prints, Vanished({key: bytes(8)}, (), (), ()), "delete", (),
            lambda keys, fate: done.extend(keys), lock,
        )  # fmt: skip
    assert (lock.looks >= 5, lock.checks) == (True, 1)
    assert done == [key]
    assert emulator.store.find("users", email="c7@shop.test") is None


@pytest.mark.parametrize("concurrency", [0, 257])
def test_a_concurrency_that_cannot_be_is_refused_at_once(concurrency: int) -> None:
    with pytest.raises(ValueError, match="max_concurrency must be a whole number from 1 to 64"):
        Options(max_concurrency=concurrency).check()


class StoreError(Exception):
    """What a store's library raises need not be an OSError."""


@pytest.mark.parametrize(
    ("step", "folder"),
    [("delete", "journal/"), ("delete", "plans/"), ("delete", "runs/"), ("write_atomic", "runs/")],
)
def test_a_store_that_fails_after_the_commit_turns_no_delivered_run_red(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, folder: str
) -> None:
    run(emulator, tmp_path, customers(20))
    act = getattr(Location, step)

    def fail(place: Location, name: str, *more: Any) -> None:
        if name.startswith(folder):
            raise StoreError(name)
        act(place, name, *more)

    with monkeypatch.context() as patch, Client(emulator.token, emulator.url) as client:
        patch.setattr(Location, step, fail)
        options = Options(keep_days=0)
        assert sync_contacts(client, customers(30), tmp_path, "nightly", options)["sent"] == 10
    assert run(emulator, tmp_path, customers(30))["unchanged"] == 30
    assert not list((tmp_path / "nightly" / "journal").iterdir())
    assert not list((tmp_path / "nightly" / "plans").iterdir())


def test_a_ledger_of_fewer_rows_than_were_committed_is_damaged(emulator: Emulator, tmp_path: Path) -> None:
    run(emulator, tmp_path, customers(20))
    [part] = (tmp_path / "nightly" / "ledger" / "state=current").iterdir()
    pq.write_table(pq.read_table(part, partitioning=None).slice(0, 5), part)
    with pytest.raises(ValueError, match=r"part-\S+ is damaged: it has \d+ bytes, but \d+ were committed"):
        run(emulator, tmp_path, customers(20))


@pytest.mark.parametrize("name", ["sync.json", "ledger/state=current/part-*"])
def test_a_folder_where_a_file_should_be_is_named(emulator: Emulator, tmp_path: Path, name: str) -> None:
    run(emulator, tmp_path, customers(20))
    [path] = (tmp_path / "nightly").glob(name)
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match=rf"{path.name} is damaged: .*Nothing was sent"):
        run(emulator, tmp_path, customers(20))
    verify(Location.of(tmp_path))


def test_two_names_that_a_disk_takes_for_one_share_no_state(emulator: Emulator, tmp_path: Path) -> None:
    run(emulator, tmp_path, customers(20))
    (tmp_path / "Nightly").symlink_to(tmp_path / "nightly")
    with Client(emulator.token, emulator.url) as client, pytest.raises(ValueError, match="the name nightly"):
        sync_contacts(client, customers(20), tmp_path, "Nightly", Options())
    assert run(emulator, tmp_path, customers(20))["unchanged"] == 20
