"""Clocks that are wrong: whatever the stamps say, no change is skipped."""

import time
from pathlib import Path

import pytest
from nights import increment, newest

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import read_contacts
from airflow_provider_customerly.storage import Location

MINUTE, HOUR = 60, 3600
FAR_AHEAD = 4_070_908_800  # 2099


def touch(emulator: Emulator, contact_id: int, stamp: float, name: str) -> None:
    """Change a contact at an instant by the vendor's clock, whatever that clock said before."""
    emulator.store.update("users", contact_id, {"name": name})
    emulator.store.set_last_update("users", contact_id, int(stamp))


def names(path: Path) -> dict[int, str]:
    table = read_contacts(path, "users").to_table(columns=["crmhero_user_id", "name"])
    assert table.num_rows == 300
    return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))


@pytest.mark.parametrize("behind", [0, HOUR, 5 * HOUR, -2 * HOUR], ids=["right", "1 h", "5 h", "ahead 2 h"])
@pytest.mark.parametrize("future", [0, 1], ids=["", "one stamp in the future"])
def test_a_vendor_clock_that_is_off_hides_nothing(tmp_path: Path, behind: int, future: int) -> None:
    with Emulator(users=300, leads=0) as emulator:
        ids = sorted(emulator.store.versions("users"))
        touch(emulator, ids[0], time.time() - behind - 30, "first")
        for contact_id in ids[100 : 100 + future]:
            touch(emulator, contact_id, FAR_AHEAD, "from the future")
        increment(emulator, tmp_path)
        for night in (1, 2, 3):
            touch(emulator, ids[night], time.time() - behind, f"night {night}")
            result = increment(emulator, tmp_path)
            assert result["mode"] == "incremental"
            assert names(tmp_path)[ids[night]] == f"night {night}"
            assert newest(Location.of(tmp_path)).rows < 10
        watermark = newest(Location.of(tmp_path)).watermark
        assert watermark is not None
        assert watermark.timestamp() <= time.time()


def test_an_hour_that_comes_twice_hides_nothing(tmp_path: Path) -> None:
    end = time.time()
    with Emulator(users=300, leads=0) as emulator:
        one, two, three, *_ = sorted(emulator.store.versions("users"))
        touch(emulator, one, end - MINUTE, "one before")
        increment(emulator, tmp_path)
        # The clock is set back by an hour.
        touch(emulator, two, end - 59 * MINUTE, "two after")
        touch(emulator, one, end - 30 * MINUTE, "one after")
        increment(emulator, tmp_path)
        found = names(tmp_path)
        assert (found[one], found[two]) == ("one after", "two after")
        touch(emulator, three, end - 20 * MINUTE, "three after")
        touch(emulator, one, end - 19 * MINUTE, "one at last")
        increment(emulator, tmp_path)
        found = names(tmp_path)
        assert (found[one], found[two], found[three]) == ("one at last", "two after", "three after")


def test_equal_stamps_on_both_sides_of_the_watermark_hide_nothing(tmp_path: Path) -> None:
    now = time.time() - HOUR
    with Emulator(users=300, leads=0, shuffle_ties=True) as emulator:
        ids = sorted(emulator.store.versions("users"))
        for contact_id in ids[:50]:
            touch(emulator, contact_id, now, "before")
        increment(emulator, tmp_path, lookback="PT0S")
        for contact_id in ids[25:100]:
            touch(emulator, contact_id, now, "after")
        increment(emulator, tmp_path, lookback="PT0S")
        found = names(tmp_path)
        assert [found[contact_id] for contact_id in ids[:100]] == ["before"] * 25 + ["after"] * 75


def test_lookback_reaches_further_back(tmp_path: Path) -> None:
    now = time.time()
    with Emulator(users=300, leads=0) as emulator:
        one, two, *_ = sorted(emulator.store.versions("users"))
        touch(emulator, one, now - MINUTE, "one")
        increment(emulator, tmp_path)
        touch(emulator, two, now - 5 * HOUR, "late")  # as if it had been written down hours later
        increment(emulator, tmp_path)
        assert names(tmp_path)[two] != "late"
        increment(emulator, tmp_path, lookback="PT6H")
        assert names(tmp_path)[two] == "late"
