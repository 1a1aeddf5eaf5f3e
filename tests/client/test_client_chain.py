import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_list import Outcome, Row, SimulatedList, read

from airflow_provider_customerly.client import CustomerlyProtocolError
from airflow_provider_customerly.client.chain import Chain

SINGLES = st.lists(st.integers(1, 5), min_size=1, max_size=700)
RATES = st.sampled_from([0.0, 0.1, 1.0, 3.0])
CONCURRENCY = st.sampled_from([1, 4, 16])
SEEDS = st.integers(0, 2**32)


def lost(table: SimulatedList, outcome: Outcome) -> set[int]:
    """Contacts that were there all along without a change and are missing, or are given as something else."""
    return {key for key in table.unchanged if outcome.versions.get(key) != f"{table.stamps[key]:08d}"}


def assert_sound(table: SimulatedList, outcome: Outcome) -> None:
    assert outcome.given == len(outcome.versions), "a contact was given twice"
    if outcome.chain.certificate.verdict == "complete":
        assert not lost(table, outcome)
        assert table.existing <= set(outcome.versions)


@settings(max_examples=120, deadline=None)
@given(groups=SINGLES, rate=RATES, concurrency=CONCURRENCY, seed=SEEDS, shuffle=st.booleans())
def test_loses_nothing_while_the_list_moves(
    groups: list[int], rate: float, concurrency: int, seed: int, shuffle: bool
) -> None:
    table = SimulatedList(groups, seed, shuffle=shuffle)
    outcome = read(table, concurrency=concurrency, mutations=rate, seed=seed)
    assert_sound(table, outcome)
    assert outcome.chain.certificate.verdict == "complete"


@settings(max_examples=60, deadline=None)
@given(
    before=st.integers(0, 400),
    size=st.integers(2, 300),
    after=st.integers(0, 400),
    rate=RATES,
    concurrency=CONCURRENCY,
    seed=SEEDS,
    shuffle=st.booleans(),
)
def test_counts_a_group_of_equal_stamps(
    before: int, size: int, after: int, rate: float, concurrency: int, seed: int, shuffle: bool
) -> None:
    table = SimulatedList([*[1] * before, size, *[1] * after], seed, shuffle=shuffle)
    if rate:
        # Members that leave while they are counted make a large group unprovable: the next test's subject.
        table.spared = set(range(before + 1, before + size + 1))
    outcome = read(table, concurrency=concurrency, mutations=rate, seed=seed)
    assert_sound(table, outcome)
    if rate < 3:
        assert outcome.chain.certificate.verdict == "complete"


@settings(max_examples=30, deadline=None)
@given(size=st.integers(100, 1000), rate=RATES, concurrency=CONCURRENCY, seed=SEEDS)
def test_never_calls_complete_what_it_could_not_count(
    size: int, rate: float, concurrency: int, seed: int
) -> None:
    table = SimulatedList([1, size, 1], seed, shuffle=True)
    outcome = read(table, concurrency=concurrency, mutations=rate, seed=seed)
    assert_sound(table, outcome)


def test_says_which_group_it_could_not_count() -> None:
    table = SimulatedList([1] * 50 + [1000] + [1] * 50, 1, shuffle=True)
    certificate = read(table, concurrency=4, mutations=3, seed=1).chain.certificate
    assert certificate.verdict == "unproven"
    assert "share last_update 01000051" in str(certificate.reason)


def read_plainly(table: SimulatedList) -> set[int]:
    """The witness: page after page, one change between two requests, as connectors commonly do it."""
    seen: set[int] = set()
    for page in itertools.count():
        rows = table.page(page, 100)
        seen |= {row.crmhero_user_id for row in rows}
        if len(rows) < 100:
            return seen
        table.mutate()
    raise AssertionError


def test_plain_paging_loses_contacts() -> None:
    losers = 0
    for seed in range(20):
        table = SimulatedList([1] * 3000, seed)
        losers += bool(table.unchanged - read_plainly(table))
    assert losers >= 15


@pytest.mark.parametrize("cap", [20, 37, 50, 60])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_adapts_to_a_server_that_gives_smaller_pages(cap: int, concurrency: int) -> None:
    table = SimulatedList([1] * 1234, 3, cap=cap)
    outcome = read(table, concurrency=concurrency, mutations=0, seed=3)
    certificate = outcome.chain.certificate
    assert set(outcome.versions) == table.unchanged
    assert (certificate.verdict, certificate.page_size, certificate.clamped) == ("complete", cap, True)


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200, 1000])
def test_finds_the_end_wherever_it_is(count: int) -> None:
    outcome = read(SimulatedList([1] * count, 5), concurrency=4, mutations=0, seed=5)
    assert len(outcome.versions) == count
    assert outcome.chain.certificate.verdict == "complete"


def test_an_empty_answer_in_the_middle_does_not_end_the_list() -> None:
    table = SimulatedList([1] * 2000, 7)
    chain = Chain(prefetch=8)
    given: list[Row] = []
    numbers = itertools.count(1)
    while (ticket := chain.ask()) is not None:
        rows = table.page(ticket.window.page, ticket.window.per_page)
        given += chain.receive(ticket, [] if next(numbers) % 5 == 0 else rows)
    assert {row.crmhero_user_id for row in given} == table.unchanged
    assert chain.certificate.verdict == "complete"


def test_a_server_that_repeats_its_first_page_is_found_out() -> None:
    table = SimulatedList([1] * 500, 9)
    chain = Chain()

    def read_first_pages() -> None:
        while (ticket := chain.ask()) is not None:
            chain.receive(ticket, table.page(0, ticket.window.per_page))

    with pytest.raises(CustomerlyProtocolError, match="repeat pages"):
        read_first_pages()


def test_reads_from_a_stamp_on() -> None:
    table = SimulatedList([1] * 1000, 11)
    chain = Chain(low="01000901", start=950, prefetch=2)
    given: list[Row] = []
    while (ticket := chain.ask()) is not None:
        given += chain.receive(ticket, table.page(ticket.window.page, ticket.window.per_page))
    assert {row.last_update for row in given} == {f"{1_000_000 + n:08d}" for n in range(901, 1001)}
    assert chain.certificate.windows < 10
