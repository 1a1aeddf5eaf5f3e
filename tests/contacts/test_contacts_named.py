"""What names contacts: which entries are good, which are the same, and what is told of the others."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from airflow_provider_customerly.contacts import collect
from airflow_provider_customerly.contacts.positions import Positions

MARKER = "zzmarker"


def test_each_contact_stands_once_where_it_came_first() -> None:
    named = collect("email", [["Ada@x.test", " bo@x.test "], ["ada@X.test", "cy@x.test", "bo@x.test"]])
    assert named.names == ["Ada@x.test", "bo@x.test", "cy@x.test"]
    assert (named.positions, named.given, len(named)) == ([1, 2, 4], 5, 3)
    assert [row.contact for row in named.rows()] == [{"email": name} for name in named.names]


def test_ids_of_any_type_are_compared_as_text() -> None:
    uuid = UUID(int=7)
    named = collect("user_id", [[917, "917", Decimal("917.00"), np.int64(917), "x-1", "X-1", uuid]])
    assert (named.names, named.positions) == (["917", "x-1", "X-1", str(uuid)], [1, 5, 6, 7])


@pytest.mark.parametrize("chunks", [[], [[]]])
def test_no_entries_are_no_contacts(chunks: list[list[Any]]) -> None:
    assert (len(collect("email", chunks)), collect("email", chunks).given) == (0, 0)


@pytest.mark.parametrize(
    ("by", "wrong", "told"),
    [
        ("email", None, "The email is missing"),
        ("email", float("nan"), "The email is missing"),
        ("email", " ", "The email is missing"),
        ("email", MARKER, "The email is malformed"),
        ("email", f"{MARKER}@x", "The email is malformed"),
        ("email", f"{MARKER}@x.test,b@x.test", "The email is malformed"),
        ("email", 917, "The email is not text"),
        ("user_id", None, "The user_id is missing"),
        ("user_id", "", "The user_id is missing"),
        ("user_id", True, "The id is neither"),
        ("user_id", 1.5, "The id is neither"),
        ("user_id", b"zzmarker", "The value is bytes"),
        ("user_id", [MARKER], "The value is nested"),
    ],
)
def test_unusable_entries_are_told_by_position_only(by: Any, wrong: Any, told: str) -> None:
    good = ["a@x.test", "b@x.test"]
    with pytest.raises(ValueError, match=rf"^2 of 4 entries are invalid: at 2, 4: {told}") as error:
        collect(by, [[good[0], wrong], [good[1], wrong]])
    assert "Nothing was sent" in str(error.value)
    assert MARKER not in str(error.value)


def test_many_unusable_entries_make_a_short_text() -> None:
    with pytest.raises(ValueError, match="5000 of 5000 entries") as error:
        collect("email", [[None] * 2_500] * 2)
    assert "at 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 4990 more: The email is missing" in str(error.value)
    assert len(str(error.value)) < 250


def test_a_source_gone_wild_is_counted_and_refused() -> None:
    chunks = [[f"{chunk}-{row}@x.test" for row in range(100)] for chunk in range(30)]
    with pytest.raises(ValueError, match=r"3000 entries.*max_deletions=100 allows. Nothing was sent"):
        collect("email", chunks, 100)
    assert len(collect("email", [*chunks[:1], *chunks[:1]], 100)) == 100


def test_representation_names_nobody() -> None:
    assert MARKER not in repr(collect("email", [[f"{MARKER}@x.test"]]))


def test_positions_tell_the_commonest_reasons_first() -> None:
    positions = Positions()
    for reason in range(8):
        for position in range(reason + 1):
            positions.add(f"reason {reason}", position + 1)
    text = str(positions)
    assert text.startswith("at 1, 2, 3, 4, 5, 6, 7, 8: reason 7; at 1, 2, 3, 4, 5, 6, 7: reason 6; ")
    assert text.endswith("reason 3; and 3 other reasons")
