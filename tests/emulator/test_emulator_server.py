from __future__ import annotations

import contextlib
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection

import pytest
import requests

from airflow_provider_customerly.emulator import Emulator, Store
from airflow_provider_customerly.emulator.__main__ import main

pytestmark = pytest.mark.emulator(users=230, leads=60, seed=7)


def test_stats_need_no_token_and_count_by_request(api, emulator: Emulator):
    api.get("/users/list", params={"page": 1})
    api.get("/users/list")
    api.post("/users/unsubscribe/nobody")
    api.post("/users", json={"users": [{"email": "a@x.test"}, {"email": "bad"}]})
    stats = requests.get(f"{emulator.origin}/__stats", timeout=60).json()["data"]
    assert stats["by_request"] == {"GET /users/list": 2, "POST /users/unsubscribe/{id}": 1, "POST /users": 1}
    assert stats["by_status"] == {"200": 3, "404": 1}
    assert (stats["requests"], stats["refused"], stats["in_flight"]) == (4, 1, 0)
    assert (stats["contacts_accepted"], stats["contacts_rejected"], stats["users"]) == (1, 1, 231)


def test_the_peak_of_requests_in_flight_is_kept(emulator: Emulator):
    body = b'{"users": []}'
    host = emulator.origin.removeprefix("http://")
    with contextlib.ExitStack() as stack:
        under_way = [
            stack.enter_context(contextlib.closing(HTTPConnection(host, timeout=30))) for _ in range(6)
        ]
        for connection in under_way:  # the body is held back, so that none can be answered
            connection.putrequest("POST", "/v1/users")
            connection.putheader("Authorization", f"Bearer {emulator.token}")
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
        for _ in range(6000):
            if emulator.stats()["in_flight"] == 6:
                break
            threading.Event().wait(0.01)
        for connection in under_way:
            connection.send(body)
            assert connection.getresponse().read()
    assert emulator.stats()["in_flight_peak"] == 6


def test_latency_delays_each_answer(api, emulator: Emulator):
    emulator.service.latency = 0.1
    started = time.perf_counter()
    api.get("/tags")
    assert time.perf_counter() - started >= 0.1


def test_faults_can_be_changed_at_run_time(api):
    answer = api.post("/__faults", json={"rates": {"503": 1}, "plan": ["502"], "latency": 0}).json()
    assert answer["data"]["rates"] == {"503": 1}
    assert [api.get("/tags").status_code for _ in range(3)] == [502, 503, 503]
    assert api.post("/__faults", json={"rates": {"explode": 1}}).status_code == 400
    assert api.post("/__reset").status_code == 200
    assert api.get("/tags").status_code == 200
    assert api.get("/__stats").json()["data"]["requests"] == 1


def test_reset_puts_the_data_back_when_asked(api, emulator: Emulator):
    before = emulator.store.truth("users")
    api.post("/__churn", json={"count": 40})
    assert emulator.store.truth("users") != before
    api.post("/__reset", json={})
    assert emulator.store.truth("users") != before
    api.post("/__reset", json={"data": True})
    assert emulator.store.truth("users") == before


def test_churn_between_requests(api, emulator: Emulator):
    api.post("/__churn", json={"per_request": 2.5})
    for _ in range(40):
        api.get("/users/list")
    assert 80 < len(emulator.store.journal) < 120


def test_churn_by_itself(api, emulator: Emulator):
    api.post("/__churn", json={"per_second": 2000})
    deadline = time.monotonic() + 60
    while not emulator.store.journal:
        assert time.monotonic() < deadline, "nothing changed by itself"
        time.sleep(0.005)


def test_naive_paging_loses_contacts_while_they_change():
    """The reason why churn exists: what was there all the time is not seen by counting pages."""
    with Emulator(
        users=1000, leads=0, churn_per_request=5, churn_weights={"update": 1, "delete": 1}
    ) as emulator:
        headers = {"Authorization": f"Bearer {emulator.token}"}
        before = emulator.store.versions("users")
        seen: set[int] = set()
        for page in range(11):
            query = {"page": page, "per_page": 100, "sort": "last_update"}
            rows = requests.get(
                f"{emulator.url}/users/list", params=query, headers=headers, timeout=10
            ).json()
            seen |= {row["crmhero_user_id"] for row in rows["data"]["users"]}
        after = emulator.store.versions("users")
        unchanged = {one for one, stamp in before.items() if after.get(one) == stamp}
        assert unchanged - seen


def test_a_store_can_be_given_and_the_port_is_free_again_after_stop():
    store = Store(users=3, leads=0)
    with Emulator(store=store) as first:
        assert first.store is store
        port = first.port
        with pytest.raises(OSError, match="in use"):
            Emulator(users=1, leads=0, port=port).start()
    with Emulator(users=1, leads=0, port=port) as second:
        assert second.url == f"http://127.0.0.1:{port}/v1"
    second.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_only_loopback_listens(emulator: Emulator):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("203.0.113.1", 9))
        own_address = probe.getsockname()[0]
    if own_address.startswith("127."):
        pytest.skip("this machine has no other address than loopback")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((own_address, emulator.port), timeout=2)


def test_the_command_line_serves_until_told_to_stop():
    command = [sys.executable, "-m", "airflow_provider_customerly.emulator", "--port", "0", "--users", "30"]
    options = [
        "--leads",
        "5",
        "--token",
        "t'k",
        "--fault",
        "429-bare=1",
        "--tie-group",
        "20",
        "--shuffle-ties",
    ]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        try:
            url = re.search(r"http://\S+", lines[0])
            assert url is not None
            assert lines[1].split() == ["Token", "t'k"]
            name, _, value = shlex.split(lines[2])[1].partition("=")
            assert name == "AIRFLOW_CONN_CUSTOMERLY_DEFAULT"
            expected = {"conn_type": "customerly", "password": "t'k", "host": url[0]}
            assert json.loads(value) == expected
            headers = {"Authorization": "Bearer t'k"}
            assert requests.get(f"{url[0]}/users/list", headers=headers, timeout=60).status_code == 429
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fault", "explode=1"], "unknown fault"),
        (["--fault", "500=much"], "not a rate"),
        (["--fault", "500=0.9", "--fault", "429=0.9", "--users", "1"], "at most 1 in total"),
    ],
)
def test_the_command_line_refuses_what_it_cannot_do(capsys, arguments: list[str], said: str):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), handlers, strict=True):
            signal.signal(number, handler)
    assert stopped.value.code != 0
    assert said in capsys.readouterr().err
