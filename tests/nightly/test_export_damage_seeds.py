"""Exports whose files are damaged at random: passed over, or named with a way out that works."""

from __future__ import annotations

import contextlib
import shutil
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from damages import damage, named, remove
from nights import increment, versions

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.housekeeping import survey, verify
from airflow_provider_customerly.storage import Location, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEEDS_AT_ONCE = 20


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Emulator, Path]]:
    """Return a Customerly that has changed since the last of three nights, and their export."""
    path = tmp_path_factory.mktemp("nights")
    with Emulator(users=130, leads=0) as emulator:
        for day in (20, 21, 22):
            increment(emulator, path, f"2026-11-{day}", full_refresh=day == 22)
            emulator.store.churn(5, {"update": 3, "create": 1})
            emulator.store.delete("users", min(emulator.store.versions("users")))
        yield emulator, path


def export(emulator: Emulator, path: Path, day: int, done: dict[Path, str]) -> dict[str, Any]:
    """Export, as a person does who follows what each message says."""
    for _ in range(len(done) + 1):
        try:
            return increment(emulator, path, f"2026-11-{day}", full_refresh=day == 24)
        except RefusedError as error:
            problem = str(error)
        (culprit,) = named(problem, done)
        assert "delete it" in problem
        remove(culprit)
    pytest.fail(f"the way out leads nowhere: {problem}")


def check(emulator: Emulator, source: Path, path: Path, seed: int) -> None:
    shutil.copytree(source, path)
    done = damage(Random(seed), path)
    with contextlib.suppress(RefusedError):  # nothing may be left
        survey(Location.of(path))
        verify(Location.of(path))
    for day in (23, 24):
        assert export(emulator, path, day, done)["verdict"] == "complete"
    assert versions(path) == emulator.store.versions("users")


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(SEEDS_AT_ONCE, 500, SEEDS_AT_ONCE))]
)
def test_damage_is_passed_over_or_named_with_a_way_out(
    nights: tuple[Emulator, Path], first: int, tmp_path: Path
) -> None:
    for seed in range(first, first + SEEDS_AT_ONCE):
        path = tmp_path / str(seed)
        try:
            check(*nights, path, seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {damage(Random(seed), again(nights[1], path))}") from error
        shutil.rmtree(path)


def again(source: Path, path: Path) -> Path:
    shutil.rmtree(path)
    shutil.copytree(source, path)
    return path
