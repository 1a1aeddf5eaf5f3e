from __future__ import annotations

import pytest
import requests

from airflow_provider_customerly.emulator import Choices, Emulator

NO_TOKEN = "You must provide a valid header Authorization: Bearer <TOKEN>"
pytestmark = pytest.mark.emulator(users=230, leads=60, seed=7)

EXTRA_KEYS = {"user_tags", "user_segments", "user_events", "user_notes", "companies"}


def user_with(emulator: Emulator, field: str) -> dict:
    return next(user for user in emulator.store.truth("users").values() if user.get(field))


@pytest.mark.parametrize(
    "header",
    [
        {"Authorization": "Bearer emulator-token"},
        {"Authentication": "AccessToken: emulator-token"},
    ],
)
def test_both_header_forms_are_accepted(emulator: Emulator, header: dict[str, str]):
    assert requests.get(f"{emulator.url}/tags", headers=header, timeout=60).status_code == 200


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({}, NO_TOKEN),
        ({"Authorization": "emulator-token"}, NO_TOKEN),
        ({"Authorization": "Bearer "}, NO_TOKEN),
        ({"Authentication": "emulator-token"}, NO_TOKEN),
        ({"Authorization": "Bearer wrong"}, "Access token not found."),
        ({"Authentication": "AccessToken: wrong"}, "Access token not found."),
    ],
)
def test_bad_credentials_are_a_500_with_the_vendors_message(emulator: Emulator, header: dict, message: str):
    response = requests.get(f"{emulator.url}/users/list", headers=header, timeout=60)
    assert response.status_code == 500
    assert response.json() == {"error": {"message": message, "code": 0}}


def test_lists_are_paged_from_zero_by_fifty(api, emulator: Emulator):
    assert [len(api.rows(page=page)) for page in range(6)] == [50, 50, 50, 50, 30, 0]
    assert [len(api.rows("leads", page=page)) for page in range(3)] == [50, 10, 0]
    assert api.rows() == api.rows(page=0, per_page=50, sort="last_update", sort_direction="asc")
    rows = [row for page in range(6) for row in api.rows(page=page)]
    assert {row["crmhero_user_id"]: row for row in rows} == emulator.store.truth("users")


def test_lists_clamp_large_pages_and_sort_both_ways(api):
    assert len(api.rows(per_page=5000)) == 100
    assert api.rows(per_page=5000, page=2) == api.rows(per_page=100, page=2)
    newest = api.rows(sort="last_update", sort_direction="desc", per_page=10)
    assert newest == sorted(newest, key=lambda row: row["last_update"], reverse=True)
    assert newest[::-1] == api.rows(per_page=10, page=22)
    names = [row["name"].casefold() for row in api.rows(sort="name", sort_direction="desc")]
    assert names == sorted(names, reverse=True)


@pytest.mark.parametrize("query", [{"sort": "email"}, {"sort_direction": "up"}])
def test_an_unknown_order_is_refused(api, query: dict):
    response = api.get("/users/list", params=query)
    assert response.status_code == 400
    assert "sort" in response.json()["error"]["message"]


@pytest.mark.parametrize("field", ["email", "user_id"])
def test_one_user_carries_the_extra_keys(api, emulator: Emulator, field: str):
    user = user_with(emulator, field)
    found = api.get("/users", params={field: user[field]}).json()["data"]
    assert set(found) - set(user) == EXTRA_KEYS
    assert {name: found[name] for name in user} == user


def test_an_email_with_a_plus_is_found(api):
    api.post("/leads", json={"leads": [{"email": "a+b@x.test", "tags": ["vip"]}]})
    lead = api.get("/leads", params={"email": "a+b@x.test"}).json()["data"]
    assert (lead["email"], lead["is_user"], lead["user_tags"]) == ("a+b@x.test", 0, ["vip"])


def test_a_missing_contact_has_the_vendors_message(api):
    for method, path in (("GET", "/users"), ("DELETE", "/users"), ("GET", "/leads"), ("DELETE", "/leads")):
        response = api.request(method, path, params={"email": "nobody@x.test"})
        assert response.status_code == 404
        assert response.json() == {"error": {"message": "User doesn't exist", "code": 0}}
    assert api.get("/users").status_code == 400


def test_a_batch_counts_updates_as_inserted_and_names_rejects(api, emulator: Emulator):
    known = user_with(emulator, "email")["email"]
    rows = [{"email": known, "name": "Again"}, {"email": "bad"}, {"user_id": "u-1"}, {"email": "new@x.test"}]
    response = api.post("/users", json={"users": rows})
    assert response.status_code == 200
    assert response.json()["data"] == {
        "inserted": 2,
        "not_added": [
            {"email": "bad", "user_id": None, "message": "email is not valid"},
            {"email": None, "user_id": "u-1", "message": "email is required"},
        ],
    }
    stats = emulator.stats()
    assert (stats["contacts_accepted"], stats["contacts_rejected"]) == (2, 2)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("strings", ["bad"]),
        ("messages", [{"message": "email is not valid"}]),
        ("by_email", {"bad": "email is not valid"}),
    ],
)
def test_rejects_come_in_the_chosen_shape(api, emulator: Emulator, shape, expected):
    emulator.service.choices = Choices(reject_key="errors", reject_shape=shape)
    answer = api.post("/users", json={"users": [{"email": "bad"}]}).json()
    assert answer == {"data": {"inserted": 0, "errors": expected}}


def test_other_choices_are_followed(api, emulator: Emulator):
    refused = frozenset({"poison@x.test"})
    emulator.service.choices = Choices(
        missing_status=200, attributes_key="custom", max_batch=2, refuse_emails=refused
    )
    assert api.get("/leads", params={"email": "nobody@x.test"}).status_code == 200
    rows = [{"email": f"{number}@x.test"} for number in range(3)]
    assert api.post("/users", json={"users": rows}).status_code == 413
    assert api.post("/users", json={"users": [rows[0], {"email": "poison@x.test"}]}).status_code == 400
    assert emulator.store.find("users", email="0@x.test") is None
    assert api.post("/users", json={"users": rows[:2]}).json()["data"]["inserted"] == 2
    one = api.get("/users", params={"email": "0@x.test"}).json()["data"]
    assert one["custom"] == []
    assert "attributes" not in one


def test_rows_that_crash_the_server_or_get_lost(api, emulator: Emulator):
    emulator.service.choices = Choices(
        crash_emails=frozenset({"crash@x.test"}), lose_emails=frozenset({"lost@x.test"})
    )
    rows = [{"email": "good@x.test"}, {"email": "lost@x.test"}]
    crash = api.post("/users", json={"users": [*rows, {"email": "crash@x.test"}]})
    assert (crash.status_code, crash.json()["error"]["message"]) == (500, "Internal server error")
    assert emulator.store.find("users", email="good@x.test") is None
    assert api.post("/users", json={"users": rows}).json()["data"] == {"inserted": 1, "not_added": []}
    assert emulator.store.find("users", email="lost@x.test") is None


@pytest.mark.parametrize("body", ["{", "[]", '{"users": 1}', '{"users": [NaN]}', ""])
def test_a_malformed_body_is_refused(api, body: str):
    response = api.post("/users", data=body)
    assert response.status_code == 400
    assert response.json()["error"]["message"]


def test_delete_unsubscribe_and_attributes(api, emulator: Emulator):
    user = user_with(emulator, "user_id")
    key, contact_id = user["user_id"], user["crmhero_user_id"]
    assert api.post(f"/users/unsubscribe/{key}").status_code == 200
    assert api.post(f"/users/add-attributes/{contact_id}", json={"attributes": {"k": 1}}).status_code == 200
    stored = emulator.store.get("users", contact_id)
    assert stored is not None
    assert stored["unsubscribe"] == 1
    assert stored["attributes"]["k"] == 1
    assert api.post("/users/add-attributes/nobody", json={"attributes": {}}).status_code == 404
    assert api.post(f"/users/add-attributes/{key}", json={"attributes": {"a": []}}).status_code == 400
    assert api.delete("/users", params={"user_id": key}).status_code == 200
    assert emulator.store.get("users", contact_id) is None


def test_tags_in_three_verbs(api, emulator: Emulator):
    user = user_with(emulator, "user_id")
    lead = next(lead for lead in emulator.store.truth("leads").values() if lead["email"])
    who = {
        "users": [{"user_id": user["user_id"]}, {"email": "nobody@x.test"}],
        "leads": [{"email": lead["email"]}],
    }
    ids = user["crmhero_user_id"], lead["crmhero_user_id"]
    assert api.post("/tags", json={"tag": "fresh", **who}).json()["data"]["updated"] == 2
    assert "fresh" in api.get("/tags").json()["data"]
    assert all("fresh" in emulator.store.tags_of(one) for one in ids)
    api.post("/tags", json={"tag": "fresh", "untag": True, "leads": who["leads"]})
    assert ["fresh" in emulator.store.tags_of(one) for one in ids] == [True, False]
    assert api.delete("/tags", json={"tag": "fresh"}).status_code == 200
    assert "fresh" not in api.get("/tags").json()["data"]
    assert emulator.store.tags_of(ids[0]) == [tag for tag in emulator.store.tags_of(ids[0]) if tag != "fresh"]
    assert api.delete("/tags", json={"tag": "fresh"}).status_code == 404


def test_companies_are_created_merged_and_shown_on_the_contact(api, emulator: Emulator):
    email = user_with(emulator, "email")["email"]
    company = {"company_id": 12, "company_name": "Acme", "company_attributes": [{"size": 3}], "email": email}
    assert api.post("/users/add-to-company", json=company).status_code == 200
    api.post("/company/add-attributes/12", json={"attributes": {"tier": "gold"}})
    shown = api.get("/users", params={"email": email}).json()["data"]["companies"]
    assert shown == [{"company_id": "12", "company_name": "Acme", "attributes": {"size": 3, "tier": "gold"}}]
    assert api.post("/users/add-to-company", json={**company, "email": "nobody@x.test"}).status_code == 404


def test_accounts_and_knowledge(api):
    assert {"account_id", "email"} == set(api.get("/accounts/").json()["data"][0])
    collections = api.get("/knowledge/collections").json()["data"]
    wanted = collections[0]["knowledge_base_collection_id"]
    query = {"knowledge_base_collection_id": wanted, "per_page": 20}
    sizes = [
        len(api.get("/knowledge/articles/", params={**query, "page": page}).json()["data"])
        for page in range(3)
    ]
    assert sizes == [20, 13, 0]


@pytest.mark.parametrize("path", ["/accounts", "/messages", "/users/list/", "/nowhere"])
def test_paths_that_are_not_listed_are_not_found(api, path: str):
    response = api.get(path, allow_redirects=False)
    assert response.status_code == 404
    assert "message" in response.json()["error"]
