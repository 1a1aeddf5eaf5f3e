"""Arguments arrive as relatives of their types, and as what a template makes of them."""

from __future__ import annotations

import enum
import pathlib
from collections import UserDict, deque
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pendulum
import pytest
from airflow.sdk import ObjectStoragePath
from msgspec import Meta

from airflow_provider_customerly.values.arguments import Arguments


class Kind(str, enum.Enum):
    users = "users"


class Example(Arguments, frozen=True, kw_only=True):
    path: str
    day: date = date(2026, 1, 1)
    wait: timedelta = timedelta(minutes=10)
    rows: Annotated[int, Meta(ge=0, le=10)] = 1
    share: Annotated[float, Meta(ge=0, le=1)] | None = None
    flag: bool = False
    kind: Literal["users", "leads"] = "users"
    names: Sequence[str] = ()
    shares: dict[str, Annotated[float, Meta(ge=0, le=1)]] | None = None
    mapping: Mapping[str, str | None] | None = None
    parameters: dict[str, Any] | list[Any] | None = None


DEFAULTS = {name: getattr(Example(path=""), name) for name in Example.__struct_fields__}


def read(name: str, value: Any) -> Any:
    return getattr(Example.of({**DEFAULTS, "path": "/data", name: value}), name)


DAY = date(2026, 11, 23)


@pytest.mark.parametrize(
    ("name", "value", "same"),
    [
        ("path", pathlib.PurePosixPath("/data/crm"), "/data/crm"),
        ("path", ObjectStoragePath("file:///data/crm"), "file:///data/crm"),
        ("path", np.str_("/data"), "/data"),
        ("path", 2026, "2026"),
        ("day", pendulum.date(2026, 11, 23), DAY),
        ("day", pendulum.datetime(2026, 11, 23, 4, tz="Europe/Rome"), DAY),
        ("day", datetime(2026, 11, 23, 23, 59, tzinfo=timezone.utc), DAY),
        ("day", pd.Timestamp("2026-11-23 10:00"), DAY),
        ("day", np.datetime64("2026-11-23T10:00"), DAY),
        ("day", "2026-11-23", DAY),
        ("day", " 2026-11-23 00:00:00+00:00", DAY),
        ("day", "2026-11-23T00:00:00.123456Z", DAY),
        ("day", "20261123", DAY),
        ("day", 20261123, DAY),
        ("wait", pendulum.duration(days=7), timedelta(days=7)),
        ("wait", pendulum.duration(weeks=1, hours=2), timedelta(days=7, hours=2)),
        ("wait", np.timedelta64(7, "D"), timedelta(days=7)),
        ("wait", pd.Timedelta("7 days"), timedelta(days=7)),
        ("wait", "P7D", timedelta(days=7)),
        ("wait", " PT10M ", timedelta(minutes=10)),
        ("wait", str(timedelta(days=7, minutes=5)), timedelta(days=7, minutes=5)),
        ("wait", str(timedelta(days=1)), timedelta(days=1)),
        ("rows", np.int64(5), 5),
        ("rows", np.float32(5), 5),
        ("rows", Decimal("5.0"), 5),
        ("rows", " 5 ", 5),
        ("rows", "5.0", 5),
        ("share", np.float64(0.5), 0.5),
        ("share", Decimal("0.5"), 0.5),
        ("share", "0.5", 0.5),
        ("share", 1, 1.0),
        ("flag", np.bool_(True), True),
        ("flag", "True", True),
        ("flag", 1, True),
        ("kind", Kind.users, "users"),
        ("kind", np.str_("leads"), "leads"),
        ("kind", "leads\n", "leads"),
        ("names", ("a", "b"), ["a", "b"]),
        ("names", {"b", "a"}, ["a", "b"]),
        ("names", deque(["a"]), ["a"]),
        ("names", np.array(["a", "b"]), ["a", "b"]),
        ("names", pd.Series(["a", "b"]), ["a", "b"]),
        ("names", {"a": 1}.keys(), ["a"]),
        ("names", [2026, np.int64(7), Decimal("1.5")], ["2026", "7", "1.5"]),
        ("shares", UserDict({"email": np.float64(0.5)}), {"email": 0.5}),
        ("shares", {"email": "0.5"}, {"email": 0.5}),
        ("mapping", {"a": "email", "b": None}, {"a": "email", "b": None}),
        ("parameters", ("a", 1), ["a", 1]),
        ("parameters", UserDict({"a": DAY}), {"a": DAY}),
        ("parameters", np.array([1, 2]), [1, 2]),
    ],
)
def test_a_relative_of_the_type_is_taken(name: str, value: Any, same: Any) -> None:
    got = read(name, value)
    assert (type(got), got) == (type(same), same)


@pytest.mark.parametrize("absent", [None, "", " ", "None", "null", " None\n"])
@pytest.mark.parametrize("name", [name for name in Example.__struct_fields__ if name != "path"])
def test_what_a_template_makes_of_nothing_is_the_default(name: str, absent: Any) -> None:
    assert read(name, absent) == DEFAULTS[name]


def test_a_required_argument_is_taken_literally() -> None:
    assert read("path", "None") == "None"
    with pytest.raises(ValueError, match=r"^path must be text. It is None.$"):
        read("path", None)


@pytest.mark.parametrize(
    ("name", "wrong", "told"),
    [
        ("path", ["/data"], "must be text. It is ['/data']."),
        ("path", b"/data", "must be text. It is b'/data'."),
        ("day", "yesterday", "must be a day as YYYY-MM-DD. It is 'yesterday'."),
        ("day", "2026-02-30", "must be a day as YYYY-MM-DD."),
        ("day", "2026-11-23 and more", "must be a day as YYYY-MM-DD."),
        ("day", True, "must be a day as YYYY-MM-DD."),
        ("wait", "P99999999999D", "must be a duration such as PT10M or P7D."),
        ("wait", "a week", "must be a duration such as PT10M or P7D. It is 'a week'."),
        ("wait", True, "must be a duration such as PT10M or P7D."),
        ("rows", 1.5, "must be a whole number from 0 to 10. It is 1.5."),
        ("rows", True, "must be a whole number from 0 to 10."),
        ("rows", "1_0", "must be a whole number from 0 to 10."),
        ("rows", 10**400, "must be a whole number from 0 to 10."),
        ("rows", Decimal("Infinity"), "must be a whole number from 0 to 10."),
        ("share", float("inf"), "must be a number from 0 to 1. It is inf."),
        ("share", "nan", "must be a number from 0 to 1. It is 'nan'."),
        ("share", Decimal("1.01"), "must be a number from 0 to 1."),
        ("flag", "perhaps", "must be true or false. It is 'perhaps'."),
        ("kind", "contacts", "must be users or leads. It is 'contacts'."),
        ("names", "a", "It is 'a'."),
        ("names", [["a"]], "It is [['a']]."),
        ("shares", {"email": 2}, "It is {'email': 2}."),
        ("parameters", 5, "It is 5."),
    ],
)
def test_what_cannot_be_meant_is_named_with_what_it_must_be(name: str, wrong: Any, told: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} ") as failure:
        read(name, wrong)
    assert told in str(failure.value)
    with pytest.raises(ValueError, match=rf"^{name} .* It is of type {type(wrong).__name__}\.$"):
        Example.read(name, wrong, private=[name])
