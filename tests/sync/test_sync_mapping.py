import datetime as dt
import sqlite3
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_customerly.emulator.rules import contact_problem
from airflow_provider_customerly.sync.mapping import FieldMapping
from airflow_provider_customerly.sync.rules import Rules
from airflow_provider_customerly.values.rows import MappedRow

ADA = "ada@northwind.test"
COLUMNS = ["plan", "email", "name", "user_id", "tags", "signup_at", "NOTE"]
FIELDS = ("email", "user_id", "name", "tags", "attributes.plan", "attributes.signup_at", "attributes.NOTE")


def contact(mapping: FieldMapping, row: MappedRow) -> Any:
    [sent] = mapping.contacts([[msgspec.json.encode(value)] for value in row.values])
    return msgspec.json.decode(sent)


def test_columns_go_where_their_names_say() -> None:
    assert FieldMapping(COLUMNS).fields == FIELDS


def test_the_order_of_columns_decides_that_of_attributes_only() -> None:
    assert FieldMapping(["b", "tags", "a", "name", "Email"]).fields == (
        "email",
        "name",
        "tags",
        "attributes.b",
        "attributes.a",
    )


def test_a_database_that_shouts_is_understood() -> None:
    mapping = FieldMapping(["EMAIL", "USER_ID", "Name", "TAGS", "PLAN"])
    assert mapping.fields == ("email", "user_id", "name", "tags", "attributes.PLAN")


def test_columns_can_be_renamed_and_left_out() -> None:
    mapping = FieldMapping(
        ["Email_Address", "plan_name", "internal note", "seats", "email"],
        Rules(
            field_mapping={
                "Email_Address": "email",
                "plan_name": "attributes.plan",
                "internal note": None,
                "email": None,
            }
        ),
    )
    assert mapping.fields == ("email", "attributes.plan", "attributes.seats")
    [row] = mapping.map([(ADA, "pro", object(), 3, "someone@else.test")], 1)
    assert row == MappedRow(1, ADA, (ADA, "pro", 3))


def test_a_column_may_go_to_a_field_of_another_name() -> None:
    mapping = FieldMapping(
        ["user_id", "email", "name"],
        Rules(field_mapping={"user_id": "attributes.user_id", "name": "user_id", "email": "email"}),
    )
    assert mapping.fields == ("email", "user_id", "attributes.user_id")


def test_fields_of_the_vendor_that_can_be_written_are_attributes_like_others() -> None:
    columns = ["email", "utm_source", "postal_code", "country_code", "first_seen", "nps_vote"]
    assert FieldMapping(columns).fields == ("email", *(f"attributes.{name}" for name in columns[1:]))


def test_leads_are_mapped_too() -> None:
    assert FieldMapping(["email", "name", "tags"], Rules(contact_type="leads")).fields == (
        "email",
        "name",
        "tags",
    )


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        (["mail"], {}, ["email", "mail", "field_mapping"]),
        ([], {}, ["email"]),
        (["email", "mail"], {"field_mapping": {"email": None}}, ["No column is mapped to email"]),
        (["email"], {"field_mapping": {"plan": "attributes.plan"}}, ["'plan'", "lacks", "email"]),
        (["email", "PLAN"], {"field_mapping": {"plan": None}}, ["'plan'", "lacks", "PLAN", "case"]),
        (["email", "Email"], {}, ["'email'", "'Email'", "both", "None"]),
        (["email", "mail"], {"field_mapping": {"mail": "email"}}, ["'email'", "'mail'", "both"]),
        (["email", "a", "b"], {"field_mapping": {"a": "attributes.b"}}, ["'a'", "'b'", "attributes.b"]),
        (["email", "a", "a"], {}, ["'a'", "AS"]),
        (["email", "a", "a"], {"field_mapping": {"a": None}}, ["'a'", "AS"]),
        (["email", ""], {}, ["no name", "AS"]),
        (["email", None], {}, ["no name", "AS"]),
        (["email", "?column?"], {}, ["'?column?'", "underscores", "field_mapping"]),
        (["email", "last name"], {}, ["'last name'", "underscores"]),
        (["email", "größe"], {}, ["'größe'", "underscores"]),
        (["email", "a\n"], {}, ["underscores"]),
        (["email"], {"timezone": "Europe/Roma"}, ["Europe/Roma", "time zone"]),
        (["email"], {"timezone": ""}, ["time zone"]),
        (["email"], {"timezone": "Europe"}, ["time zone"]),
        (["email"], {"timezone": "../etc"}, ["time zone"]),
        (["email"], {"timezone": 2}, ["time zone"]),
        (["email", "user_id"], {"contact_type": "leads"}, ["'user_id'", "lead", "None"]),
        (["email", "USER_ID"], {"contact_type": "leads"}, ["'USER_ID'", "lead", "None"]),
    ],
)
def test_columns_that_cannot_be_mapped(columns: list[Any], options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"\w") as failure:
        FieldMapping(columns, Rules(**options))
    assert [word for word in words if word not in str(failure.value)] == []


READ_ONLY = [
    "first_seen_at",
    "last_activity",
    "last_page_viewed",
    "last_page_viewed_at",
    "os",
    "country",
    "region",
    "city",
    "timezone",
    "browser_language",
    "COUNTRY",
]


@pytest.mark.parametrize("name", READ_ONLY)
def test_what_the_vendor_sets_itself_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}'.*because Customerly sets it.*field_mapping"):
        FieldMapping(["email", name])
    with pytest.raises(ValueError, match=f"'home'.*'{name}'"):
        Rules(field_mapping={"home": f"attributes.{name}"}).check()
    assert FieldMapping(["email", name], Rules(field_mapping={name: f"attributes.billing_{name}"}))
    assert FieldMapping(["email", name], Rules(field_mapping={name: None})).fields == ("email",)


@pytest.mark.parametrize(
    ("field_mapping", "contact_type", "tags", "words"),
    [
        ({"a": "mail"}, "users", (), ["'a'", "'mail'", "attributes.<name>"]),
        ({"a": "plan"}, "users", (), ["'a'", "'plan'", "attributes.<name>"]),
        ({"a": "Email"}, "users", (), ["'a'", "'Email'"]),
        ({"a": "attributes."}, "users", (), ["'a'", "underscores"]),
        ({"a": "attributes.b.c"}, "users", (), ["'b.c'", "underscores"]),
        ({"a": ""}, "users", (), ["'a'"]),
        ({"a": 7}, "users", (), ["'a'", "7"]),
        ({"a": ["email"]}, "users", (), ["'a'"]),
        ({"a": "email", "b": "email"}, "users", (), ["'a'", "'b'", "email"]),
        ({"a": "attributes.x", "b": "attributes.x"}, "users", (), ["'a'", "'b'", "attributes.x"]),
        ({"a": "user_id"}, "leads", (), ["'a'", "lead"]),
        ("email", "users", (), ["field_mapping", "dictionary"]),
        (["email"], "users", (), ["field_mapping", "dictionary"]),
        ({}, "companies", (), ["companies", "users"]),
        ({}, "users", "vip", ["'vip'", "list"]),
        ({}, "users", ["vip", " "], ["' '", "blank"]),
        ({}, "users", [""], ["''"]),
        ({}, "users", [None], ["None"]),
        ({}, "users", [["vip"]], ["vip"]),
        ({}, "users", ["\ud800"], ["not a tag"]),
    ],
)
def test_what_is_wrong_without_knowing_the_columns(
    field_mapping: Any, contact_type: str, tags: Any, words: list[str]
) -> None:
    rules = Rules(field_mapping=field_mapping, contact_type=contact_type, tags=tags)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\w") as failure:
        rules.check()
    assert [word for word in words if word not in str(failure.value)] == []
    with pytest.raises(ValueError, match=r"\w") as again:
        FieldMapping(["email", "a", "b"], rules)
    assert str(again.value) == str(failure.value)


@pytest.mark.parametrize("field_mapping", [None, {}, {"a": None, "b": None}, {"a": "email", "b": None}])
def test_what_is_right_as_far_as_can_be_told(field_mapping: Any) -> None:
    Rules(field_mapping=field_mapping, contact_type="leads", tags=["vip"]).check()


def test_a_row_is_what_is_sent() -> None:
    mapping = FieldMapping(COLUMNS, Rules(timezone="UTC"))
    rows = [
        ("pro", f" {ADA} ", "Ada", 917, "a, b", dt.datetime(2024, 6, 3, 12), Decimal("1.50")),
        (None, "BEN@Northwind.test", None, None, None, None, None),
    ]
    ada, ben = mapping.map(rows, 41)
    assert ada == MappedRow(41, ADA, (ADA, "917", "Ada", ["a", "b"], "pro", 1717416000, 1.5))
    assert ben == MappedRow(42, "BEN@Northwind.test", ("BEN@Northwind.test", *[None] * 6))
    assert contact(mapping, ada) == {
        "email": ADA,
        "user_id": "917",
        "name": "Ada",
        "tags": ["a", "b"],
        "attributes": {"plan": "pro", "signup_at": 1717416000, "NOTE": 1.5},
    }
    assert contact(mapping, ben) == {"email": "BEN@Northwind.test"}


def test_false_zero_and_empty_text_are_sent() -> None:
    mapping = FieldMapping(["email", "trial", "seats", "note"])
    [row] = mapping.map([(ADA, False, 0, "")], 1)
    assert contact(mapping, row) == {"email": ADA, "attributes": {"trial": False, "seats": 0, "note": ""}}


def test_no_rows_are_no_rows() -> None:
    assert FieldMapping(["email"]).map([], 1) == []


@pytest.mark.parametrize("rows", [[(ADA,)], [(ADA, 1, 2)], [(ADA, 1), (ADA,)]])
def test_rows_that_do_not_fit_the_columns(rows: list[tuple[Any, ...]]) -> None:
    with pytest.raises(ValueError, match=r"shorter|values for 2 columns"):
        FieldMapping(["email", "plan"]).map(rows, 1)


def test_rows_of_a_real_cursor() -> None:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    cursor = connection.execute(
        "SELECT 'ada@northwind.test' AS email, 7 AS seats, 2.0 AS score, NULL AS plan, x'00' AS raw"
    )
    mapping = FieldMapping([column[0] for column in cursor.description])
    [row] = mapping.map(cursor.fetchall(), 1)
    assert row.values == (ADA, 7, 2, None, None)
    assert [(problem.reason, problem.field) for problem in row.problems] == [("bad_value", "attributes.raw")]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ["vip", "new"]),
        ([], ["vip", "new"]),
        ("a", ["a", "vip", "new"]),
        (["new", "a"], ["new", "a", "vip"]),
        ('["vip"]', ["vip", "new"]),
    ],
)
def test_constant_tags_come_after_a_row_s_own(value: Any, expected: list[str]) -> None:
    [row] = FieldMapping(["email", "tags"], Rules(tags=[" vip", "new", "vip"])).map([(ADA, value)], 1)
    assert row.values == (ADA, expected)


def test_constant_tags_need_no_column() -> None:
    mapping = FieldMapping(["plan", "email"], Rules(tags=["vip"]))
    assert mapping.fields == ("email", "tags", "attributes.plan")
    one, other = mapping.map([("pro", ADA), ("pro", ADA)], 1)
    assert contact(mapping, one) == {"email": ADA, "tags": ["vip"], "attributes": {"plan": "pro"}}
    one.values[1].append("more")
    assert other.values[1] == ["vip"]


def test_no_value_can_be_sent_as_empty_text() -> None:
    mapping = FieldMapping(["email", "user_id", "name", "tags", "plan", "seats"], Rules(null_as_empty=True))
    rows = [(ADA, None, None, None, None, float("nan")), (ADA, "", " ", "", "pro", 0)]
    assert [row.values for row in mapping.map(rows, 1)] == [
        (ADA, None, "", None, "", ""),
        (ADA, None, "", None, "pro", 0),
    ]
    [row] = mapping.map(rows[:1], 1)
    assert contact(mapping, row) == {"email": ADA, "name": "", "attributes": {"plan": "", "seats": ""}}


def test_a_missing_email_stays_missing() -> None:
    [row] = FieldMapping(["email"], Rules(null_as_empty=True)).map([(None,)], 1)
    assert (row.email, row.values) == (None, (None,))
    assert [problem.reason for problem in row.problems] == ["missing_email"]


def test_a_row_has_all_its_problems() -> None:
    mapping = FieldMapping(COLUMNS)
    bad = ("x" * 129, "ada@", 7, 7.5, [7], dt.datetime(2024, 1, 1), {})
    good = ("pro", ADA, "Ada", 7, [], None, None)
    first, second, third = mapping.map([bad, good, (None, None, None, None, None, None, b"")], 5)
    assert [row.number for row in (first, second, third)] == [5, 6, 7]
    assert [(problem.field, problem.reason) for problem in first.problems] == list(
        zip(
            FIELDS,
            [
                "malformed_email",
                "bad_value",
                "bad_value",
                "bad_value",
                "text_too_long",
                "bad_value",
                "nested_value",
            ],
            strict=True,
        )
    )
    assert second.problems == ()
    assert [problem.field for problem in third.problems] == ["email", "attributes.NOTE"]


MOMENTS = st.datetimes(timezones=st.none() | st.timezones())
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.decimals()
    | st.text(st.characters())
    | st.text(st.characters(exclude_categories=[]), max_size=5)
    | st.sampled_from(["x" * 128, "x" * 129, "é" * 129, "a,b", '["a"]', "[a", "\ud800", 10**126, 10**5000])
    | st.sampled_from([pd.NA, pd.NaT, np.float64(1.5), np.int64(7), np.datetime64("2024-01-01"), object()])
    | st.binary(max_size=5)
    | st.dates()
    | st.times()
    | st.timedeltas()
    | MOMENTS
    | st.uuids()
)
ANYTHING = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
EMAILS = st.sampled_from([ADA, " Ben@Northwind.test", "", "ada"]) | ANYTHING


def sources(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    return st.lists(st.tuples(values, EMAILS, *[values] * (len(COLUMNS) - 2)), max_size=12)


OF_ONE_TYPE = st.sampled_from(
    [
        st.text(max_size=3),
        st.sampled_from(["x" * 128, "x" * 129, "é"]),
        st.integers(-(2**54), 2**54),
        st.booleans(),
        st.floats(),
        st.none(),
    ]
).flatmap(lambda values: sources(values | st.none()))
OPTIONS = st.fixed_dictionaries(
    {
        "timezone": st.sampled_from([None, "UTC", "Europe/Rome"]),
        "null_as_empty": st.booleans(),
        "truncate_text": st.booleans(),
        "tags": st.sampled_from([(), ("vip",)]),
    }
)


def assert_json_values(values: Sequence[Any]) -> None:
    for value in values:
        if isinstance(value, list):
            assert value
            assert {type(tag) for tag in value} == {str}
        else:
            assert type(value) in (str, int, float, bool, type(None))
        # Every reader gives back what was written: no NaN, no integer that is rounded.
        assert msgspec.json.decode(msgspec.json.encode(value)) == value
        assert not isinstance(value, int) or abs(value) <= 2**53


@settings(max_examples=200)
@given(rows=sources(ANYTHING) | OF_ONE_TYPE, options=OPTIONS)
def test_any_row_maps_to_one_row_of_json(rows: list[tuple[Any, ...]], options: dict[str, Any]) -> None:
    mapping = FieldMapping(COLUMNS, Rules(**options))
    mapped = mapping.map(rows, 1)
    assert [row.number for row in mapped] == list(range(1, len(rows) + 1))
    for row in mapped:
        assert len(row.values) == len(mapping.fields) == len(FIELDS)
        assert_json_values(row.values)
        assert row.values[0] == row.email
        fields = [problem.field for problem in row.problems]
        assert fields == [field for field in FIELDS if field in fields]
        if not row.problems:
            assert row.email
            assert contact_problem(contact(mapping, row)) is None
        assert msgspec.json.decode(msgspec.json.encode(contact(mapping, row))) == contact(mapping, row)


@settings(max_examples=200)
@given(rows=sources(ANYTHING) | OF_ONE_TYPE, options=OPTIONS, size=st.integers(1, 5))
def test_chunks_make_no_difference(rows: list[tuple[Any, ...]], options: dict[str, Any], size: int) -> None:
    whole, parts = FieldMapping(COLUMNS, Rules(**options)), FieldMapping(COLUMNS, Rules(**options))
    at_once = whole.map(rows, 1)
    by_parts = [
        row for start in range(0, len(rows), size) for row in parts.map(rows[start : start + size], start + 1)
    ]
    assert [(row, msgspec.json.encode(row.values)) for row in at_once] == [
        (row, msgspec.json.encode(row.values)) for row in by_parts
    ]
    assert whole.truncated == parts.truncated


SECRET = "s3cr3t"
SECRETS = [
    SECRET,
    SECRET * 30,
    SECRET + "\ud800",
    SECRET.encode(),
    [SECRET],
    [[SECRET]],
    {SECRET: SECRET},
    f"[{SECRET}",
    f'{{"a": "{SECRET}"}}',
    31415926535897.5,
    3141592653589 * 10**125,
    dt.datetime(3141, 5, 9),
    uuid.UUID(int=31415926535897),
]


@pytest.mark.parametrize("value", SECRETS, ids=range(len(SECRETS)))
def test_no_problem_quotes_a_value(value: Any) -> None:
    [row] = FieldMapping(COLUMNS).map([(value,) * len(COLUMNS)], 1)
    assert row.problems
    for problem in row.problems:
        assert not any(part in problem.message for part in (SECRET, "3141")), problem
        assert problem.message.endswith(".")


def test_booleans_of_databases_that_have_none() -> None:
    mapping = FieldMapping(["email", "active", "seats"], Rules(booleans=["active"]))
    values = [1, 0, None, True, b"\x01", b"\x00", Decimal(1), " TRUE ", "false", "0"]
    rows = mapping.map([(f"u{n}@shop.test", value, 1) for n, value in enumerate(values)], 1)
    assert [row.values[1] for row in rows] == [True, False, None, True, True, False, True, True, False, False]
    assert all(type(row.values[1]) in (bool, type(None)) and row.values[2] == 1 for row in rows)

    wrong = mapping.map(
        [(f"u{n}@shop.test", value, 1) for n, value in enumerate([2, "yes", 0.5, b"\x02", []])], 1
    )
    assert [(row.problems[0].reason, row.problems[0].field) for row in wrong] == [
        ("bad_value", "attributes.active")
    ] * 5


@pytest.mark.parametrize("column", ["Active", "email", "note"])
def test_booleans_are_attributes_of_the_source(column: str) -> None:
    with pytest.raises(ValueError, match=f"booleans names the column '{column}', which is not mapped"):
        FieldMapping(["email", "active", "note"], Rules(booleans=[column], field_mapping={"note": None}))
