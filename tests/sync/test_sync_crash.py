"""A sync that is killed, again and again, at every step of its work."""

from __future__ import annotations

import itertools
import random
import signal
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from sync_process import Job, Kill, Rows, start

from airflow_provider_customerly.storage import Location
from airflow_provider_customerly.sync import Options
from airflow_provider_customerly.sync.records import read_records
from airflow_provider_customerly.sync.rejects import read_rejects

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_customerly.emulator import Emulator

pytestmark = [
    pytest.mark.emulator(users=0, leads=0),
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nothing kills a process like SIGKILL"),
]

COLUMNS = ("email", "user_id", "name", "seats")
BATCH = 50
OWNED = 50
MOST_TRIES = 10


@pytest.fixture(autouse=True)
def owner(emulator: Emulator) -> None:
    owners = [{"email": f"owner{n}@shop.test", "user_id": f"owned-{n}"} for n in range(OWNED)]
    emulator.store.upsert("users", owners)


class Table:
    """A warehouse table, and what Customerly must hold once all of it was delivered."""

    def __init__(self, emulator: Emulator, rows: int, draw: random.Random) -> None:
        self.rows: list[list[Any]] = [[f"c{n}@shop.test", f"id-{n}", f"Customer {n}", n] for n in range(rows)]
        for n in draw.sample(range(rows), rows // 10):
            self.rows[n][0] = None
        for owner, n in enumerate(draw.sample(range(rows), rows // 200)):
            self.rows[n][1] = f"owned-{owner}"
        self.good = [row for row in self.rows if row[0] and not row[1].startswith("owned")]
        self.refused = [row for row in self.rows if row[0] and row[1].startswith("owned")]
        self.versions = len(self.good)
        self._emulator = emulator
        self._draw = draw

    @property
    def source(self) -> Rows:
        return Rows(COLUMNS, [tuple(row) for row in self.rows])

    def change(self, count: int) -> None:
        """Change rows of which the version before was delivered: each change must be sent for itself."""
        for row in self._draw.sample(self.good, count):
            if self._held(row[0]) == (row[1], row[2], {"seats": row[3]}):
                row[3] += 1_000_000
                self.versions += 1

    def remove(self, count: int) -> None:
        """Remove rows that were to be delivered, or had been, or were in flight at the kill."""
        gone = [row[0] for row in self._draw.sample(self.good, count)]
        self.good = [row for row in self.good if row[0] not in gone]
        self.rows = [row for row in self.rows if row[0] not in gone]

    def check(self) -> None:
        """Compare all that Customerly holds with the table."""
        truth = self._emulator.store.truth("users").values()
        held = {one["email"]: (one["user_id"], one["name"], one["attributes"]) for one in truth}
        for n in range(OWNED):
            assert held.pop(f"owner{n}@shop.test")[0] == f"owned-{n}"
        assert held == {row[0]: (row[1], row[2], {"seats": row[3]}) for row in self.good}
        assert len(truth) == len(self.good) + OWNED

    def _held(self, email: str) -> Any:
        store = self._emulator.store
        key = store.find("users", email=email)
        record = None if key is None else store.get("users", key)
        return None if record is None else (record["user_id"], record["name"], record["attributes"])


def check_readable(state: Location) -> None:
    """Read all that a reader may open while nobody works."""
    for record in read_records(state):
        if record.rejects:
            assert sum(1 for _ in read_rejects(state, record.rejects)) > 0


def check_tidy(state: Location) -> None:
    """See that there is nothing but the state: one ledger, and records with their rejects."""
    # What a killed run had staged for the ledger goes by age.
    names = {name for name in state.list() if not name.startswith(("ledger/_staging/", "ledger/.tmp-"))}
    recorded = {name for record in read_records(state) for name in (record.name, record.rejects) if name}
    rest = sorted(str(PurePosixPath(name).parent) for name in names - recorded)
    assert recorded <= names
    assert set(rest) == {".", "ledger/_manifests", "ledger/state=current"}
    assert (rest.count("."), rest.count("ledger/state=current")) == (1, 1)


def kill_surely(kill: Kill, run: Callable[[Kill], Any]) -> None:
    """Run until the kill came.

    How many steps a run takes is not known before: answers that arrive together are journaled together, and a
    run that was not killed leaves less work to the next one. So a step that was not reached is looked for
    earlier, where there must be one. Some first steps need what a whole run leaves, such as a ledger to read;
    after a run that was not killed it is there.
    """
    for _ in range(MOST_TRIES):
        print(kill)
        if run(kill) is None:
            return
        kill = kill._replace(n=max(1, kill.n // 2))
    pytest.fail(f"no run came to {kill}")


def rehearsed(emulator: Emulator, path: Path, table: Table, options: Options) -> dict[str, int]:
    """Run a small sync twice in a place of its own, and give the steps it took."""
    steps: dict[str, int] = {}
    for change in (0, 1):
        source = Rows(COLUMNS, [(*row[:3], row[3] + change) for row in table.rows[:300]])
        run = start(Job(emulator.url, emulator.token, str(path), source, options, name="rehearsal"))
        assert run.result()
        for kind, count in run.steps.items():
            steps[kind] = max(count, steps.get(kind, 0))
    return steps


def planned_kills(steps: dict[str, int], draw: random.Random) -> list[Kill]:
    """Return a kill for each kind of step, and more for the long work of the first night."""
    # Before any other, and in this order: only the last of them leaves a sync.json, which is made but once.
    made_once = [("open ", 1), ("open sync.json", 1), ("open sync.json", 2), ("os.link sync.json", 1)]
    made_once += [("os.remove sync.json", 1)]
    first_night = [Kill(f"{event} journal", draw.randint(1, 20)) for event in ("open", "os.rename") * 5]
    once = {"os.link sync.json", "os.remove sync.json"}
    last = [Kill(kind, draw.randint(1, most)) for kind, most in sorted(steps.items()) if kind not in once]
    draw.shuffle(last)
    return [*(Kill(*one) for one in made_once), *first_night, *last]


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [1, 4])
def test_whenever_it_is_killed_the_next_run_goes_on(
    emulator: Emulator, tmp_path: Path, concurrency: int
) -> None:
    draw = random.Random(concurrency)
    table = Table(emulator, 10_000, draw)
    options = Options(batch_size=BATCH, max_concurrency=concurrency)
    job = Job(emulator.url, emulator.token, str(tmp_path / "state"), table.source, options)
    state = Location.of(tmp_path / "state" / "nightly")

    steps = rehearsed(emulator, tmp_path, table, options)
    emulator.service.stats.reset()

    def run(kill: Kill) -> Any:
        result = start(job._replace(source=table.source, kill=kill)).result()
        check_readable(state)
        table.change(200)
        return result

    kills = planned_kills(steps, draw)
    for kill in kills:
        kill_surely(kill, run)
    killed = len(kills)
    assert killed >= 30
    for _ in range(3):
        moment = draw.uniform(0, 1)
        print(f"killed after {moment:.3f} s")
        killed += start(job._replace(source=table.source)).result(kill_after=moment) is None
        check_readable(state)
        table.change(200)

    result = start(job._replace(source=table.source)).result()
    assert result is not None
    assert result["sent"] + result["unchanged"] == len(table.good)
    table.check()
    check_tidy(state)
    rejects = pq.read_table(tmp_path / "state" / "nightly" / result["rejects"]).to_pylist()
    assert sorted(one["row"] for one in rejects) == [
        number for number, row in enumerate(table.rows, 1) if row[0] is None or row[1].startswith("owned")
    ]
    accepted = emulator.stats()["contacts_accepted"]
    assert table.versions <= accepted <= table.versions + killed * BATCH * concurrency

    last = start(job._replace(source=table.source)).result()
    assert last is not None
    assert (last["unchanged"], last["requests"]) == (len(table.good), 0)


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_kills_faults_and_vanished_rows_together_change_nothing_in_the_end(
    emulator: Emulator, tmp_path: Path, kills: int
) -> None:
    draw = random.Random(kills)
    table = Table(emulator, 1_000, draw)
    rejects = 0.2  # more than there are, or nobody would count as vanished
    options = Options(
        batch_size=25, max_concurrency=4, on_vanished="delete", max_vanished=1.0, max_rejects=rejects
    )
    job = Job(emulator.url, emulator.token, str(tmp_path), table.source, options)
    state = Location.of(tmp_path / "nightly")
    emulator.faults.retry_after = 0
    emulator.faults.plan(["reset_after"])  # the first write has it, whatever is drawn for the others
    emulator.faults.set({"reset_after": 0.08, "429": 0.02, "429-bare": 0.02, "500": 0.02, "error200": 0.02})

    def run(kill: Kill) -> Any:
        result = start(job._replace(source=table.source, kill=kill)).result()
        check_readable(state)
        table.change(100)
        table.remove(5)
        return result

    for _, event in zip(range(kills), itertools.cycle(("open", "os.rename", "os.remove")), strict=False):
        kill_surely(Kill(f"{event} journal", draw.randint(1, 12)), run)
    result = start(job._replace(source=table.source)).result()
    assert emulator.faults.injected["reset_after"] > 0
    assert result is not None
    assert result["outcome"] == "success"
    table.check()
    check_tidy(state)
