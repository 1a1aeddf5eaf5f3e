"""Writes the results as a page: tables, a picture, and what they were measured on."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.measure import FAULTS, SECOND, SLOW
from benchmarks.parties import US

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.measure import Results
    from benchmarks.run import Run

PICTURE = "images/benchmarks-growth.svg"
_HEAD = """# Benchmarks

This page is written by `make bench`: everybody reads from, or writes to, the same emulator of Customerly on one
machine, one after another, each with an environment of its own. Compare figures within a table; seconds differ from
machine to machine. CPU and wall time are those of the work, without starting Python and importing. Memory is the
most that the process ever held. The scripts are in `benchmarks/peers`.
"""


def page(results: Results) -> str:
    """Return the page as Markdown."""
    sizes = results.sizes
    parts = [_HEAD, _made_on(results)]
    floor = sum(results.floors.values())
    for name, title, text, table in (
        (
            "export, 0 ms",
            "Export, without waiting",
            f"{sizes.contacts:,} contacts, an eighth of them in groups that share a `last_update`. The floor is "
            "what HTTP, decoding JSON and writing Parquet take alone"
            f" ({', '.join(f'{name} {seconds:.2f} s' for name, seconds in results.floors.items())} of CPU). Meltano's "
            "and Airbyte's parties write no Parquet: their records go to a file, as a target would get them.",
            lambda runs: _costs(runs, floor),
        ),
        (
            "export, 80 ms",
            "Export, 80 ms an answer",
            f"{sizes.slow:,} contacts. The ideal is the time of all requests, with as many in flight as there were.",
            lambda runs: _costs(runs, 0, SLOW),
        ),
        (
            "export by requests in flight",
            "Export by requests in flight, 80 ms an answer",
            f"{sizes.many:,} contacts, an eighth of them in groups that share a `last_update`.",
            lambda runs: _costs(runs, 0, SLOW),
        ),
        (
            "export of a changing list",
            "Export of a list that changes",
            f"{sizes.slow:,} contacts, 80 ms an answer, about seven changes a second. *Lost* are contacts that were "
            "there from before the first request until after the last one, and are not in the output.",
            _outcomes,
        ),
        (
            "export with 2 % faults",
            "Export while 2 % of requests fail",
            f"The faults, in equal shares: {', '.join(f'`{name}`' for name in FAULTS)} (see the emulator's help). "
            "*Silently wrong* is a run that ends well with contacts missing, or twice in its output.",
            _verdicts,
        ),
        (
            "export once more, unchanged",
            "Export, a second time",
            'The same list again, in the same place. This package runs with `mode="incremental"`.',
            lambda runs: _costs(runs, 0),
        ),
        (
            "sync, 0 ms",
            "Sync, without waiting",
            f"{sizes.contacts:,} rows of a SQLite table, 100 in a request; then a second run, for which nothing changed.",
            lambda runs: _costs(runs, 0),
        ),
        ("sync, 80 ms", "Sync, 80 ms an answer", f"{sizes.slow:,} rows.", lambda runs: _costs(runs, 0, SLOW)),
        (
            "sync with refused rows",
            "Sync when rows are refused",
            "One in a hundred rows has the `user_id` of another contact. Customerly refuses such rows and answers 200.",
            _refusals,
        ),
    ):
        if runs := results.parts.get(name):
            parts += [f"## {title}\n\n{text}\n", table(runs)]
    if results.growth:
        parts += [_growth(results)]
    if results.problems:
        listed = "\n".join(f"* {name}: {said}" for name, said in results.problems.items())
        parts.append(f"## What was not measured\n\n{listed}\n")
    return "\n".join(parts)


def _made_on(results: Results) -> str:
    machine, versions = results.machine, results.versions
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"Measured on {machine['day']} with Python {machine['Python']} on {machine['system']} {machine['processor']}, "
        f"{machine['cores']} cores; {named}. Medians of {results.sizes.rounds} rounds where there is no waiting, else "
        "one round.\n"
    )


def _by_party(runs: Iterable[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.party, []).append(run)
    return found


def _costs(runs: Sequence[Run], floor: float, latency: float = 0.0) -> str:
    """Make a table of time and memory.

    :param floor: CPU seconds of the floors together, if they are of the same data.
    :param latency: seconds of an answer; tells the ideal.
    """
    parties = _by_party(runs)
    good = {name: [run for run in found if run.exit == 0] for name, found in parties.items()}
    rows = []
    for name, found in good.items():
        if not found:
            rows.append([name, "failed", *[""] * (5 + bool(floor) + bool(latency))])
            continue
        cpu, wall = _median(run.cpu for run in found), _median(run.wall for run in found)
        ours = _ours(good, name, found[0].peak)
        row = [name, f"{cpu:.2f} s", _ratio(cpu, _median(run.cpu for run in ours) if ours else 0)]
        if floor:
            row.append(_ratio(cpu, floor))
        row += [f"{wall:.1f} s", _ratio(wall, _median(run.wall for run in ours) if ours else 0)]
        if latency:
            ideal = found[0].requests * latency / max(1, found[0].peak)
            row.append(_ratio(wall, ideal))
        row += [f"{_median(run.megabytes for run in found):.0f} MB", f"{found[0].requests:,}"]
        rows.append(row)
    titles = ["", "CPU", "to ours", *["to the floor"] * bool(floor), "wall", "to ours"]
    titles += [*["to the ideal"] * bool(latency), "memory", "requests"]
    return _table(titles, rows)


def _ours(good: Mapping[str, list[Run]], name: str, in_flight: int) -> list[Run]:
    """Return our runs to compare a party's with: second ones with second ones, else with as many in flight."""
    is_second = name.endswith(SECOND)
    ours = [runs for one, runs in good.items() if one.startswith(US) and one.endswith(SECOND) == is_second]
    ours = [runs for runs in ours if runs]
    return next((runs for runs in ours if len(ours) == 1 or runs[0].peak == in_flight), [])


def _outcomes(runs: Sequence[Run]) -> str:
    rows = [
        [run.party, _end(run), f"{run.rows:,}", f"{run.lost:,}", f"{run.twice:,}", f"{run.wall:.1f} s"]
        for run in runs
    ]
    return _table(["", "end", "contacts in the output", "lost", "twice", "wall"], rows)


def _verdicts(runs: Sequence[Run]) -> str:
    rows = []
    for name, found in _by_party(runs).items():
        finished = [run for run in found if run.exit == 0]
        wrong = [run for run in finished if run.lost or run.twice]
        right = len(finished) - len(wrong)
        lost = ", ".join(f"{run.lost:,}" for run in wrong)
        rows.append([name, str(right), str(len(found) - len(finished)), str(len(wrong)), lost])
    return _table(["", "right", "failed", "silently wrong", "contacts lost"], rows)


def _refusals(runs: Sequence[Run]) -> str:
    rows = [
        [
            run.party,
            f"{run.rows:,}",
            f"{run.refused:,}",
            "none" if run.noticed is None else f"{run.noticed:,}",
            _end(run),
        ]
        for run in runs
    ]
    return _table(["", "rows accepted", "refused", "reported", "end"], rows)


def _growth(results: Results) -> str:
    rows = [
        [
            point["what"],
            f"{point['count']:,}",
            f"{point['cpu']:.1f} s",
            f"{1e6 * point['cpu'] / point['count']:.0f} µs",
            f"{point['megabytes']:.0f} MB",
        ]
        for point in sorted(results.growth, key=lambda point: (point["what"], point["count"]))
    ]
    text = "An export and a first sync of this package, by the number of contacts, without waiting."
    picture = f"![CPU seconds and memory by the number of contacts]({PICTURE})"
    table = _table(["", "contacts", "CPU", "CPU of one", "memory"], rows)
    return f"## Growth\n\n{text}\n\n{picture}\n\n{table}"


def _end(run: Run) -> str:
    return "stopped: too slow" if run.exit is None else "ends well" if run.exit == 0 else "fails"


def _ratio(value: float, other: float) -> str:
    return f"{value / other:.2f}" if other else ""


def _median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
