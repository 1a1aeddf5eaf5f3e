from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

from airflow_provider_customerly.emulator import Choices, Emulator
from airflow_provider_customerly.emulator.__main__ import main

pytestmark = pytest.mark.emulator(users=230, leads=60, seed=7)


def ask(emulator: Emulator, path: str = "/users/list", **query: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {emulator.token}"}
    return requests.get(emulator.url + path, params=query, headers=headers, timeout=60)


def rows(emulator: Emulator, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(emulator, **query).json()["data"]["users"]
    return found


def ids(emulator: Emulator, **query: Any) -> list[int]:
    return [row["crmhero_user_id"] for row in rows(emulator, **query)]


@pytest.mark.parametrize(
    ("kept", "ascending", "descending"),
    [("both", True, True), ("asc", True, False), ("none", False, False)],
)
def test_sort(kept: Any, ascending: bool, descending: bool) -> None:
    with Emulator(users=40, leads=0, choices=Choices(sort_kept=kept)) as emulator:
        stamps = {
            way: [row["last_update"] for row in rows(emulator, per_page=40, sort_direction=way)]
            for way in ("asc", "desc")
        }
    assert (stamps["asc"] == sorted(stamps["asc"])) is ascending
    assert (stamps["desc"] == sorted(stamps["desc"], reverse=True)) is descending
    assert sorted(stamps["asc"]) == sorted(stamps["desc"])


def test_pages_that_count_from_one() -> None:
    with Emulator(users=25, leads=0, choices=Choices(first_page=1)) as emulator:
        pages = [ids(emulator, page=page, per_page=10) for page in range(5)]
    assert [len(page) for page in pages] == [10, 10, 10, 5, 0]
    assert pages[0] == pages[1] != pages[2]


def test_behind_the_end() -> None:
    with Emulator(users=25, leads=0, choices=Choices(past_end="last")) as emulator:
        assert ids(emulator, page=9, per_page=10) == ids(emulator, page=2, per_page=10) != []
    with Emulator(users=25, leads=0, choices=Choices(past_end="error")) as emulator:
        assert ask(emulator, page=9, per_page=10).status_code == 404
        assert len(ids(emulator, page=2, per_page=10)) == 5


def test_short_pages_lose_only_spam() -> None:
    with Emulator(users=300, leads=0, choices=Choices(short_pages=True)) as emulator:
        pages = [ids(emulator, page=page, per_page=50) for page in range(6)]
        wanted = {one for one, record in emulator.store.truth("users").items() if not record["spam"]}
    assert any(len(page) < 50 for page in pages)
    assert {one for page in pages for one in page} == wanted != set()


def test_shapes_of_records() -> None:
    plain = Emulator(users=60, leads=0)
    choices = Choices(last_update_zone=2, numbers_as_text=True, empty_attributes="{}")
    with plain, Emulator(users=60, leads=0, choices=choices) as odd:
        before, after = rows(plain, per_page=60), rows(odd, per_page=60)
    assert [str(row["crmhero_user_id"]) for row in before] == [row["crmhero_user_id"] for row in after]
    assert {type(row["is_user"]) for row in after} == {str}
    assert any(row["attributes"] == [] for row in before)
    assert [row["attributes"] or {} for row in before] == [row["attributes"] for row in after]
    hours = {
        (int(new["last_update"][11:13]) - int(old["last_update"][11:13])) % 24
        for old, new in zip(before, after, strict=True)
    }
    assert hours == {2}


def test_headers() -> None:
    choices = Choices(clock_skew=-7200, rate_limit_headers=True)
    with Emulator(users=1, leads=0) as plain, Emulator(users=1, leads=0, choices=choices) as odd:
        before, after = ask(plain).headers, ask(odd).headers
    behind = parsedate_to_datetime(before["Date"]) - parsedate_to_datetime(after["Date"])
    assert 7100 < behind.total_seconds() < 7300
    assert "X-RateLimit-Limit" in after
    assert "X-RateLimit-Limit" not in before


def test_refusals() -> None:
    choices = Choices(legacy_header=False, token_status=401, token_message="No.", missing_message="None.")
    with Emulator(users=1, leads=0, choices=choices) as emulator:
        legacy = {"Authentication": f"AccessToken: {emulator.token}"}
        assert requests.get(f"{emulator.url}/tags", headers=legacy, timeout=60).status_code == 500
        unknown = requests.get(f"{emulator.url}/tags", headers={"Authorization": "Bearer x"}, timeout=60)
        assert (unknown.status_code, unknown.json()["error"]["message"]) == (401, "No.")
        assert ask(emulator, "/users", email="a@b.test").json()["error"]["message"] == "None."


@pytest.mark.parametrize(
    ("choice", "said"),
    [("surely=1", "unknown choice"), ("numbers_as_text=yes", "is not a"), ("sort_kept=up", "is not a")],
)
def test_the_command_line_refuses_choices_that_do_not_exist(
    capsys: pytest.CaptureFixture[str], choice: str, said: str
) -> None:
    with pytest.raises(SystemExit):
        main(["--choice", choice])
    assert said in capsys.readouterr().err


def test_the_command_line_describes_every_choice(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    choices = re.findall(r"^  (\w+) +\S.* \(default \S.*\)\n {6}\w", shown, re.MULTILINE)
    assert choices == list(Choices.__dataclass_fields__)
    assert re.search(r"first_page +0 or 1 \(default 0\)\n +number of the first page", shown)


def test_a_stranger_may_spoil_a_tag_request() -> None:
    with Emulator(users=3, leads=0, choices=Choices(tag_strangers="refuse")) as emulator:
        emulator.store.upsert("users", [{"email": "known@x.test"}])
        users = [{"email": "known@x.test"}, {"email": "nobody@x.test"}]
        answer = requests.post(
            f"{emulator.url}/tags",
            json={"tag": "fresh", "users": users},
            headers={"Authorization": f"Bearer {emulator.token}"},
            timeout=10,
        )
        assert (answer.status_code, answer.json()["error"]["message"]) == (404, "User doesn't exist")
        assert "fresh" not in emulator.store.tag_names()
