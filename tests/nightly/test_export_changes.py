import sys
from typing import Any

import pandas as pd
import pytest
from nights import export, increment, newest

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import changes, read_contacts
from airflow_provider_customerly.storage import Location

pytestmark = pytest.mark.slow_on_s3


def compare_plainly(path: Any, since: int, until: int) -> set[tuple[Any, ...]]:
    """The witness: both states in pandas, cell by cell."""
    before, after = (
        read_contacts(path, "users", as_of=as_of)
        .to_table()
        .to_pandas(types_mapper=pd.ArrowDtype)
        .set_index("crmhero_user_id")
        for as_of in (since, until)
    )
    found: set[tuple[Any, ...]] = {(key, None) for key in before.index.symmetric_difference(after.index)}
    for key in before.index.intersection(after.index):
        for column in before.columns:
            old, new = before.at[key, column], after.at[key, column]
            if pd.isna(old) != pd.isna(new) or (not pd.isna(old) and old != new):
                found.add((key, column))
    return found


@pytest.mark.parametrize("bucket_rows", [40, pytest.param(100_000, marks=pytest.mark.slow)])
def test_agrees_with_a_plain_comparison(
    location: Location, monkeypatch: pytest.MonkeyPatch, bucket_rows: int
) -> None:
    monkeypatch.setattr(sys.modules[changes.__module__], "_BUCKET_ROWS", bucket_rows)
    with Emulator(users=200, leads=10) as emulator:
        for night in range(4):
            increment(emulator, location, f"2026-11-{20 + night}", full_refresh=night == 2)
            emulator.store.churn(30)
        last = newest(location).sequence
    for since, until in ((1, 2), (2, 3), (3, 4), (1, 4), (4, 4)):
        table = changes(location, "users", since=since, until=until).read_all()
        told = list(zip(table["crmhero_user_id"].to_pylist(), table["column"].to_pylist(), strict=True))
        assert len(told) == len(set(told))
        assert set(told) == compare_plainly(location, since, until)
        assert (len(told) > 0) == (since != until)
    assert changes(location, "users", since=1).read_all().num_rows > 0
    with pytest.raises(ValueError, match=r"since \(3\) is a later commit than until \(2\)"):
        changes(location, "users", since=3, until=2)
    assert last == 4


def test_tells_old_and_new_values_and_who_is_gone(tmp_path: Any) -> None:
    with Emulator(users=60, leads=30) as emulator:
        export(emulator, tmp_path, "2026-11-20")
        export(emulator, tmp_path, "2026-11-20", contact_type="leads")
        one, two, *_ = sorted(emulator.store.versions("users"))
        name = (emulator.store.get("users", one) or {})["name"]
        emulator.store.update("users", one, {"name": "New Name", "unsubscribe": 1})
        emulator.store.delete("users", two)
        emulator.store.upsert("users", [{"email": "new@created.test"}])
        leads = emulator.store.truth("leads")
        lead = next(key for key in sorted(leads) if leads[key]["email"])
        emulator.store.upsert("users", [{"email": leads[lead]["email"]}])
        export(emulator, tmp_path, "2026-11-21")
        export(emulator, tmp_path, "2026-11-21", contact_type="leads")
    rows = changes(tmp_path, "users", since=1).read_all().to_pylist()
    by_id = [row for row in rows if row["crmhero_user_id"] == one]
    fields = {row["column"]: (row["change"], row["before"], row["after"]) for row in by_id}
    assert fields["name"] == ("changed", name, "New Name")
    assert fields["unsubscribe"] == ("changed", "false", "true")
    assert fields["last_update"][2] is not None
    assert [row["change"] for row in rows if row["crmhero_user_id"] == two] == ["deleted"]
    assert sorted(row["change"] for row in rows if row["column"] is None) == ["added", "added", "deleted"]
    assert changes(tmp_path, "leads", since=1).read_all().to_pylist() == [
        {"crmhero_user_id": lead, "change": "gone", "column": None, "before": None, "after": None}
    ]
