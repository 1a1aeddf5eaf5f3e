"""A reading ends, and asks for no window again and again, whatever the list is like."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import pytest
from simulated_list import Outcome, SimulatedList, read, stamp

MOST_ASKED = 8
"""A window may be asked for to continue the list, to look at its end, and to count a group in it."""


class Case(NamedTuple):
    table: SimulatedList
    how: dict[str, Any]
    wanted: set[int]
    pages: int
    """Pages that hold what is to be read."""


def sizes_of_groups(draw: random.Random) -> list[int]:
    count = draw.choice((draw.randrange(30), draw.randrange(20, 400), draw.randrange(200, 3000)))
    share = draw.choice((0.0, 0.1, 0.3, 0.7, 1.0))
    sizes: list[int] = []
    while (left := count - sum(sizes)) > 0:
        size = draw.choice((15, int(2 * 750 ** draw.random()))) if draw.random() < share else 1
        sizes.append(min(size, left))
    return sizes


def drawn(seed: int) -> Case:
    """A list and how it is read: whole, or from some place on that is known well or badly."""
    draw = random.Random(seed)
    table = SimulatedList(
        sizes_of_groups(draw),
        seed,
        last_hour=draw.choice((0, 0, 0, 5, 57, 250)),
        cap=draw.choice((100, 100, 100, 60, 37, 20)),
    )
    table.time += draw.choice((0, 20_000))
    largest = draw.choice((100, 100, 100, 50, 20))
    how: dict[str, Any] = {"concurrency": draw.choice((1, 4, 8, 16)), "largest": largest}
    order, first = table.order, 0
    if order and draw.random() < 0.4:
        first = draw.choice((draw.randrange(len(order)), len(order), max(0, len(order) - draw.randrange(30))))
        low = order[first][0] if first < len(order) else table.now + 5
        how["low"], how["start"] = stamp(low), max(0, first + draw.choice((0, 0, 1, -1, 5, -30, 200)))
        first = sum(when < low for when, _ in order)
    pages = -(-(len(order) - first) // min(largest, table.cap))
    return Case(table, how, {key for _, key in order[first:]}, max(1, pages))


def check_that_it_ends(seed: int) -> None:
    table, how, wanted, pages = drawn(seed)
    outcome = read(table, mutations=0, seed=seed, **how)
    certificate = outcome.chain.certificate
    told = f"seed {seed}: {how}, {outcome.requests} requests for {pages} pages, {certificate}"
    assert certificate.verdict == "complete", told
    assert set(outcome.versions) == wanted, told
    assert outcome.given == len(wanted), told
    assert outcome.most_asked <= MOST_ASKED, told
    assert_few_requests(outcome, pages, told)


def assert_few_requests(outcome: Outcome, pages: int, told: str) -> None:
    """Catching up and counting apart; small pages overlap by much of themselves, and many are in flight."""
    certificate = outcome.chain.certificate
    sweep = outcome.requests - certificate.tie_rereads - certificate.catch_up_windows
    assert sweep <= (1.3 if certificate.page_size >= 100 else 3) * pages + 50, told
    assert certificate.catch_up_windows <= certificate.catch_ups * (3 * pages + 50), told


def hundreds(quick: int, slow: int) -> list[Any]:
    """Seeds by the hundred: the first hundreds for the quick lane, the others for the long one."""
    return [pytest.param(n, marks=pytest.mark.slow if n >= quick else ()) for n in range(0, slow, 100)]


@pytest.mark.parametrize("first", hundreds(400, 6000))
def test_a_list_that_stands_still_is_read_to_its_end(first: int) -> None:
    for seed in range(first, first + 100):
        check_that_it_ends(seed)


def check_that_changes_do_not_keep_it(seed: int) -> None:
    table, how, _, pages = drawn(seed)
    rate = random.Random(seed).choice((0.05, 0.2, 0.5))
    outcome = read(table, mutations=rate, seed=seed, active=True, **how)
    certificate = outcome.chain.certificate
    told = f"seed {seed}: {how}, {rate}, {outcome.requests} requests for {pages} pages, {certificate}"
    if certificate.tie_groups == 0:
        assert certificate.verdict == "complete", told
        assert outcome.most_asked <= 2 * MOST_ASKED, told
        assert_few_requests(outcome, 2 * pages, told)
    else:  # counted within its budget
        assert certificate.verdict == "complete" or "share last_update" in str(certificate.reason), told


@pytest.mark.parametrize("first", hundreds(200, 3000))
def test_changes_do_not_keep_a_reading_from_its_end(first: int) -> None:
    for seed in range(first, first + 100):
        check_that_changes_do_not_keep_it(seed)


def days_of_changes(days: list[int], rest: int) -> SimulatedList:
    """Contacts with stamps of their own, then a group for each day on which so many changed at once."""
    return SimulatedList([1] * rest + days, 1)


@pytest.mark.parametrize("concurrency", [1, 4, 16])
@pytest.mark.parametrize("newest", range(1, 101))
def test_a_group_at_the_end_whose_last_row_stands_alone_in_a_page(newest: int, concurrency: int) -> None:
    table = days_of_changes([47, newest], 300 - 47 - newest)
    outcome = read(table, concurrency=concurrency, mutations=0, seed=1)
    assert outcome.chain.certificate.verdict == "complete"
    assert len(outcome.versions) == 300
    assert outcome.requests <= 12 + concurrency
