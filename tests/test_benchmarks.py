"""The machinery of the benchmarks, on a few hundred contacts: numbers of rows, never times."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measure import SECOND, Measuring, Results, Sizes  # noqa: E402
from benchmarks.page import page  # noqa: E402
from benchmarks.parties import ENVIRONMENTS, EXPORTS, PEERS, SYNCS, US, Environments  # noqa: E402
from benchmarks.plot import plot  # noqa: E402

if TYPE_CHECKING:
    from benchmarks.run import Run

pytestmark = pytest.mark.slow
PLAIN = "plain loop"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    environments = Environments(tmp_path_factory.mktemp("bench"))
    return Measuring(Sizes(300, 200, 1, 250, (100,)), environments, limit=600, peers=False).all()


def one(results: Results, part: str, party: str) -> Run:
    [found] = [run for run in results.parts[part] if run.party == party]
    return found


def test_each_part_was_measured(results: Results) -> None:
    assert results.problems == {}
    assert set(results.floors) == {"HTTP", "JSON", "Parquet"}
    assert len(results.parts) == 9
    assert [(point["what"], point["count"]) for point in results.growth] == [("export", 100), ("sync", 100)]


def test_exports_hold_what_was_there(results: Results) -> None:
    for part in ("export, 0 ms", "export, 80 ms", "export once more, unchanged"):
        for run in results.parts[part]:
            assert (run.exit, run.lost, run.twice) == (0, 0, 0)
            assert run.rows == (200 if part == "export, 80 ms" else 300)
    assert one(results, "export, 0 ms", "plain loop, 100 a page").requests == 4
    assert one(results, "export, 0 ms", "plain loop, 50 a page").requests == 7
    for part in ("export of a changing list", "export with 2 % faults"):
        run = one(results, part, US)
        assert run.exit or not run.lost


def test_a_second_sync_sends_nothing_and_refused_rows_are_reported(results: Results) -> None:
    sent = {run.party: (run.exit, run.rows, run.requests) for run in results.parts["sync, 0 ms"]}
    assert sent == {
        US: (0, 300, 3),
        US + SECOND: (0, 0, 0),
        PLAIN: (0, 300, 3),
        PLAIN + SECOND: (0, 300, 3),
    }
    ours = one(results, "sync with refused rows", US)
    assert (ours.refused, ours.noticed, ours.rows) == (2, 2, 198)
    theirs = one(results, "sync with refused rows", PLAIN)
    assert (theirs.exit, theirs.noticed, theirs.rows) == (0, None, 198)


def test_the_page_is_drawn_from_the_results_that_were_kept(results: Results) -> None:
    kept = msgspec.json.decode(msgspec.json.encode(results), type=Results)
    text = page(kept)
    for run in (run for runs in results.parts.values() for run in runs):
        assert run.party in text
    assert "300 contacts" in text
    assert "not measured" not in text
    picture = plot(kept.growth)
    assert picture.count("<circle") == 4
    assert "nan" not in picture


def test_a_peer_that_cannot_be_installed_is_named_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENTS, "plain", (str(tmp_path / "no-such-package"),))
    environments = Environments(tmp_path)
    assert environments.python("plain") is None
    assert environments.python("ours") == sys.executable
    assert "no-such-package" in environments.problems["plain"]


def test_every_party_has_its_script_and_its_environment() -> None:
    for party in (*EXPORTS, *SYNCS):
        assert (PEERS / f"{party.script}.py").is_file()
        assert party.environment in (*ENVIRONMENTS, "ours")
