"""JSON that is almost JSON: one odd value costs none of the others."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_customerly.client.json_text import DEEPEST, NOT_READABLE, readable

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def unreadable(text: str) -> dict[str, str]:
    return {"unreadable": text}


@pytest.mark.parametrize(
    ("odd", "kept"),
    [
        (rb'"Ada \ud83d"', unreadable("Ada \\ud83d")),
        (rb'"\udc00\n\u00e9"', unreadable("\\udc00\né")),
        (rb'"\ud83d \ude00"', unreadable("\\ud83d \\ude00")),
        (b'"Jos\xe9"', unreadable("Jos\\xe9")),
        (b'"\xed\xa0\xbd\xed\xb8\x80"', unreadable("\\xed\\xa0\\xbd\\xed\\xb8\\x80")),
        (b'"\xc0\x80"', unreadable("\\xc0\\x80")),
        (rb'"\x41 \u00"', unreadable("\\x41 \\u00")),
        (b'"two\nlines\tand \x01"', "two\nlines\tand \x01"),
        (b"NaN", unreadable("NaN")),
        (b"-Infinity", unreadable("-Infinity")),
        (b"1e999", unreadable("1e999")),
        (b"9" * 5_000, unreadable("9" * 5_000)),
        (b"007", unreadable("007")),
        (b".5", unreadable(".5")),
        (rb'"\ud83d\ude00 \\ud83d \"]}"', '😀 \\ud83d "]}'),
        (b"9" * 40, int("9" * 40)),
    ],
)
def test_an_odd_value_is_kept_as_text_and_its_neighbours_as_they_are(odd: bytes, kept: object) -> None:
    text, count = readable(b'{"a":["x",{"b":%b}],"c":"d"}' % odd)
    assert msgspec.json.decode(text) == {"a": ["x", {"b": kept}], "c": "d"}
    assert count == (kept not in ('😀 \\ud83d "]}', int("9" * 40)))


@pytest.mark.parametrize("depth", [DEEPEST + 1, 1_500, 100_000])
@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"k":', b"}")])
def test_what_is_nested_too_deeply_is_kept_as_text_from_there(
    depth: int, opened: bytes, closed: bytes
) -> None:
    deep = opened * depth + b'"]\\"["' + closed * depth
    text, count = readable(b'{"a":[%b,{"b":%b}],"c":1}' % (deep, deep))
    value = msgspec.json.decode(text)
    assert (value["c"], count) == (1, 2)
    levels = 2
    inner: Any = value["a"][0]
    while "unreadable" not in inner:
        levels, inner = levels + 1, inner[0] if isinstance(inner, list) else inner["k"]
    assert levels == DEEPEST
    assert opened * (levels - 2) + inner["unreadable"].encode() + closed * (levels - 2) == deep


def test_an_odd_name_is_spelled_out() -> None:
    text, count = readable(b'{"\\ud800" : "\\ud800", "\xff":1}')
    assert (msgspec.json.decode(text), count) == ({"\\ud800": unreadable("\\ud800"), "\\xff": 1}, 3)


def test_a_byte_order_mark_goes() -> None:
    assert readable(b'\xef\xbb\xbf{"a":1}') == (b'{"a":1}', 0)


@pytest.mark.parametrize(
    "text",
    [b"", b"<html>", b'{"a":', b'{"a":"\\', b'"' * 9, b"]]]]", b"{]", b'{"a":tru}', b'{"a":1,}', b"\xff"],
)
def test_what_is_no_json_comes_back_as_it_is(text: bytes) -> None:
    assert readable(text) == (text, 0)


@given(JSON_VALUES)
def test_json_comes_back_as_it_is(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        try:
            encoded = text.encode()
            msgspec.json.decode(encoded)
        except NOT_READABLE:  # half a character, or a number beyond the decoder
            continue
        assert readable(encoded) == (encoded, 0)


@given(st.binary(max_size=200) | st.text('"\\[]{}:, \nud8xNaInfinity-1e.').map(str.encode))
def test_whatever_comes_it_ends_and_a_second_time_changes_nothing(text: bytes) -> None:
    once, _ = readable(b'{"a":' + text + b"}")
    twice, count = readable(once)
    try:
        msgspec.json.decode(once)
    except NOT_READABLE:
        return
    assert (twice, count) == (once, 0)


def test_time_grows_with_the_length_of_text_that_never_ends() -> None:
    """Counted, not timed: a scanner that began anew at each quote would not come back."""
    for text in (b'{"a":"' + b'\\"' * 500_000, b"[" * 500_000, b'{"' + b"\\" * 500_001 + b'"'):
        assert readable(text) == (text, 0)


@pytest.mark.parametrize("seed", range(20))
def test_one_damaged_value_among_many_is_the_only_one_that_changes(seed: int) -> None:
    draw = random.Random(seed)
    people = [{"id": n, "name": f"n{n}", "note": {"deep": [n, [n]]}} for n in range(50)]
    hit = draw.randrange(50)
    odd = draw.choice([rb'"\udfff"', b'"\xfe"', b"NaN", b"[" * 400 + b"]" * 400])
    text = json.dumps(people).encode().replace(b'"n%d"' % hit, odd)
    read = msgspec.json.decode(readable(text)[0])
    assert [one for n, one in enumerate(read) if n != hit] == [
        one for n, one in enumerate(people) if n != hit
    ], seed
