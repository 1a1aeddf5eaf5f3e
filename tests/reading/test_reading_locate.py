import itertools

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from simulated_list import Row, SimulatedList, stamp, stamp_of_group

from airflow_provider_customerly.client import Client, CustomerlyProtocolError
from airflow_provider_customerly.emulator import Choices, Emulator
from airflow_provider_customerly.reading import locate
from airflow_provider_customerly.reading.chain import Chain
from airflow_provider_customerly.reading.locate import Locator


class Pages:
    """Serves the stamps of a simulated list and counts how often it is asked."""

    def __init__(self, table: SimulatedList, mutations: int = 0, empty_every: int = 0) -> None:
        self.table, self.mutations, self.empty_every = table, mutations, empty_every
        self.asked = 0

    def __call__(self, page: int) -> msgspec.Raw:
        self.asked += 1
        for _ in range(self.mutations):
            self.table.mutate()
        rows = self.table.page(page, 100)
        if self.empty_every and self.asked % self.empty_every == 0:
            rows = []
        return msgspec.Raw(msgspec.json.encode([row._asdict() for row in rows]))


@settings(max_examples=150)
@given(
    groups=st.lists(st.integers(1, 5), max_size=600),
    low=st.integers(0, 620),
    guess=st.integers(0, 4000),
)
@example(groups=[1] * 1050, low=1041, guess=1050)  # the last page is the only one that is seen, and not full
@example(groups=[5] * 10 + [1] * 1000, low=1011, guess=1050)
def test_finds_the_first_contact_at_or_after_an_instant(groups: list[int], low: int, guess: int) -> None:
    table = SimulatedList(groups, 1)
    truth = sum(groups[: max(0, low - 1)])
    assert Locator(Pages(table), stamp_of_group(low), 100).find(guess) == truth


@pytest.mark.parametrize("cap", [20, 50, 100])
def test_a_server_that_gives_smaller_pages_is_counted_by_those(cap: int) -> None:
    table = SimulatedList([1] * 5000, 1, cap=cap)
    assert Locator(Pages(table), stamp_of_group(4321), 100).find() == 4320


@pytest.mark.parametrize(("guess", "most"), [(0, 25), (99_700, 6), (98_000, 14), (120_000, 30)])
def test_few_requests_find_it_among_a_hundred_thousand(guess: int, most: int) -> None:
    pages = Pages(SimulatedList([1] * 100_000, 1))
    assert Locator(pages, stamp_of_group(99_801), 100).find(guess) == 99_800
    assert pages.asked <= most


def test_single_empty_answers_do_not_mislead() -> None:
    pages = Pages(SimulatedList([1] * 5000, 1), empty_every=3)
    assert Locator(pages, stamp_of_group(4321), 100).find() == 4320


@settings(max_examples=80)
@given(
    count=st.integers(0, 1500),
    changed=st.integers(-3, 200),
    rate=st.sampled_from([0, 1, 3]),
    start=st.integers(0, 3000),
    seed=st.integers(0, 2**32),
    shuffle=st.booleans(),
    cap=st.sampled_from([100, 100, 90, 60, 50, 37, 20]),
)
@example(count=204, changed=0, rate=1, start=188, seed=0, shuffle=False, cap=100)  # looks like a clamp
@example(count=3000, changed=5, rate=0, start=2995, seed=0, shuffle=False, cap=50)  # the end looks far away
def test_a_reading_loses_nothing_wherever_it_is_told_to_start(
    count: int, changed: int, rate: int, start: int, seed: int, shuffle: bool, cap: int
) -> None:
    table = SimulatedList([1] * count, seed, shuffle=shuffle, cap=cap)
    low = stamp_of_group(max(0, count - changed))  # behind the newest contact too, which may be deleted
    clock = itertools.count()
    chain = Chain(low=low, start=start, prefetch=4, clock=lambda: float(next(clock)))
    found: dict[int, str] = {}
    given_rows: list[Row] = []
    while not chain.done:
        ticket = chain.ask()
        if ticket is None:
            continue
        rows = chain.receive(ticket, table.page(ticket.window.page, ticket.window.per_page))
        given_rows += rows
        found |= {row.crmhero_user_id: row.last_update for row in rows}
        for _ in range(rate):
            table.mutate()
    assert chain.certificate.verdict == "complete"
    wanted = {key for key in table.unchanged if stamp(table.stamps[key]) >= low}
    assert {key for key in wanted if found.get(key) != stamp(table.stamps[key])} == set()
    assert all(row.last_update >= low for row in given_rows)


def test_a_server_that_repeats_its_last_page_is_told() -> None:
    with (
        Emulator(users=430, leads=0, choices=Choices(past_end="last")) as emulator,
        Client(emulator.token, emulator.url) as client,
        pytest.raises(CustomerlyProtocolError, match="list pages 4 and 5 have the same contacts"),
    ):
        locate(client, "users", "2099-01-01 00:00:00", 430)


def test_the_client_finds_the_place_over_http() -> None:
    with Emulator(users=3000, leads=10) as emulator, Client(emulator.token, emulator.url) as client:
        stamps = sorted(emulator.store.versions("users").values())
        low = stamps[2750]
        assert locate(client, "users", low, 2000) == stamps.index(low)
        assert emulator.stats()["requests"] <= 12
        assert locate(client, "users", "2099-01-01 00:00:00") == 3000
        assert locate(client, "users", "1970-01-01 00:00:00") == 0
