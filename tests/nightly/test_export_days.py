"""A day that is over keeps its table, whatever is exported after it."""

from __future__ import annotations

import pytest
from nights import export, increment, versions

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.storage import Location, RefusedError

pytestmark = pytest.mark.slow_on_s3


@pytest.mark.parametrize("run", [export, increment])
def test_a_day_stays_as_it_was_after_an_earlier_one_was_filled_in(location: Location, run: object) -> None:
    assert callable(run)
    with Emulator(users=120, leads=0) as emulator:
        run(emulator, location, "2026-11-22")
        run(emulator, location, "2026-11-23")
        was = versions(location, as_of=1)
        emulator.store.churn(30, {"update": 0.5, "create": 0.5})
        filled_in = run(emulator, location, "2026-11-20")
        run(emulator, location, "2026-11-20")  # the newest state is that day's: another try changes no other
        with pytest.raises(
            RefusedError, match=r"2026-11-22 was already exported .* 2026-11-23, or a later one"
        ):
            run(emulator, location, "2026-11-22")
        assert run(emulator, location, "2026-11-23")["rows"] == filled_in["rows"]
    assert versions(location, as_of=1) == was
