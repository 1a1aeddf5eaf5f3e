"""What an answer says of each row, whatever shape its list of refusals has."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_customerly.delivery.outcomes import Verdict, judge
from airflow_provider_customerly.values.rows import Outgoing, Problem


def row(number: int, **contact: Any) -> Outgoing:
    named = {"email": f"c{number}@x.test", "user_id": f"id-{number}"}
    return Outgoing.of(number, bytes([number]), named | contact)


def rows(count: int) -> list[Outgoing]:
    return [row(number) for number in range(1, count + 1)]


def numbers(verdict: Verdict) -> tuple[list[int], list[int], list[list[int]]]:
    return (
        [row.number for row in verdict.accepted],
        sorted(settled.row.number for settled in verdict.refused),
        [[row.number for row in group] for group in verdict.again],
    )


def refusal(sent: Outgoing, listed: Any) -> Problem:
    (settled,) = judge([sent], {"inserted": 0, "errors": listed}).refused
    assert settled.problem is not None
    return settled.problem


NAMED = [
    ["c2@x.test"],
    "c2@x.test",
    [" C2@X.test "],
    [{"email": "C2@x.test", "message": "bad"}],
    {"email": "c2@x.test", "message": "bad"},
    [{"email": "c2@x.test", "user_id": "id-9", "error": {"message": "bad", "code": 0}}],
    [{"email": "holder@x.test", "user_id": "id-2", "reason": "taken"}],
    [{"Email": "c2@x.test", "Message": ["bad", "worse"]}],
    [{"user": {"email": "c2@x.test", "user_id": "id-2"}, "error": "bad"}],
    [{"user": {"email": "c2@x.test"}, "error": {"message": "bad", "code": 7}}],
    [{"email": "c2@x.test", "error": {"message": "bad", "holder": {"email": "c3@x.test"}}}],
    {"message": "1 contact was not added", "users": [{"email": "c2@x.test"}]},
    {"message": "1 contact was not added", "users": ["c2@x.test"]},
    {"c2@x.test": "bad"},
    {"c2@x.test": {"message": "bad"}},
    {"c2@x.test": {"email": ["taken", "c3@x.test has it"]}},
    {"c2@x.test": {"holder": {"email": "c3@x.test"}, "email": "c4@x.test"}},
    {"c2@x.test": None},
    {"c2@x.test": []},
    {"users": {"c2@x.test": ["bad"]}},
    {"3": {"email": "c2@x.test", "message": "bad"}},
    [["c2@x.test"]],
    [{"user_id": "id-2"}],
]


@pytest.mark.parametrize("key", ["not_added", "errors"])
@pytest.mark.parametrize("listed", NAMED, ids=str)
def test_a_named_row_is_refused_and_the_others_are_accepted(key: str, listed: Any) -> None:
    for inserted in (3, "3", 4):
        assert numbers(judge(rows(4), {"inserted": inserted, key: listed})) == ([1, 3, 4], [2], [])


@pytest.mark.parametrize(
    "nothing", [None, [], {}, "", 0, "0", False, {"count": 0}, {"users": [], "leads": {}}]
)
def test_an_empty_list_refuses_nobody(nothing: Any) -> None:
    answer = {"inserted": 4, "not_added": nothing, "errors": nothing}
    assert numbers(judge(rows(4), answer)) == ([1, 2, 3, 4], [], [])


@pytest.mark.parametrize(
    "listed",
    [
        ["email is not valid"],
        [{"message": "email is not valid"}],
        [None],
        [[]],
        [True],
        1,
        "1",
        {"count": 1},
        ["elsewhere@x.test"],
        ["c1@x.test or c2@x.test"],
        ["xc1@x.test, c1@x.test.uk, o'c1@x.test and a+c1@x.test are none of them"],
        {"id-1": "bad"},
    ],
    ids=str,
)
@pytest.mark.parametrize("inserted", [3, 4])
def test_a_refusal_that_names_nobody_leaves_all_open(listed: Any, inserted: int) -> None:
    answer = {"inserted": inserted, "errors": listed}
    assert numbers(judge(rows(4), answer)) == ([], [], [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    "listed",
    [
        ["the user_id belongs to c2@x.test."],
        ["'C2@X.TEST' is not valid"],
        ["id-2"],
        [{"message": "taken", "holder": {"email": "c2@x.test"}}],
        {"taken": ["c2@x.test"]},
        [{"message": "taken", "error": {"email": "c2@x.test"}}],
    ],
    ids=str,
)
def test_a_row_that_is_only_mentioned_is_asked_for_alone(listed: Any) -> None:
    assert numbers(judge(rows(4), {"inserted": 3, "errors": listed})) == ([], [], [[2], [1, 3, 4]])


def test_the_other_side_of_a_conflict_is_asked_for_alone() -> None:
    entry = {"error": "taken", "contact": {"email": "c2@x.test"}, "holder": {"email": "c3@x.test"}}
    answer = {"inserted": 3, "errors": [entry]}
    assert numbers(judge(rows(4), answer)) == ([], [2], [[3], [1, 4]])


def test_a_row_in_both_lists_is_refused_once() -> None:
    answer = {"inserted": 2, "not_added": ["c2@x.test"], "errors": {"c2@x.test": "email is taken"}}
    verdict = judge(rows(3), answer)
    assert numbers(verdict) == ([1, 3], [2], [])
    assert verdict.refused[0].problem == Problem("refused", "email", "email is taken")


def test_a_mention_of_a_row_that_is_named_gives_the_words() -> None:
    answer = {"inserted": 2, "not_added": ["c2@x.test"], "errors": ["The email c2@x.test is taken"]}
    verdict = judge(rows(3), answer)
    assert numbers(verdict) == ([1, 3], [2], [])
    assert verdict.refused[0].problem == Problem("refused", "email", "The email <email> is taken")


@pytest.mark.parametrize(
    "inserted", [None, "many", True, [], {"count": 4}, -1, 2, "2", 7, math.nan, math.inf, 10**400]
)
def test_no_row_is_accepted_that_is_not_counted(inserted: Any) -> None:
    assert numbers(judge(rows(4), {"inserted": inserted})) == ([], [], [[1, 2], [3, 4]])
    assert judge(rows(6), {"inserted": inserted, "errors": ["c1@x.test"]}).accepted == []


def test_named_rows_are_not_sent_again_with_the_others() -> None:
    answer = {"inserted": 1, "errors": [{"email": "c2@x.test"}, {"message": "bad"}]}
    assert numbers(judge(rows(4), answer)) == ([], [2], [[1], [3, 4]])
    assert numbers(judge(rows(4), answer | {"inserted": 3})) == ([], [2], [[1, 3, 4]])


def test_a_name_that_two_rows_share_names_neither() -> None:
    sent = [row(1), row(2, email="C1@x.test", user_id="id-1"), row(3)]
    for listed in (["c1@x.test"], [{"user_id": "id-1"}]):
        assert numbers(judge(sent, {"inserted": 2, "errors": listed})) == ([], [], [[1], [2, 3]])


def test_one_row_alone() -> None:
    assert numbers(judge(rows(1), {"inserted": "1"})) == ([1], [], [])
    assert numbers(judge(rows(1), {"inserted": 2})) == ([1], [], []), "a server may count an update twice"
    assert numbers(judge(rows(1), {"inserted": 0})) == ([], [], [[1]])
    assert numbers(judge(rows(1), {})) == ([], [], [[1]])
    for listed in (["bad"], [{"message": "bad"}], 1, ["c9@x.test"], [None]):
        assert numbers(judge(rows(1), {"inserted": 1, "errors": listed})) == ([], [1], [])


@pytest.mark.parametrize(
    ("listed", "field", "message"),
    [
        (["email is not valid"], "email", "email is not valid"),
        (["The user ID is taken"], "user_id", "The user ID is taken"),
        (["Name must be text"], "name", "Name must be text"),
        (["tags must be a list"], "tags", "tags must be a list"),
        (["attributes must be an object"], "attributes", "attributes must be an object"),
        (["attribute 'plan' is too long"], "attributes.plan", "attribute 'plan' is too long"),
        (['The attribute name "two words" is bad'], "attributes.two words", None),
        (["attributes.plan: too long"], "attributes.plan", None),
        (["attribute 'colour' is unknown"], None, None),
        (["Something else"], None, "Something else"),
        (["one@x.test: email is taken"], "email", "<email>: email is taken"),
        ([{"field": "plan", "message": "too long"}], "attributes.plan", "too long"),
        ([{"attribute": "plan", "message": "too long"}], "attributes.plan", "too long"),
        ([{"field": "Ada", "message": "too long"}], None, "too long"),
        ({"one@x.test": {"attributes.plan": ["too long"]}}, "attributes.plan", "too long"),
        ({"one@x.test": {"email": "taken"}}, "email", "taken"),
        ({"email": ["is taken"]}, "email", "is taken"),
        ({"plan": "too long"}, "attributes.plan", "too long"),
        ({"id-1": "email is taken"}, "email", "email is taken"),
        ([{"email": "one@x.test", "errors": [{"field": "name", "message": "bad"}]}], "name", "bad"),
    ],
)
def test_the_field_and_the_words_are_the_vendors(listed: Any, field: str | None, message: str | None) -> None:
    sent = Outgoing.of(1, b"k", {"email": "one@x.test", "attributes": {"plan": "gold", "two words": 1}})
    problem = refusal(sent, listed)
    assert (problem.reason, problem.field) == ("refused", field)
    assert message in (None, problem.message)


@pytest.mark.parametrize(
    "listed", [["one@x.test"], [{"email": "one@x.test"}], {"one@x.test": ""}, 1, "1", [7], [None]], ids=str
)
def test_a_refusal_without_words_says_so(listed: Any) -> None:
    problem = refusal(Outgoing.of(1, b"k", {"email": "one@x.test", "user_id": "7"}), listed)
    assert problem == Problem("refused", None, problem.message)
    assert "without a reason" in problem.message


def test_no_value_of_the_row_is_in_the_message() -> None:
    contact = {
        "email": "Ada@x.test",
        "user_id": 77,
        "name": "Ada  Byrne",
        "attributes": {"plan": "gold", "phone": 353861234567, "ok": True},
        "tags": ["vip-2"],
    }
    quoted = (
        "ADA@X.TEST / ada%40x.test of ada byrne (id 77, not 771): gold, 353861234567 and vip-2\n"
        "clash with b@x.test; True"
    )
    message = refusal(Outgoing.of(1, b"k", contact), [{"message": quoted + " x" * 300}]).message
    assert message.startswith(
        "<email> / <email> of <name> (id <user_id>, not 771): <value>, <value> and <value> clash with"
        " <email>; True x"
    )
    assert len(message) == 200
    spaced = Outgoing.of(1, b"k", {"email": "not an address"})
    assert refusal(spaced, ["not an address"]).message.startswith("Customerly refused this contact without")


SENT = rows(6)
WORDS = st.sampled_from(
    [row.contact["email"] for row in SENT]
    + [row.contact["user_id"] for row in SENT]
    + ["c9@x.test", "bad", "email c1@x.test is bad", "c1@x.test has the id of c2@x.test", "", "2", "id-1 "]
)
KEYS = st.sampled_from(
    ["email", "user_id", "message", "error", "errors", "field", "user", "users", "0", "7", "other", "code"]
) | st.sampled_from([row.contact["email"] for row in SENT])
LISTED = st.recursive(
    st.none() | st.booleans() | st.integers(0, 7) | st.floats() | WORDS | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
COUNTS = st.integers(-1, 8) | st.integers(-1, 8).map(str) | LISTED


@given(count=st.integers(1, 6), inserted=COUNTS, not_added=LISTED, errors=LISTED)
def test_every_row_has_one_verdict_and_none_is_accepted_uncounted(
    count: int, inserted: Any, not_added: Any, errors: Any
) -> None:
    sent = SENT[:count]
    verdict = judge(sent, {"inserted": inserted, "not_added": not_added, "errors": errors})
    accepted, refused, again = numbers(verdict)
    assert sorted([*accepted, *refused, *(number for group in again for number in group)]) == [
        row.number for row in sent
    ]
    if accepted:
        assert len(accepted) <= int(inserted)
        assert again == []
    assert all(1 <= len(group) < max(2, count) for group in again)
    for settled in verdict.refused:
        assert settled.problem is not None
        assert "@x.test" not in settled.problem.message
        assert settled.row.contact["user_id"] not in settled.problem.message.split()


SHAPES = {
    "objects": lambda bad: [{"email": row.contact["email"], "message": "bad"} for row in bad],
    "ids": lambda bad: [{"user_id": row.contact["user_id"]} for row in bad],
    "emails": lambda bad: [row.contact["email"].upper() for row in bad],
    "messages": lambda bad: [{"message": "bad"} for row in bad],
    "sentences": lambda bad: [f"{row.contact['email']} is bad" for row in bad],
    "by_email": lambda bad: {row.contact["email"]: ["bad"] for row in bad},
    "count": len,
    "silence": lambda bad: None,
    "first_only": lambda bad: [row.contact["email"] for row in bad[:1]],
    "one_sentence": lambda bad: ", ".join(row.contact["email"] for row in bad),
    "conflicts": lambda bad: [f"taken by c{row.number % 40 + 1}@x.test" for row in bad],
}


@given(
    bad=st.sets(st.integers(1, 40), max_size=12),
    shape=st.sampled_from(sorted(SHAPES)),
    key=st.sampled_from(["not_added", "errors"]),
    claims_all=st.booleans(),
)
def test_asking_again_ends_with_each_row_in_its_place(
    bad: set[int], shape: str, key: str, claims_all: bool
) -> None:
    """Against a server that always refuses the same rows, and may count them too if it lists them."""
    claims_all = claims_all and shape not in ("silence", "first_only")
    pending, accepted, refused = [rows(40)], [], []
    while pending:
        sent = pending.pop()
        hit = [row for row in sent if row.number in bad]
        inserted = len(sent) if claims_all else len(sent) - len(hit)
        verdict = judge(sent, {"inserted": str(inserted), key: SHAPES[shape](hit)})
        accepted += [row.number for row in verdict.accepted]
        refused += [settled.row.number for settled in verdict.refused]
        if len(sent) == 1:
            refused += [row.number for group in verdict.again for row in group]
        else:
            pending += verdict.again
    assert (sorted(accepted), sorted(refused)) == (sorted(set(range(1, 41)) - bad), sorted(bad))
