"""A month of nights over a list that changes between and during them, with crashes and retries mixed in."""

import random
import time
from datetime import date, timedelta
from typing import Any

import pytest
from nights import Ticking, increment, versions

from airflow_provider_customerly.client import CustomerlyUnavailable
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import changes, read_contacts, read_deletions
from airflow_provider_customerly.storage import Dataset, Location

NIGHTS = 30
DAY = 86_400
WEIGHTS = {"update": 0.7, "create": 0.15, "delete": 0.12, "convert": 0.03}


class Month:
    """Runs the nights and knows the truth."""

    def __init__(self, emulator: Emulator, location: Location, clock: Ticking, seed: int) -> None:
        self.emulator, self.location, self.clock = emulator, location, clock
        self.draw = random.Random(seed)
        self.expected: set[int] = set()
        """Contacts that the table had and the next whole list has not."""
        self.crashes = 0

    def run(self, night: int) -> None:
        store = self.emulator.store
        self.clock.now += DAY
        store.churn(self.draw.randrange(120), WEIGHTS)
        before = dict(store.versions("users"))
        done = len(store.journal)
        options = {"owner": f"night {night}", "full_refresh": night % 7 == 6, "keep_manifests": 10}
        for _ in range(self.draw.choice((0, 0, 1, 2))):
            self.crash(night, **options)
        self.increment(night, **options)
        if night % 5 == 2:  # the same run once more, as when its success could not be reported
            self.increment(night, **options)
        self.check(before, {change.contact_id for change in store.journal[done:]})

    def crash(self, night: int, **options: Any) -> None:
        most = 90 if options["full_refresh"] else 7  # as many as such an export sends, or nearly
        self.emulator.faults.plan([None] * self.draw.randrange(most) + ["down"] * 500)
        try:
            self.increment(night, retry_budget=0, **options)
        except CustomerlyUnavailable:
            self.crashes += 1
            self.emulator.store.churn(self.draw.randrange(20), WEIGHTS)
        self.emulator.faults.clear()

    def increment(self, night: int, **options: Any) -> dict[str, Any]:
        before = set(versions(self.location)) if night else set()
        day = f"{date(2026, 10, 1) + timedelta(days=night)}"
        result = increment(self.emulator, self.location, day, row_group_size=700, **options)
        assert result["verdict"] == "complete"
        if result["mode"] == "snapshot":
            self.expected |= before - set(versions(self.location))
        return result

    def check(self, before: dict[int, str], touched: set[int]) -> None:
        """Compare the table with the truth, for all that was not changing while it was read."""
        found, truth = versions(self.location), self.emulator.store.versions("users")
        quiet = {key: stamp for key, stamp in before.items() if key not in touched}
        assert len(quiet) > 1000
        assert {key: stamp for key, stamp in quiet.items() if found.get(key) != stamp} == {}
        assert set(self.deletions()).isdisjoint(truth), "a contact that is there is told as deleted"

    def deletions(self) -> list[int]:
        ids: list[int] = read_deletions(self.location, "users").to_table()["crmhero_user_id"].to_pylist()
        return ids


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_a_month_of_nights(location: Location, seed: int) -> None:
    clock = Ticking(int(time.time()) - (NIGHTS + 2) * DAY)
    with Emulator(
        users=1500, leads=200, seed=seed, churn_per_request=0.4, churn_weights=WEIGHTS, clock=clock
    ) as emulator:
        month = Month(emulator, location, clock, seed)
        all_deleted: set[int] = set()
        for night in range(NIGHTS):
            month.run(night)
            all_deleted |= set(month.deletions())

        assert month.crashes > 10
        emulator.churn.per_request = 0
        month.increment(30)
        truth = emulator.store.versions("users")
        found = versions(location)
        assert {key: found.get(key) for key in truth} == truth
        since = read_contacts(location, "users").count_rows()

        last = month.increment(31, full_refresh=True)
        assert versions(location) == truth
        rows = read_contacts(location, "users").to_table(columns=["crmhero_user_id", "name", "web_session"])
        records = emulator.store.truth("users")
        for row in rows.to_pylist():
            record = records[row["crmhero_user_id"]]
            assert (row["name"], row["web_session"]) == (record.get("name"), record.get("web_session"))

        all_deleted |= set(month.deletions())
        assert all_deleted == month.expected
        assert last["deletions"].get("deleted", 0) == since - len(truth)
        before = Dataset(location.join("users")).commits()[-2].sequence
        told = changes(location, "users", since=before).read_all().to_pylist()
        assert sum(row["change"] == "deleted" for row in told) == since - len(truth)
