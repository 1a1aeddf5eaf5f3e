"""What became of a contact that is missing from a list: asked by each id that it is known by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from nights import export

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import read_deletions

if TYPE_CHECKING:
    from pathlib import Path


def deleted(path: Path) -> list[int]:
    ids: list[int] = read_deletions(path, "users").to_table()["crmhero_user_id"].to_pylist()
    return ids


class Hidden:
    """A user that the list leaves out, and that look-ups still find."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator, store = emulator, emulator.store
        truth = store.truth("users")
        self.id = next(key for key, record in truth.items() if record["user_id"] and record["email"])
        self.record = truth[self.id]

    def change(self, fields: dict[str, Any]) -> None:
        self.emulator.store.update("users", self.id, fields)
        self.record = {**self.record, **fields}

    def hide(self) -> None:
        """Take it from the list; look-ups by the ids that it has now find it."""
        store = self.emulator.store
        find, details = store.find, store.details
        own = {("email", self.record["email"]), ("user_id", self.record["user_id"])}

        def find_hidden(kind: str, **by: Any) -> int | None:
            asked = [(name, value) for name, value in by.items() if value is not None]
            # As the API does, by the email when both are given.
            return self.id if kind == "users" and asked[0] in own else find(kind, **by)

        store.delete("users", self.id)
        store.find = find_hidden  # type: ignore[method-assign]
        store.details = lambda kind, key: (  # type: ignore[method-assign]
            self.record if key == self.id else details(kind, key)
        )


@pytest.mark.parametrize("changed", ["email", "user_id"])
def test_a_user_whose_one_id_changed_is_found_by_the_other(tmp_path: Path, changed: str) -> None:
    with Emulator(users=50, leads=5) as emulator:
        export(emulator, tmp_path, "2026-11-22")
        hidden = Hidden(emulator)
        hidden.change({changed: {"email": "moved@house.test", "user_id": "another-id"}[changed]})
        hidden.hide()
        assert export(emulator, tmp_path, "2026-11-23")["deletions"] == {"still_there": 1}
    assert deleted(tmp_path) == []


def test_a_user_whose_email_somebody_else_has_is_found_by_user_id(tmp_path: Path) -> None:
    with Emulator(users=50, leads=5) as emulator:
        export(emulator, tmp_path, "2026-11-22")
        hidden = Hidden(emulator)
        email = hidden.record["email"]
        hidden.change({"email": "moved@house.test"})
        emulator.store.upsert("users", [{"email": email}])
        hidden.hide()
        result = export(emulator, tmp_path, "2026-11-23")
    assert (result["deletions"], result["rows"]) == ({"still_there": 1}, 50)
    assert deleted(tmp_path) == []


def test_a_deleted_user_whose_ids_others_have_now_is_told(tmp_path: Path) -> None:
    with Emulator(users=50, leads=5) as emulator:
        export(emulator, tmp_path, "2026-11-22")
        gone = Hidden(emulator)
        emulator.store.delete("users", gone.id)
        emulator.store.upsert("users", [{"email": gone.record["email"]}])
        emulator.store.upsert("users", [{"email": "next@holder.test", "user_id": gone.record["user_id"]}])
        assert export(emulator, tmp_path, "2026-11-23")["deletions"] == {"deleted": 1}
    assert deleted(tmp_path) == [gone.id]


@pytest.mark.parametrize("known_by", ["email", "user_id"])
def test_a_user_that_was_exported_with_one_id_only_is_looked_up_by_it(tmp_path: Path, known_by: str) -> None:
    other = {"email": "user_id", "user_id": "email"}[known_by]
    with Emulator(users=50, leads=5) as emulator:
        export(emulator, tmp_path, "2026-11-22", drop_columns=[other])
        hidden = Hidden(emulator)
        hidden.change({other: "another@one.test"})
        hidden.hide()
        result = export(emulator, tmp_path, "2026-11-23", drop_columns=[other])
        assert result["deletions"] == {"still_there": 1}
        gone = next(key for key in emulator.store.truth("users") if key != hidden.id)
        emulator.store.delete("users", gone)
        result = export(emulator, tmp_path, "2026-11-24", drop_columns=[other])
    assert result["deletions"].get("deleted", 0) == 1
