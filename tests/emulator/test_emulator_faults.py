from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest
import requests

from airflow_provider_customerly.client import Client, CustomerlyUnavailable
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.emulator.faults import FAULTS, Faults


@pytest.fixture(params=["h11", "httptools"])
def emulator(request: pytest.FixtureRequest):
    if request.param == "httptools":
        pytest.importorskip("httptools")
    with Emulator(users=120, leads=10, http=request.param) as running:
        running.faults.drip_seconds = 0.2
        yield running


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("429", 429, "json"),
        ("429-date", 429, "json"),
        ("429-bare", 429, "json"),
        ("400", 400, "json"),
        ("500", 500, "json"),
        ("502", 502, "html"),
        ("503", 503, "html"),
        ("503-json", 503, "json"),
        ("down", 503, "html"),
        ("html", 200, "html"),
        ("error200", 200, "json"),
    ],
)
def test_a_fault_answers_once_and_then_the_api_is_back(api, emulator, fault: str, status: int, kind: str):
    emulator.faults.plan([fault])
    response = api.get("/users/list")
    assert response.status_code == status
    assert kind in response.headers["Content-Type"]
    if kind == "json":
        assert response.json()["error"]["message"]
    assert api.get("/users/list").json()["data"]["users"]
    assert emulator.stats()["faults"] == {fault: 1}


def test_retry_after_in_its_three_forms(api, emulator):
    emulator.faults.retry_after = 30
    emulator.faults.plan(["429", "429-date", "429-bare"])
    before = int(time.time())
    seconds, date, bare = (api.get("/tags").headers.get("Retry-After") for _ in range(3))
    assert seconds == "30"
    assert before + 30 <= parsedate_to_datetime(date).timestamp() <= time.time() + 30
    assert bare is None


def test_a_reset_answers_nothing_and_applies_nothing(api, emulator):
    emulator.faults.plan(["reset"])
    with pytest.raises(requests.ConnectionError, match=r"reset by peer|closed connection"):
        api.post("/users", json={"users": [{"email": "a@x.test"}]})
    assert emulator.store.find("users", email="a@x.test") is None
    assert emulator.faults.injected == {"reset": 1}
    assert api.get("/tags").status_code == 200


def test_a_reset_after_has_applied_the_write(api, emulator):
    emulator.faults.plan(["reset_after"])
    assert api.get("/tags").status_code == 200, "a read is passed over"
    with pytest.raises(requests.ConnectionError, match=r"reset by peer|closed connection"):
        api.post("/users", json={"users": [{"email": "a@x.test"}]})
    assert emulator.store.find("users", email="a@x.test") is not None


def test_a_cut_body_is_shorter_than_it_says(api, emulator):
    emulator.faults.plan(["cut"])
    response = api.get("/users/list", stream=True)
    assert response.status_code == 200
    promised = int(response.headers["Content-Length"])
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match=f"{promised // 2} bytes read"):
        response.content  # noqa: B018  # reading it is what fails
    assert api.get("/users/list").json()["data"]["users"]


def test_a_dripping_body_is_whole_but_late(api, emulator):
    whole = api.get("/users/list").content
    emulator.faults.plan(["drip"])
    started = time.perf_counter()
    assert api.get("/users/list").content == whole
    assert time.perf_counter() - started >= 0.15


def test_dripping_headers_never_end(api, emulator):
    emulator.faults.plan(["drip-headers"])
    with pytest.raises(CustomerlyUnavailable, match="the response timed out"):  # noqa: SIM117
        with Client(emulator.token, emulator.url, timeout=0.2, retry_budget=0) as client:
            client.check()
    assert api.get("/users/list").json()["data"]["users"]


def test_a_bomb_grows_a_thousandfold(api, emulator):
    emulator.faults.plan(["bomb"])
    response = api.get("/users/list")
    assert int(response.headers["Content-Length"]) < 1 << 17
    assert len(response.content) == 64 << 20


def test_an_empty_list_is_served_to_lists_only(api, emulator):
    emulator.faults.plan(["empty", "empty"])
    assert api.get("/tags").json()["data"]
    assert api.get("/users/list").json() == {"data": {"users": []}}
    assert api.get("/leads/list").json() == {"data": {"leads": []}}
    assert api.get("/leads/list").json()["data"]["leads"]


def test_planned_good_answers_are_good(api, emulator):
    emulator.faults.plan(["500", None, "500"])
    assert [api.get("/tags").status_code for _ in range(4)] == [500, 200, 500, 200]


def test_rates_are_met_and_repeat_with_the_seed():
    def draw(seed: int) -> list[str | None]:
        faults = Faults({"500": 0.2, "429": 0.1}, seed)
        return [faults.next("GET", "/v1/users/list") for _ in range(2000)]

    assert draw(1) == draw(1) != draw(2)
    assert 300 < draw(1).count("500") < 500
    assert 130 < draw(1).count("429") < 270


@pytest.mark.parametrize("rates", [{"explode": 0.1}, {"500": 0.6, "429": 0.6}, {"500": -0.1}])
def test_impossible_rates_are_refused(rates: dict[str, float]):
    with pytest.raises(ValueError, match=r"unknown faults|probabilities"):
        Faults(rates)


def test_every_fault_can_be_played(api, emulator):
    for fault in FAULTS:
        if fault == "drip-headers":  # it never ends
            continue
        emulator.faults.plan([fault])
        email = f"{fault}@x.test"
        try:
            api.get("/users/list").content  # noqa: B018
            if fault == "reset_after":
                api.post("/users", json={"users": [{"email": email}]})
        except requests.RequestException:
            assert fault in {"reset", "reset_after", "cut"}
    assert emulator.stats()["faults"] == dict.fromkeys(FAULTS.keys() - {"drip-headers"}, 1)
