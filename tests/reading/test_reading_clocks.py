"""Stamps that do not only rise: clocks set back, stamps in the future, replicas that lag.

What is called complete holds every contact that existed all along, changed during the reading or not, in a
version at least as new as when the reading began.
"""

import random
from typing import Any

import pytest
from simulated_list import SimulatedList, read

SKIES = ("as it should be", "future", "set back", "set back and future", "lag", "lag and future", "all")


def weather(seed: int) -> tuple[SimulatedList, dict[str, Any], str]:
    """A list, and how it is read, drawn from a seed."""
    draw = random.Random(seed)
    sky = SKIES[seed % len(SKIES)]
    groups = [draw.choice((1, 1, 1, 2, 7)) for _ in range(draw.choice((30, 200, 700)))]
    for _ in range(draw.choice((0, 0, 1, 3))):
        groups.insert(draw.randrange(len(groups)), draw.choice((20, 62, 150, 400)))
    every = sky == "all"
    table = SimulatedList(
        groups,
        seed,
        future=draw.choice((1, 3, 20)) if every or "future" in sky else 0,
        ahead=draw.choice((0, 0, 7200, -7200, 18_000, -18_000)),
        lag=draw.choice((0.3, 0.9)) if every or "lag" in sky else 0.0,
        last_hour=draw.choice((0, 0, 5, 60, 250)),
        shuffle=draw.random() < 0.3,
    )
    rate = draw.choice((0.02, 0.1, 0.3, 1.0, 2.0))
    for _ in range(draw.randrange(10)):
        table.mutate(active=True)
    how = {
        "concurrency": draw.choice((1, 4, 16)),
        "mutations": rate,
        "set_back": draw.randrange(1, 40) if every or "set back" in sky else None,
        "active": draw.random() < 0.7,
    }
    return table, how, sky


def check(seed: int) -> str:
    table, how, sky = weather(seed)
    outcome = read(table, seed=seed, **how)
    told = f"seed {seed}, {sky}: {how}, lag {table.lag}, {outcome.chain.certificate}"
    assert outcome.given == len(outcome.versions), f"a contact was given twice ({told})"
    verdict = outcome.chain.certificate.verdict
    if verdict == "complete":
        missing = table.existing - set(outcome.versions)
        assert not missing, f"{len(missing)} contacts are missing ({told})"
        old = [key for key in table.existing if table.is_older_than_begun(key, outcome.versions[key])]
        assert not old, f"{len(old)} contacts are older than when the reading began ({told})"
    return verdict


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_what_is_called_complete_is_complete_whatever_the_clocks_do(first: int) -> None:
    verdicts = [check(seed) for seed in range(first, first + 25)]
    assert verdicts.count("complete") >= 20


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 1000, 100))
def test_what_is_called_complete_is_complete_in_a_thousand_readings(first: int) -> None:
    verdicts = [check(seed) for seed in range(first, first + 100)]
    assert verdicts.count("complete") >= 80
