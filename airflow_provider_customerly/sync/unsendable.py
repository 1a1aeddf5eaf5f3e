"""Values that cannot be sent, and how a column of values is converted in spite of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from airflow_provider_customerly.sync.rows import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_customerly.sync.rows import Reason


class Converted(NamedTuple):
    """A column as it would be sent.

    :param values: a JSON value for each row.
    :param problems: what is wrong with a row's value, by the row's position.
    """

    values: Sequence[Any]
    problems: dict[int, Problem]


class Unsendable(ValueError):  # noqa: N818
    """The value cannot be sent; holds what makes a `Problem`."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.message = message


def refusal(value: Any) -> Unsendable:
    """Say why a value whose type has no form in a contact is refused."""
    if isinstance(value, bytes | bytearray | memoryview):
        return Unsendable("bad_value", "Bytes: convert them to text in the query.")
    if isinstance(value, Mapping | Sequence | Set | np.ndarray):
        return Unsendable(
            "nested_value",
            "A nested value: Customerly takes flat ones; pick what is needed from it in the query.",
        )
    kind = type(value).__name__
    return Unsendable("bad_value", f"A value of type {kind} cannot be sent: convert it to text in the query.")


def checked_text(text: str) -> str:
    """Give the text, unless no encoding has a place for it."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Unsendable(
                "bad_value",
                "Text that is no valid Unicode: correct it in the source, or drop it in the query.",
            ) from None
    return text


def one_by_one(field: str, convert: Callable[[Any], Any], values: Sequence[Any]) -> Converted:
    """Convert value by value; what cannot be sent becomes None."""
    converted: list[Any] = []
    problems: dict[int, Problem] = {}
    for position, value in enumerate(values):
        try:
            converted.append(convert(value))
        except Unsendable as problem:
            converted.append(None)
            problems[position] = Problem(problem.reason, field, problem.message)
    return Converted(converted, problems)
