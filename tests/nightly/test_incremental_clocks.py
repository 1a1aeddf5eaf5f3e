"""Clocks that are wrong: whatever the stamps say, no change is skipped."""

import json
import time

import pytest
from nights import increment, newest

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import read_contacts
from airflow_provider_customerly.storage import Location

pytestmark = pytest.mark.slow_on_s3

MINUTE, HOUR = 60, 3600
FAR_AHEAD = 4_070_908_800  # 2099


def touch(emulator: Emulator, contact_id: int, stamp: float, name: str) -> None:
    """Change a contact at an instant by the vendor's clock, whatever that clock said before."""
    emulator.store.update("users", contact_id, {"name": name})
    emulator.store.set_last_update("users", contact_id, int(stamp))


def names(path: Location) -> dict[int, str]:
    table = read_contacts(path, "users").to_table(columns=["crmhero_user_id", "name"])
    assert table.num_rows == 300
    return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))


@pytest.mark.parametrize("behind", [0, HOUR, 5 * HOUR, -2 * HOUR], ids=["right", "1 h", "5 h", "ahead 2 h"])
@pytest.mark.parametrize("future", [0, 1], ids=["", "one stamp in the future"])
def test_a_vendor_clock_that_is_off_hides_nothing(location: Location, behind: int, future: int) -> None:
    with Emulator(users=300, leads=0) as emulator:
        ids = sorted(emulator.store.versions("users"))
        touch(emulator, ids[0], time.time() - behind - 30, "first")
        for contact_id in ids[100 : 100 + future]:
            touch(emulator, contact_id, FAR_AHEAD, "from the future")
        increment(emulator, location)
        for night in (1, 2, 3):
            touch(emulator, ids[night], time.time() - behind, f"night {night}")
            result = increment(emulator, location)
            assert result["mode"] == "incremental"
            assert names(location)[ids[night]] == f"night {night}"
            assert result["changes"] == {"new": 0, "changed": 1}
        watermark = newest(location).watermark
        assert watermark is not None
        assert watermark.timestamp() <= time.time()


def test_an_hour_that_comes_twice_hides_nothing(location: Location) -> None:
    end = time.time()
    with Emulator(users=300, leads=0) as emulator:
        one, two, three, *_ = sorted(emulator.store.versions("users"))
        touch(emulator, one, end - MINUTE, "one before")
        increment(emulator, location)
        # The clock is set back by an hour.
        touch(emulator, two, end - 59 * MINUTE, "two after")
        touch(emulator, one, end - 30 * MINUTE, "one after")
        increment(emulator, location)
        found = names(location)
        assert (found[one], found[two]) == ("one after", "two after")
        touch(emulator, three, end - 20 * MINUTE, "three after")
        touch(emulator, one, end - 19 * MINUTE, "one at last")
        increment(emulator, location)
        found = names(location)
        assert (found[one], found[two], found[three]) == ("one at last", "two after", "three after")


def test_equal_stamps_on_both_sides_of_the_watermark_hide_nothing(location: Location) -> None:
    now = time.time() - HOUR
    with Emulator(users=300, leads=0, shuffle_ties=True) as emulator:
        ids = sorted(emulator.store.versions("users"))
        for contact_id in ids[:50]:
            touch(emulator, contact_id, now, "before")
        increment(emulator, location, lookback="PT0S")
        for contact_id in ids[25:100]:
            touch(emulator, contact_id, now, "after")
        increment(emulator, location, lookback="PT0S")
        found = names(location)
        assert [found[contact_id] for contact_id in ids[:100]] == ["before"] * 25 + ["after"] * 75


def test_lookback_reaches_further_back(location: Location) -> None:
    now = time.time()
    with Emulator(users=300, leads=0) as emulator:
        one, two, *_ = sorted(emulator.store.versions("users"))
        touch(emulator, one, now - MINUTE, "one")
        increment(emulator, location)
        touch(emulator, two, now - 5 * HOUR, "late")  # as if it had been written down hours later
        increment(emulator, location)
        assert names(location)[two] != "late"
        increment(emulator, location, lookback="PT6H")
        assert names(location)[two] == "late"


def test_what_an_unproven_reading_left_out_is_read_the_next_night(location: Location) -> None:
    days_ago = time.time() - 48 * HOUR
    with Emulator(users=300, leads=0) as emulator:
        one, two, *_ = sorted(emulator.store.versions("users"))
        increment(emulator, location)
        touch(emulator, one, days_ago, "left out")
        touch(emulator, two, days_ago + 24 * HOUR, "read")
        page = emulator.store.page
        emulator.store.page = (
            lambda *of: without(  # type: ignore[method-assign]
                one, page(*of[:3], "last_update", "desc")
            )
        )
        result = increment(emulator, location, on_unproven="warn")
        assert (result["mode"], result["verdict"]) == ("incremental", "unproven")
        assert names(location)[two] == "read"
        emulator.store.page = page  # type: ignore[method-assign]
        assert increment(emulator, location)["verdict"] == "complete"
        found = names(location)
        assert (found[one], found[two]) == ("left out", "read")


def without(contact_id: int, page: bytes) -> bytes:
    return json.dumps([row for row in json.loads(page) if row["crmhero_user_id"] != contact_id]).encode()
