"""How full the wire is kept: requests, bridges and requests in flight, in a time that only the test knows."""

import heapq
import random
from typing import TYPE_CHECKING, NamedTuple

import pytest
from simulated_list import BEGINNING, Row, stamp

from airflow_provider_customerly.reading.chain import Chain

if TYPE_CHECKING:
    from airflow_provider_customerly.reading.choice import Ticket

ANSWER = 0.08


def contacts(count: int, groups: int, seed: int = 1) -> list[tuple[int, int]]:
    """Contacts of which an eighth is in so many groups with one stamp each."""
    draw, span = random.Random(seed), 400 * count
    stamps = [
        draw.randrange(groups) * (span // groups) if draw.random() < 0.125 else draw.randrange(span)
        for _ in range(count)
    ]
    return sorted((BEGINNING - span + when, key) for key, when in enumerate(stamps, 1))


class Wire(NamedTuple):
    requests: int
    rounds: float
    """How often the time of an answer has passed, times the requests that may be in flight."""
    chain: Chain
    found: set[int]


def read(order: list[tuple[int, int]], in_flight: int, changes: float = 0.0) -> Wire:
    """Read with answers in the order of the requests; so many changes a second, 2 of 7 are deletions."""
    now, sent, draw, done = 0.0, 0, random.Random(1), 0
    wall = float(order[-1][0])
    chain = Chain(clock=lambda: now, wall=lambda: wall + now)
    queue: list[tuple[float, int, Ticket]] = []
    found = set()
    while not chain.done:
        while len(queue) < in_flight and (ticket := chain.ask()) is not None:
            heapq.heappush(queue, (now + ANSWER, sent, ticket))
            sent += 1
        if not queue:
            now += 0.25
            continue
        now, _, answered = heapq.heappop(queue)
        while done < now * changes:
            done += 1
            entry = order.pop(draw.randrange(len(order)))
            if done % 7 not in (0, 3):
                order.append((int(wall + now), entry[1]))
        offset, reach = answered.window.offset, answered.window.reach
        rows = chain.receive(answered, [Row(key, stamp(when)) for when, key in order[offset:reach]])
        found |= {row.crmhero_user_id for row in rows}
    return Wire(sent, now / ANSWER * in_flight, chain, found)


SIZES = [
    pytest.param(20_000, id="20 thousand"),
    pytest.param(100_000, id="100 thousand", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("in_flight", [4, 8, 16])
@pytest.mark.parametrize("size", [62, 620])
@pytest.mark.parametrize("count", SIZES)
def test_groups_of_equal_stamps_do_not_empty_the_wire(count: int, size: int, in_flight: int) -> None:
    wire = read(contacts(count, count // 8 // size), in_flight)
    assert wire.chain.certificate.verdict == "complete"
    assert len(wire.found) == count
    assert wire.requests <= 0.0125 * count + in_flight
    assert wire.chain.certificate.bridges <= 2
    assert wire.rounds <= 1.2 * wire.requests


@pytest.mark.parametrize("in_flight", [4, 8, 16])
@pytest.mark.parametrize("size", [62, 620])
@pytest.mark.parametrize("count", SIZES)
def test_changes_do_not_empty_the_wire(count: int, size: int, in_flight: int) -> None:
    order = contacts(count, count // 8 // size)
    wire = read(order, in_flight, changes=7.0)
    assert wire.chain.certificate.verdict == "complete"
    assert {key for _, key in order} <= wire.found
    assert wire.requests <= 0.0145 * count + in_flight
    # At the end of a short reading, a second's wait for replicas weighs more.
    assert wire.rounds - in_flight / ANSWER <= 1.4 * wire.requests
