"""Damaged, cut, empty and foreign files in a state: passed over if that is safe, or named with a way out."""

from __future__ import annotations

import contextlib
import shutil
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from damages import damage, named, remove
from sync_helpers import Sync, customers

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.housekeeping import Removal, survey, verify
from airflow_provider_customerly.storage import Location, RefusedError
from airflow_provider_customerly.storage.process import Process
from airflow_provider_customerly.sync.apply import Application
from airflow_provider_customerly.sync.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.emulator(users=0, leads=0)

SEEDS_AT_ONCE = 20

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "foreign": lambda content: b"\xff\xfe{not ours}",
    "other JSON": lambda content: b'{"a": [1]}',
}
KINDS = ("sync.json", "ledger/_manifests", "ledger/state", "journal", "plans", "rejects", "runs", "_leases")


def rows_of(change: int) -> list[tuple[Any, ...]]:
    rows = [(email, name, plan, seats + change) for email, name, plan, seats in customers(60)]
    rows[5] = ("broken", *rows[5][1:])
    return rows


def run(sync: Sync, change: int) -> dict[str, Any]:
    return sync.run(rows_of(change), max_rejects=5, batch_size=10)


def delivered(sync: Sync) -> dict[str, int]:
    truth = sync.emulator.store.truth("users").values()
    return {one["email"]: one["attributes"]["seats"] for one in truth}


def die(sync: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave what a run leaves that is killed: a plan, pages of a journal, and a claim."""
    with monkeypatch.context() as patch, sync.outage(after=2):
        patch.setattr(State, "commit", lambda *_: 1 / 0)
        patch.setattr(Application, "leave", lambda self: None)
        patch.setattr(Location, "delete", lambda *_: None)
        run(sync, 100)
    monkeypatch.setattr(Process, "is_gone", lambda process: True)  # as its process was killed


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_passed_over_or_named_with_a_way_out(
    sync: Sync, kind: str, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(sync, 0)
    sync.plan(rows_of(7))
    die(sync, monkeypatch)
    files = sorted(path for path in sync.state.rglob("*") if path.is_file())
    files = [path for path in files if str(path.relative_to(sync.state)).startswith(kind)]
    assert files
    for path in files[-2:]:
        path.write_bytes(DAMAGE[damage](path.read_bytes()))
    survey(Location.of(sync.path))
    problem = problem_of(sync)
    if problem:
        assert any(str(path) in problem for path in files)
        assert f"airflow customerly state reset {sync.state}" in problem
        Removal(Location.of(sync.state)).run()
        assert problem_of(sync) is None
    good = [row for row in rows_of(200) if row[0] != "broken"]
    assert delivered(sync) == {row[0]: row[3] for row in good}
    again = run(sync, 200)
    assert (again["sent"], again["unchanged"]) == (0, len(good))


def problem_of(sync: Sync) -> str | None:
    try:
        run(sync, 200)
    except RefusedError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sync]:
    """Return a sync that has run, made a plan, and was killed in the middle of another run."""
    with Emulator(users=0, leads=0) as emulator, pytest.MonkeyPatch.context() as patch:
        sync = Sync(emulator, tmp_path_factory.mktemp("nights"))
        run(sync, 0)
        sync.plan(rows_of(7))
        die(sync, patch)
        yield sync


def check(nights: Sync, path: Path, seed: int) -> None:
    shutil.copytree(nights.path, path)
    sync = Sync(nights.emulator, path)
    done = damage(Random(seed), sync.state)
    with contextlib.suppress(RefusedError):  # nothing may be left
        survey(Location.of(path))
        verify(Location.of(path))
    for _ in range(len(done) + 2):
        try:
            run(sync, 200 + seed)
            break
        except RefusedError as error:
            problem = str(error)
        assert named(problem, done)
        if "state reset" in problem:
            for path in named(problem, done):
                if path.is_dir():
                    assert "it is a folder" in problem
                    remove(path)
            Removal(Location.of(sync.state)).run()
        else:
            assert "delete it" in problem
            (culprit,) = named(problem, done)
            remove(culprit)
    else:
        pytest.fail(f"the way out leads nowhere: {problem}")
    good = [row for row in rows_of(200 + seed) if row[0] != "broken"]
    assert delivered(sync) == {row[0]: row[3] for row in good}
    again = run(sync, 200 + seed)
    assert (again["sent"], again["unchanged"]) == (0, len(good))


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(SEEDS_AT_ONCE, 500, SEEDS_AT_ONCE))]
)
def test_random_damage_is_passed_over_or_named_with_a_way_out(
    nights: Sync, first: int, tmp_path: Path
) -> None:
    for seed in range(first, first + SEEDS_AT_ONCE):
        path = tmp_path / str(seed)
        try:
            check(nights, path, seed)
        except Exception as error:
            shutil.rmtree(path)
            shutil.copytree(nights.path, path)
            raise AssertionError(f"seed {seed}: {damage(Random(seed), path / 'nightly')}") from error
        shutil.rmtree(path)
