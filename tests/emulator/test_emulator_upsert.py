from __future__ import annotations

import pytest

from airflow_provider_customerly.emulator import Store


@pytest.fixture
def store() -> Store:
    return Store(users=120, leads=60, seed=5)


def accept(store: Store, kind: str, **row: object) -> int:
    outcome = store.upsert(kind, [row])
    assert (outcome.accepted, outcome.rejects) == (1, [])
    contact_id = store.find("users", email=row["email"]) or store.find("leads", email=row["email"])
    assert contact_id is not None
    return contact_id


def lead_with_email(store: Store) -> dict:
    return next(lead for lead in store.truth("leads").values() if lead["email"])


def test_a_new_email_creates_a_contact_with_a_new_id(store: Store):
    known = set(store.versions("users")) | set(store.versions("leads"))
    contact_id = accept(
        store, "users", email="new@x.test", user_id="n-1", name="New", attributes={"plan": "pro"}
    )
    assert contact_id > max(known)
    record = store.get("users", contact_id)
    assert record is not None
    assert (record["user_id"], record["name"], record["attributes"]) == ("n-1", "New", {"plan": "pro"})
    assert store.find("users", user_id="n-1") == contact_id


def test_an_update_merges_and_leaves_alone_what_was_not_sent(store: Store):
    before = next(user for user in store.truth("users").values() if len(user["attributes"]) > 2)
    contact_id = accept(store, "users", email=before["email"].upper(), attributes={"plan": "new", "extra": 1})
    assert contact_id == before["crmhero_user_id"]
    after = store.get("users", contact_id)
    assert after is not None
    assert after["attributes"] == {**before["attributes"], "plan": "new", "extra": 1}
    untouched = set(before) - {"attributes", "last_update"}
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}
    assert after["last_update"] > before["last_update"]


def test_tags_are_only_added(store: Store):
    contact_id = accept(store, "users", email="t@x.test", tags=["a", "b"])
    accept(store, "users", email="t@x.test", tags=["b", "c"])
    assert store.tags_of(contact_id) == ["a", "b", "c"]
    assert {"a", "b", "c"} <= set(store.tag_names())


def test_a_lead_posted_as_a_user_keeps_its_id(store: Store):
    lead = lead_with_email(store)
    contact_id = accept(store, "users", email=lead["email"], user_id="was-lead")
    assert contact_id == lead["crmhero_user_id"]
    assert store.get("leads", contact_id) is None
    user = store.get("users", contact_id)
    assert user is not None
    assert (user["is_user"], user["was_lead"], user["user_id"]) == (1, 1, "was-lead")


def test_a_user_posted_as_a_lead_stays_a_user(store: Store):
    accept(store, "users", email="stay@x.test")
    accept(store, "leads", email="stay@x.test", name="Renamed")
    assert store.find("leads", email="stay@x.test") is None
    user = store.get("users", store.find("users", email="stay@x.test") or 0)
    assert user is not None
    assert user["name"] == "Renamed"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "email is required"),
        ({"email": None}, "email is required"),
        ({"email": "not an address"}, "email is not valid"),
        ({"email": 7}, "email is not valid"),
        ("text", "contact must be an object"),
        ({"email": "a@x.test", "attributes": {"long": "x" * 129}}, "longer than 128"),
        ({"email": "a@x.test", "attributes": {"deep": {"a": 1}}}, "must not be nested"),
        ({"email": "a@x.test", "attributes": {"list": [1]}}, "must not be nested"),
        ({"email": "a@x.test", "attributes": {"two words": 1}}, "special characters"),
        ({"email": "a@x.test", "attributes": "text"}, "must be an object"),
        ({"email": "a@x.test", "tags": "vip"}, "list of texts"),
        ({"email": "taken@x.test", "user_id": "other"}, "email already belongs"),
        ({"email": "a@x.test", "user_id": "holder"}, "user_id already belongs"),
    ],
)
def test_a_row_that_breaks_a_rule_is_rejected_and_the_others_stored(store: Store, row: object, message: str):
    accept(store, "users", email="taken@x.test", user_id="holder")
    outcome = store.upsert("users", [{"email": "before@x.test"}, row, {"email": "after@x.test"}])
    assert outcome.accepted == 2
    assert [reject.row for reject in outcome.rejects] == [1]
    assert message in outcome.rejects[0].message
    assert store.find("users", email="after@x.test") is not None
    assert store.find("users", email="a@x.test") is None


def test_text_of_128_characters_an_empty_list_and_vendor_names_pass(store: Store):
    contact_id = accept(
        store, "users", email="a@x.test", attributes={"long": "é" * 128, "country": "Atlantis"}
    )
    accept(store, "users", email="a@x.test", attributes=[])
    record = store.get("users", contact_id)
    assert record is not None
    assert record["attributes"] == {"long": "é" * 128}
    assert record["country"] is None


def test_a_deleted_contact_is_gone_and_its_email_makes_a_new_one(store: Store):
    user = next(user for user in store.truth("users").values() if user.get("user_id"))
    store.delete("users", user["crmhero_user_id"])
    assert store.find("users", email=user["email"]) is None
    assert store.find("users", user_id=user["user_id"]) is None
    assert accept(store, "users", email=user["email"]) != user["crmhero_user_id"]
    with pytest.raises(KeyError):
        store.delete("users", user["crmhero_user_id"])


def test_a_deleted_tag_leaves_every_contact_and_can_come_back_on_one(store: Store):
    tagged = [one for one in store.versions("users") if "vip" in store.tags_of(one)]
    assert tagged
    assert store.delete_tag("vip")
    assert not store.delete_tag("vip")
    store.tag(tagged[0], ["vip"])
    assert [one for one in store.versions("users") if "vip" in store.tags_of(one)] == tagged[:1]
