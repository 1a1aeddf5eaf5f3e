"""Compares this package with its peers: `make bench`, or the essential in two minutes: `make bench-quick`."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from benchmarks.measure import FULL, QUICK, Measuring, Results
from benchmarks.page import PICTURE, page
from benchmarks.parties import Environments
from benchmarks.plot import plot

ROOT = Path(__file__).parents[1]
KEPT = ROOT / ".bench"
DOCS = ROOT / "docs"


def main() -> None:
    """Measure, keep the results as JSON, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, one round; prints instead of writing the page"
    )
    parser.add_argument(
        "--limit", type=float, help="seconds after which nothing more is begun (1200; quick: 120)"
    )
    parser.add_argument(
        "--no-peers", action="store_true", help="install nothing: this package and the plain loop"
    )
    parser.add_argument(
        "--draw", action="store_true", help="write the page again from the results that were kept"
    )
    arguments = parser.parse_args()
    KEPT.mkdir(exist_ok=True)
    kept = KEPT / ("quick.json" if arguments.quick else "results.json")
    if arguments.draw:
        results = msgspec.json.decode(kept.read_bytes(), type=Results)
    else:
        results = Measuring(
            QUICK if arguments.quick else FULL,
            Environments(KEPT / "environments"),
            limit=arguments.limit or (120 if arguments.quick else 1200),
            peers=not arguments.no_peers,
            keep=lambda found: _write(kept, msgspec.json.format(msgspec.json.encode(found)).decode()),
            say=lambda text: print(text, flush=True),
        ).all()
    if arguments.quick:
        print(page(results))
        return
    _write(DOCS / "benchmarks.md", page(results))
    if results.growth:
        _write(DOCS / PICTURE, plot(results.growth))
    print(f"Written: {DOCS / 'benchmarks.md'}")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    main()
