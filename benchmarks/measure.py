"""What is measured, part by part: one that fails, or for which no time is left, does not lose the others."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from airflow_provider_customerly import __version__
from benchmarks.parties import EXPORTS, IN_FLIGHT, SYNCS, US, Environments, without_peers
from benchmarks.project import make_table, project
from benchmarks.run import Run, compare_output, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.parties import Party
    from benchmarks.project import Project

FAULTS = dict.fromkeys(("429", "503", "reset", "error200", "empty"), 0.004)
"""Two in a hundred requests fail, in five ways."""
CHANGES = 7.0
"""Contacts that change, come or go in a second, where the list moves."""
SLOW = 0.08
_LONGEST_RUN = 90.0
_LONGEST_GROWTH = 400.0


class Sizes(NamedTuple):
    """How much is measured.

    :param contacts: of an export or a sync that waits for nothing.
    :param slow: of one that waits 80 ms for each answer.
    :param rounds: of which the median counts, where there is no waiting.
    :param many: of an export with several requests in flight, 80 ms an answer.
    :param growth: numbers of contacts, for time and memory by size.
    """

    contacts: int
    slow: int
    rounds: int
    many: int
    growth: tuple[int, ...]


FULL = Sizes(20_000, 10_000, 3, 100_000, (10_000, 100_000, 1_000_000))
QUICK = Sizes(5_000, 1_000, 1, 5_000, (2_000, 20_000))


class Results(msgspec.Struct, kw_only=True):
    """All that a page is made of."""

    sizes: Sizes
    machine: dict[str, str]
    versions: dict[str, str]
    parts: dict[str, list[Run]] = {}
    """Runs by part, round after round."""
    floors: dict[str, float] = {}
    growth: list[dict[str, Any]] = []
    problems: dict[str, str] = {}
    """What could not be measured, and why."""


class Measuring:
    """One run of the benchmarks.

    :param limit: seconds after which no further part is begun, and what runs is stopped.
    :param peers: whether those take part that must be installed.
    :param keep: called with the results after each part.
    """

    def __init__(
        self,
        sizes: Sizes,
        environments: Environments,
        *,
        limit: float,
        peers: bool = True,
        keep: Callable[[Results], None] = lambda results: None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._sizes = sizes
        self._environments = environments
        self._until = time.monotonic() + limit
        self._exports = EXPORTS if peers else without_peers(EXPORTS)
        self._in_flight = IN_FLIGHT if peers else without_peers(IN_FLIGHT)
        self._syncs = SYNCS if peers else without_peers(SYNCS)
        self._keep, self._say = keep, say
        self.results = Results(
            sizes=sizes, machine=_machine(), versions={"airflow-provider-customerly": __version__}
        )

    def all(self) -> Results:
        """Measure everything, the essential first."""
        sizes = self._sizes
        for party in (*self._exports, *self._syncs):
            self.results.versions |= self._environments.versions(party.environment)
        self.results.problems |= {
            f"environment {name}": said for name, said in self._environments.problems.items()
        }
        # The essential first: what comes last may find no time left.
        with project(sizes.contacts) as fast, project(sizes.slow) as slow:
            self._part("floors", lambda: self._floors(fast))
            self._part("export, 0 ms", lambda: self._export(fast, sizes.rounds))
            self._part("sync, 0 ms", lambda: self._sync(fast, sizes.contacts, sizes.rounds, again=True))
            self._part(
                "sync with refused rows", lambda: self._sync(fast, sizes.slow, 1, taken=sizes.slow // 100)
            )
            self._part("export with 2 % faults", lambda: self._export(fast, sizes.rounds, faults=FAULTS))
            self._part("sync, 80 ms", lambda: self._sync(slow, sizes.slow, 1, latency=SLOW))
            self._part("export, 80 ms", lambda: self._export(slow, 1, latency=SLOW))
            self._part(
                "export of a changing list", lambda: self._export(slow, 1, latency=SLOW, changes=CHANGES)
            )
            self._part("export once more, unchanged", lambda: self._export(fast, 1, again=True))
        with project(sizes.many) as many:
            self._part(
                "export by requests in flight",
                lambda: self._export(many, 1, parties=self._in_flight, latency=SLOW),
            )
        self._part("growth", self._growth)
        return self.results

    def _part(self, name: str, measure: Callable[[], list[Run]]) -> None:
        if time.monotonic() >= self._until:
            self.results.problems[name] = "not measured: the time was used up"
            return
        self._say(name)
        try:
            if runs := measure():
                self.results.parts[name] = runs
        except Exception as error:
            self.results.problems[name] = f"{type(error).__name__}: {str(error)[:300]}"
        self._keep(self.results)

    def _floors(self, place: Project) -> list[Run]:
        place.prepare()
        with _folder() as folder:
            command = [sys.executable, "-m", "benchmarks.floors", place.url, str(folder / "floor.parquet")]
            root = Path(__file__).parents[1]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root, timeout=300)
        self.results.floors = json.loads(done.stdout)
        return []

    def _export(
        self,
        place: Project,
        rounds: int,
        *,
        parties: Sequence[Party] | None = None,
        again: bool = False,
        **met: Any,
    ) -> list[Run]:
        def once(party: Party, python: str) -> list[Run]:
            place.prepare()
            before = {one["id"] for one in place.contacts()}
            place.prepare(**met)
            with _folder() as folder:
                found = self._run(party, "export", place, folder, python)
                if again:
                    place.prepare(**met)
                    found = self._run(party, "export", place, folder, python, **party.again)
                place.calm()
                compare_output(found, folder, before, {one["id"] for one in place.contacts()})
            return [found]

        return self._each(self._exports if parties is None else parties, rounds, once)

    def _sync(
        self, place: Project, rows: int, rounds: int, *, again: bool = False, taken: int = 0, **met: Any
    ) -> list[Run]:
        def once(party: Party, python: str) -> list[Run]:
            place.prepare()
            owned = [one for one in place.contacts() if one["user_id"]] if taken else []
            place.prepare(**met)
            with _folder() as folder:
                make_table(folder, rows, owned[:taken])
                found = [self._run(party, "sync", place, folder, python)]
                found[0].refused = taken
                if again:
                    place_before = place.stats()
                    second = self._run(party, "sync", place, folder, python)
                    second.party += SECOND
                    second.requests -= place_before["requests"]
                    second.rows -= place_before["contacts_accepted"]
                    found.append(second)
            return found

        return self._each(self._syncs, rounds, once)

    def _growth(self) -> list[Run]:
        for count in self._sizes.growth:
            for what, parties in (("export", self._exports), ("sync", self._syncs)):
                if time.monotonic() >= self._until:
                    self.results.problems[f"growth to {count:,}"] = "not measured: the time was used up"
                    continue
                us = next(party for party in parties if party.name == US)
                with project(count if what == "export" else 0) as place, _folder() as folder:
                    if what == "sync":
                        make_table(folder, count)
                    self._say(f"growth: {what} of {count:,}")
                    found = self._run(us, what, place, folder, sys.executable, longest=_LONGEST_GROWTH)
                    if what == "export":
                        compare_output(found, folder, set(), set())
                if found.exit != 0 or found.rows != count:
                    self.results.problems[f"growth to {count:,}, {what}"] = found.said or "it was stopped"
                    continue
                self.results.growth.append(
                    {
                        "what": what,
                        "count": count,
                        "cpu": found.cpu,
                        "wall": found.wall,
                        "megabytes": found.megabytes,
                    }
                )
        return []

    def _each(
        self, parties: Sequence[Party], rounds: int, once: Callable[[Party, str], list[Run]]
    ) -> list[Run]:
        runs: list[Run] = []
        for _ in range(rounds):
            for party in parties:
                python = self._environments.python(party.environment)
                if python is None or time.monotonic() >= self._until:
                    continue
                self._say(f"  {party.name}")
                runs += once(party, python)
        return runs

    def _run(
        self,
        party: Party,
        what: str,
        place: Project,
        folder: Path,
        python: str,
        longest: float = _LONGEST_RUN,
        **more: Any,
    ) -> Run:
        left = min(longest, self._until - time.monotonic())
        return run(party, what, place, folder, python, left, **more)


SECOND = ", second run"
"""Follows the name of a party in its second run, when nothing has changed."""


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Path(folder)


def _machine() -> dict[str, str]:
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": str(os.cpu_count()),
        "Python": platform.python_version(),
        "day": time.strftime("%Y-%m-%d", time.gmtime()),
    }
