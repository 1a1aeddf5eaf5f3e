"""Two runs of the same sync at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sync_process import Job, Rows, start_together

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.storage import Location, Lock, LockLostError
from airflow_provider_customerly.sync import Options, sync_contacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

COUNT = 120
MOST_MORE_ROUNDS = 100


@pytest.mark.parametrize("rounds", [3, pytest.param(12, marks=pytest.mark.slow)])
def test_of_two_runs_at_once_only_one_sends(tmp_path: Path, rounds: int) -> None:
    told = 0
    with Emulator(users=0, leads=0, latency=0.01) as emulator:
        for night in range(rounds + MOST_MORE_ROUNDS):
            source = Rows(("email", "seats"), [(f"c{n}@shop.test", night) for n in range(COUNT)])
            job = Job(emulator.url, emulator.token, str(tmp_path), source, Options(batch_size=10))
            runs = start_together(job, job)
            results = [run.result() or {} for run in runs]
            done = [result for result in results if result["outcome"] == "success"]
            assert done
            assert sum(result["sent"] for result in done) == COUNT
            assert emulator.stats()["contacts_accepted"] == COUNT * (night + 1)
            for run, result in zip(reversed(runs), results, strict=True):
                if result["outcome"] == "LockedError":
                    told += 1
                    assert f"process {run.pid} on" in result["message"]
            # On a busy machine one of them may come when the other has ended: then they meet another night.
            if told and night + 1 >= rounds:
                break
        assert {one["attributes"]["seats"] for one in emulator.store.truth("users").values()} == {night}
    assert told > 0


def test_a_run_that_was_overtaken_while_it_read_sends_nothing(tmp_path: Path) -> None:
    class Overtaken(Rows):
        def __iter__(self) -> Iterator[Sequence[Sequence[Any]]]:
            yield from super().__iter__()
            with Lock(Location.of(tmp_path / "nightly"), "next", "dag/run/task"):
                pass

    source = Overtaken(("email", "seats"), [("c1@shop.test", 1)])
    with Emulator(users=0, leads=0) as emulator, Client(emulator.token, emulator.url) as client:
        with pytest.raises(LockLostError, match="considered dead"):
            sync_contacts(client, source, tmp_path, "nightly", Options(), owner="dag/run/task")
        assert emulator.stats()["requests"] == 0
