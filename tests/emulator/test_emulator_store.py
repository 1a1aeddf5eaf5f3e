from __future__ import annotations

import itertools
import json

import pytest

from airflow_provider_customerly.emulator import Store


def read(store: Store, kind: str = "users", per_page: int = 50, **order: str) -> list[dict]:
    rows: list[dict] = []
    for page in itertools.count():
        found = json.loads(store.page(kind, page, per_page, **order))
        rows += found
        if len(found) < per_page:
            return rows
    raise AssertionError


@pytest.fixture
def store() -> Store:
    return Store(users=300, leads=80, seed=3)


def test_pages_hold_every_contact_once_in_order_of_last_update(store: Store):
    rows = read(store)
    stamps = [row["last_update"] for row in rows]
    assert stamps == sorted(stamps)
    assert {row["crmhero_user_id"]: row for row in rows} == store.truth("users")
    assert len(rows) == 300


def test_descending_is_the_reverse(store: Store):
    assert read(store, direction="desc") == read(store)[::-1]


def test_by_name_null_names_come_first(store: Store):
    names = [row["name"] for row in read(store, "leads", sort="name")]
    assert names[0] is None
    assert names[-1] is not None
    keys = [(name or "").casefold() for name in names]
    assert keys == sorted(keys)


def test_a_seed_gives_the_same_contacts_and_another_seed_others():
    pages = [Store(200, 0, seed).page("users") for seed in (1, 1, 2)]
    assert pages[0] == pages[1] != pages[2]


def test_users_and_leads_share_no_id(store: Store):
    assert not set(store.versions("users")) & set(store.versions("leads"))


def test_seeded_data_is_varied(store: Store):
    users, leads = store.truth("users").values(), store.truth("leads").values()
    assert any(lead["email"] is None for lead in leads)
    assert any("user_id" not in user for user in users)
    assert any('"' in user["name"] for user in users)
    assert any(ord(max(user["name"])) > 0xFFFF for user in users)
    assert any(user["attributes"] == [] for user in users)
    assert {type(user["attributes"].get("seats")) for user in users if user["attributes"]} >= {int, str}
    assert {type(user["city"]) for user in users} == {str, type(None)}
    assert not any("nps_vote" in lead for lead in leads)


def test_most_stamps_are_unique_or_in_small_groups(store: Store):
    stamps = sorted(store.versions("users").values())
    groups = [len(list(group)) for _, group in itertools.groupby(stamps)]
    assert max(groups) < 6
    assert groups.count(1) > len(groups) * 0.7
    assert max(groups) > 1


def test_a_tie_group_shares_one_stamp_with_others_on_both_sides():
    store = Store(users=300, leads=40, tie_group=120)
    for kind, size in (("users", 120), ("leads", 40)):
        stamps = sorted(store.versions(kind).values())
        widest = max((list(group) for _, group in itertools.groupby(stamps)), key=len)
        assert len(widest) >= size
        if kind == "users":
            assert stamps[0] < widest[0] < stamps[-1]


def test_shuffled_ties_change_order_but_not_the_order_of_stamps():
    store = Store(users=200, leads=0, tie_group=150, shuffle_ties=True)
    pages = [json.loads(store.page("users", 1, 50)) for _ in range(8)]
    assert len({tuple(row["crmhero_user_id"] for row in page) for page in pages}) == 8
    whole = json.loads(store.page("users", 0, 100))
    assert [row["last_update"] for row in whole] == sorted(row["last_update"] for row in whole)


def test_page_size_is_capped_and_the_offset_with_it(store: Store):
    assert len(json.loads(store.page("users", 0, 1000))) == 100
    assert store.page("users", 1, 1000) == store.page("users", 1, 100)
    assert store.page("users", 99, 100) == b"[]"


def test_an_update_moves_a_contact_to_the_end():
    store = Store(users=50, leads=0, clock=itertools.count(1_800_000_000).__next__)
    order = [row["crmhero_user_id"] for row in read(store)]
    store.update("users", order[0], {"name": "Moved"})
    store.update("users", order[25], {})
    expected = [*order[1:25], *order[26:], order[0], order[25]]
    assert [row["crmhero_user_id"] for row in read(store)] == expected
    assert read(store)[-2]["name"] == "Moved"


def test_a_clock_that_goes_back_does_not_take_stamps_back():
    store = Store(users=50, leads=0, clock=itertools.count(1_800_000_000, -60).__next__)
    first, second, *_ = store.versions("users")
    store.update("users", first, {})
    store.update("users", second, {})
    assert store.versions("users")[first] == store.versions("users")[second] == "2027-01-15 08:00:00"


def test_a_clock_behind_the_seeded_stamps_is_lifted_to_the_newest():
    store = Store(users=50, leads=0, clock=lambda: 0.0)
    newest = max(store.versions("users").values())
    contact_id = min(store.versions("users"))
    store.update("users", contact_id, {})
    assert store.versions("users")[contact_id] == newest


def test_a_planted_record_is_served_verbatim(store: Store):
    record = {
        "crmhero_user_id": 2**60 + 1,
        "last_update": "2024-05-01 00:00:00",
        "bounce": "1",
        "unknown": {"deep": [1, {"x": None}]},
    }
    contact_id = store.insert_raw("users", record)
    assert record in read(store)
    assert store.get("users", contact_id) == record
    assert [row["last_update"] for row in read(store)] == sorted(row["last_update"] for row in read(store))


def test_a_planted_record_without_a_readable_stamp_is_placed_as_told(store: Store):
    store.insert_raw("users", {"crmhero_user_id": "77", "last_update": None}, last_update=1)
    store.insert_raw("users", {"crmhero_user_id": 78})
    assert read(store)[0] == {"crmhero_user_id": "77", "last_update": None}
    assert read(store)[-1] == {"crmhero_user_id": 78}


def test_planting_over_an_id_replaces_it_even_of_the_other_type(store: Store):
    lead = min(store.versions("leads"))
    store.insert_raw("users", {"crmhero_user_id": lead})
    assert store.get("leads", lead) is None
    assert store.get("users", lead) == {"crmhero_user_id": lead}


def test_set_last_update_may_go_back(store: Store):
    contact_id = read(store)[200]["crmhero_user_id"]
    store.set_last_update("users", contact_id, 0)
    assert read(store)[0]["last_update"] == "1970-01-01 00:00:00"
    assert read(store)[0]["crmhero_user_id"] == contact_id


def test_churn_is_seeded_and_journaled():
    def journal() -> list:
        store = Store(users=100, leads=30, clock=lambda: 1_800_000_000)
        done = store.churn(200, {"update": 1, "create": 1, "delete": 1, "convert": 1})
        assert store.journal == done
        return done

    assert journal() == journal()
    assert {change.kind for change in journal()} == {"update", "create", "delete", "convert"}


def test_churn_spares_protected_contacts(store: Store):
    protected = set(list(store.versions("users"))[:150])
    before = store.versions("users")
    store.churn(500, protect=protected)
    after = store.versions("users")
    assert {one: before[one] for one in protected} == {one: after.get(one) for one in protected}


def test_churn_can_empty_a_store_without_failing():
    store = Store(users=5, leads=5)
    store.churn(100, {"delete": 1})
    assert store.count("users") + store.count("leads") == 0
    assert store.churn(10, {"update": 1}) == []


def test_churn_refuses_unknown_kinds(store: Store):
    with pytest.raises(ValueError, match="explode"):
        store.churn(1, {"explode": 1})


def test_reset_puts_everything_back(store: Store):
    before = read(store), read(store, "leads")
    store.churn(300, {"update": 1, "create": 1, "delete": 1, "convert": 1})
    store.reset()
    assert (read(store), read(store, "leads")) == before
    assert store.journal == []


@pytest.mark.slow
def test_a_million_contacts_are_feasible():
    store = Store(users=1_000_000, leads=0)
    assert len(json.loads(store.page("users", 9_999, 100))) == 100
    assert store.page("users", 10_000, 100) == b"[]"
