"""Whatever the API sends, each value comes back: in its column, or as JSON beside it and counted."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_customerly.client import CustomerlyProtocolError
from airflow_provider_customerly.contacts.erasure_record import key_of
from airflow_provider_customerly.export import contact_schema
from airflow_provider_customerly.export.arrays import to_array
from airflow_provider_customerly.export.columns import ATTRIBUTE_TYPES, FIELDS, choose_columns
from airflow_provider_customerly.export.convert import Converter
from airflow_provider_customerly.reading.records import RecordDecoder

PLAIN = {pa.string(): str, pa.int64(): int, pa.bool_(): bool, pa.float64(): float}
PROMOTED = {"plan": "string", "seats": "int64", "score": "float64", "trial": "bool", "renewal": "timestamp"}
UNKNOWN_FIELDS = ["new_field", "class", "two words", "ключ", "__slots__", 'quote"d', "back\\slash", ""]
FIELDS_TO_FILL = sorted(set(FIELDS["users"]) - {"crmhero_user_id", "last_update"})

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ['Ada "the\n first" 🚀', "\\", "0", "1", "007", "-12", "1e3", "53.33", "true", "null", ""]
    ),
    st.sampled_from(
        ["2025-08-05 10:32:01", "2025-08-05T10:32:01+02:00", "2025-08-05", "0000-00-00 00:00:00"]
    ),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(0, 2),
    st.integers(-(2**66), 2**66),
    st.sampled_from([2**53 + 1, 2**63 - 1, 2**63, -(2**63), 1_754_389_921, 10**12]),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=3,
)
ATTRIBUTES = st.one_of(
    st.just([]),
    st.none(),
    st.dictionaries(st.sampled_from([*PROMOTED, "other", "🚀"]), VALUES, max_size=6),
)
FILLED = st.dictionaries(st.sampled_from([*FIELDS_TO_FILL, *UNKNOWN_FIELDS]), VALUES, max_size=8)
WITH_ATTRIBUTES = st.fixed_dictionaries({}, optional={"attributes": ATTRIBUTES})
CONTACTS = st.lists(
    st.tuples(FILLED, WITH_ATTRIBUTES).map(lambda parts: {**parts[0], **parts[1]}), max_size=6
)


def converted(contacts: list[dict[str, Any]]) -> tuple[pa.Table, dict[str, int]]:
    decoder = RecordDecoder(FIELDS["users"])
    records = decoder.decode(json.dumps(contacts).encode())
    converter = Converter(choose_columns("users", attributes=PROMOTED), decoder)
    table = pa.Table.from_batches([converter.convert(records)])
    return table, dict(converter.misfits)


def keyed(contacts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    keys = {"last_update": "2025-08-05 10:32:01"}
    return [{"crmhero_user_id": 2**53 + number, **keys, **one} for number, one in enumerate(contacts)]


@settings(max_examples=100)
@given(contacts=CONTACTS.map(keyed))
def test_no_value_is_lost(contacts: list[dict[str, Any]]) -> None:
    table, misfits = converted(contacts)
    assert table.schema.equals(contact_schema("users", attributes=PROMOTED))
    counted: dict[str, int] = {}
    for contact, row in zip(contacts, table.to_pylist(), strict=True):
        extra, attributes = json.loads(row["extra"]), json.loads(row["attributes"])
        assert attributes == (contact.get("attributes") or {})
        for name in UNKNOWN_FIELDS:
            assert (name in extra, extra.get(name)) == (name in contact, contact.get(name))
        for name in FIELDS_TO_FILL:
            sent = contact.get(name)
            is_misfit = sent is not None and row[name] is None
            assert (name in extra) == is_misfit
            if is_misfit:
                assert json.dumps(extra[name]) == json.dumps(sent)
            counted[name] = counted.get(name, 0) + is_misfit
        for name in PROMOTED:
            is_misfit = attributes.get(name) not in (None, "") and row[name] is None
            counted[name] = counted.get(name, 0) + is_misfit
    assert misfits == {name: count for name, count in counted.items() if count}


@settings(max_examples=100)
@given(contacts=CONTACTS.map(keyed))
def test_what_fits_means_the_same(contacts: list[dict[str, Any]]) -> None:
    table, _ = converted(contacts)
    for contact, row in zip(contacts, table.to_pylist(), strict=True):
        assert row["crmhero_user_id"] == contact["crmhero_user_id"]
        for name in FIELDS_TO_FILL:
            sent, kind = contact.get(name), table.schema.field(name).type
            if PLAIN.get(kind) is type(sent) and not (kind == pa.int64() and abs(sent) >= 2**63):
                assert row[name] == sent
            elif isinstance(sent, list | dict):
                assert row[name] is None


@settings(max_examples=15)
@given(contacts=CONTACTS.map(keyed))
def test_pandas_and_duckdb_read_back_the_same(contacts: list[dict[str, Any]]) -> None:
    table, _ = converted(contacts)
    with TemporaryDirectory() as folder:
        path = str(Path(folder, "contacts.parquet"))
        pq.write_table(table, path)
        frame = pd.read_parquet(path, dtype_backend="pyarrow")
        found = duckdb.sql(f"select * from read_parquet('{path}')").to_arrow_table()
    assert pa.Table.from_pandas(frame, schema=table.schema, preserve_index=False).equals(table)
    assert found.cast(table.schema).equals(table)


def test_one_batch_or_many_make_no_difference() -> None:
    odd: list[dict[str, Any]] = [
        {"latitude": 53.5, "is_user": 1, "city": "Cork"},
        {"latitude": "53.5", "is_user": True, "city": 7},
        {"latitude": "north", "is_user": "1", "city": None},
        {"latitude": True, "is_user": 2, "city": ["Cork"]},
        {},
    ]
    contacts = keyed(odd)
    together, misfits = converted(contacts)
    apart = [converted([contact]) for contact in contacts]
    assert pa.concat_tables([table for table, _ in apart]).equals(together.combine_chunks())
    assert misfits == {"latitude": 2, "is_user": 1, "city": 1}
    for name, count in misfits.items():
        assert sum(counts.get(name, 0) for _, counts in apart) == count


def test_a_field_with_any_name_is_learned_once() -> None:
    decoder = RecordDecoder(FIELDS["users"])
    for value in ("first", "second"):
        page = json.dumps(keyed([{"last_update": "2025-08-05 10:32:01", 'size 12"': value}]))
        [record] = decoder.decode(page.encode())
        assert bytes(getattr(record, decoder.attribute_name('size 12"'))) == json.dumps(value).encode()
    assert decoder.extra_names == ('size 12"',)
    with pytest.raises(CustomerlyProtocolError, match="crmhero_user_id"):
        decoder.decode(json.dumps([{"crmhero_user_id": None, 'size 12"': 1}]).encode())


def test_a_field_that_shows_late_is_kept_in_any_order() -> None:
    decoder = RecordDecoder(FIELDS["users"])
    first, second = keyed([{"city": "Cork"}, {"city": "Galway", "new_field": 5}])
    [early] = decoder.decode(json.dumps([first]).encode())
    [late] = decoder.decode(json.dumps([second]).encode())
    for records in ([early, late], [late, early]):
        rows = Converter(choose_columns("users"), decoder).convert(records).to_pylist()
        assert {row["city"]: row["extra"] for row in rows} == {"Cork": "{}", "Galway": '{"new_field":5}'}


def rows_of(attributes: list[Any], **promoted: str) -> tuple[list[dict[str, Any]], dict[str, int]]:
    decoder = RecordDecoder(FIELDS["users"])
    records = decoder.decode(json.dumps(keyed([{"attributes": one} for one in attributes])).encode())
    converter = Converter(choose_columns("users", attributes=promoted), decoder)
    rows = converter.convert(records).select([*promoted, "attributes"]).to_pylist()
    return rows, dict(converter.misfits)


@pytest.mark.parametrize(
    ("kind", "same", "other"),
    [
        ("int64", [3, 3.0, "3", "3.0", " 3", "+3", "3e0"], [3.5, "3.5", "three", "3 3", "٣"]),
        ("float64", [1.5, "1.5", " 1.5 ", "15e-1", "+1.50"], ["1,5", "one", True, "1_5"]),
        ("bool", [True, 1, 1.0, "1", "1.0", "true", "TRUE", " True "], [2, "2", "yes", "truth"]),
        ("date", ["2024-06-03", " 2024-06-03 ", 1717372800, "1717372800", "1717372800.0"], ["June", True]),
    ],
)
def test_what_means_the_same_is_the_same_value(kind: str, same: list[Any], other: list[Any]) -> None:
    rows, misfits = rows_of([{"it": value} for value in same], it=kind)
    assert len({row["it"] for row in rows} - {None}) == 1
    assert misfits == {}
    rows, misfits = rows_of([{"it": value} for value in other], it=kind)
    assert ({row["it"] for row in rows}, misfits) == ({None}, {"it": len(other)})


@pytest.mark.parametrize("kind", ["int64", "float64", "bool", "timestamp", "date"])
def test_an_attribute_that_a_sync_emptied_is_null_and_no_misfit(kind: str) -> None:
    assert rows_of([{"it": ""}], it=kind) == ([{"it": None, "attributes": '{"it": ""}'}], {})
    assert rows_of([{"it": ""}], it="string") == ([{"it": "", "attributes": '{"it": ""}'}], {})


def test_attributes_that_are_no_object_are_kept_and_counted() -> None:
    odd = ['{"plan": "pro"}', [{"name": "plan", "value": "pro"}], 7, True]
    rows, misfits = rows_of([*odd, {"plan": "free"}, [], {}, None], plan="string")
    assert [json.loads(row["attributes"]) for row in rows] == [*odd, {"plan": "free"}, {}, {}, {}]
    assert [row["plan"] for row in rows] == [None] * 4 + ["free"] + [None] * 3
    assert misfits == {"attributes": 4}


@pytest.mark.parametrize(
    ("attributes", "other"),
    [
        ({"Email": "string"}, "Customerly's field email"),
        ({"EMAIL": "string"}, "Customerly's field email"),
        ({"plan": "string", "Plan": "string"}, "the attribute plan"),
        ({"Extra": "string"}, "Customerly's field extra"),
        ({"snapshot_date": "date"}, "the partition column snapshot_date"),
        ({"Snapshot_Date": "date"}, "the partition column snapshot_date"),
    ],
)
@pytest.mark.parametrize("contact_type", ["users", "leads"])
def test_two_columns_whose_names_differ_by_case_only_are_refused(
    contact_type: str, attributes: dict[str, str], other: str
) -> None:
    with pytest.raises(ValueError, match=f"^attributes: '.*' cannot be a column.*{other}"):
        choose_columns(contact_type, attributes=attributes)


@pytest.mark.parametrize("name", ["", " ", 'two "words"', "back\\slash", "a\nb"])
def test_what_is_no_name_of_an_attribute_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a valid attribute name"):
        choose_columns("users", attributes={name: "string"})


@pytest.mark.parametrize("option", ["columns", "drop_columns", "hash_columns"])
def test_a_choice_of_columns_for_users_serves_leads(option: str) -> None:
    names = ["email", "user_id", "nps_vote"]
    users, leads = (choose_columns(kind, **{option: names}).schema.names for kind in ("users", "leads"))
    assert set(users) - set(leads) <= {"user_id", "nps_vote"}
    assert ("email" in leads) == ("email" in users)
    with pytest.raises(ValueError, match=f"{option} names unknown columns: nobody"):
        choose_columns("leads", **{option: ["nobody"]})


@pytest.mark.parametrize("name", ["plan", "Plan", "pla\u00f1", "two words"])
def test_an_attribute_that_no_contact_has_is_told_with_those_that_exist(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    decoder = RecordDecoder(FIELDS["users"])
    records = decoder.decode(json.dumps(keyed([{"attributes": {"plan": None, "seats": 3}}] * 2)).encode())
    converter = Converter(choose_columns("users", attributes={name: "string", "seats": "int64"}), decoder)
    converter.convert(records)
    converter.warn_of_absent_attributes()
    if name == "plan":
        assert caplog.messages == []
    else:
        [message] = caplog.messages
        assert name in message
        assert message.endswith("Some existing attributes: plan, seats")


@pytest.mark.parametrize("kind", ["int64", "float64", "bool", "timestamp", "date"])
def test_a_number_of_a_million_digits_is_a_misfit(kind: str) -> None:
    array, misfits = to_array(["1" * 1_000_002, "1"], ATTRIBUTE_TYPES[kind], promoted=True)
    assert (array.null_count, misfits) == (1, [0])


@pytest.mark.parametrize("name", ["Größe", "paid/month", "Größe/m"])
@pytest.mark.parametrize("escaped", [False, True])
def test_an_attribute_whose_name_php_escapes_is_there(
    name: str, escaped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    decoder = RecordDecoder(FIELDS["users"])
    page = json.dumps(keyed([{"attributes": {name: 3}}]), ensure_ascii=escaped)
    records = decoder.decode((page.replace("/", "\\/") if escaped else page).encode())
    converter = Converter(choose_columns("users", attributes={name: "int64"}), decoder)
    assert converter.convert(records)[name].to_pylist() == [3]
    converter.warn_of_absent_attributes()
    assert caplog.messages == []


@pytest.mark.parametrize("email", [" Ada@Northwind.TEST ", "ada@northwind.test"])
def test_one_email_has_one_hash_in_exports_and_erasure_records(email: str) -> None:
    decoder = RecordDecoder(FIELDS["users"])
    records = decoder.decode(json.dumps(keyed([{"email": email, "user_id": "A1"}])).encode())
    converter = Converter(choose_columns("users", hash_columns=["email", "user_id"]), decoder, "pepper")
    [row] = converter.convert(records).to_pylist()
    assert row["email"] == key_of("pepper", "email", "ada@northwind.test")
    assert row["user_id"] == key_of("pepper", "user_id", "A1")
