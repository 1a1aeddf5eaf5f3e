"""Values that cannot be sent, and the conversion of columns that may contain them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from airflow_provider_customerly.values.rows import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_customerly.values.rows import Reason


class Converted(NamedTuple):
    """A column as it would be sent.

    :param values: a JSON value for each row.
    :param problems: the problem of a row's value, by the row's position.
    """

    values: Sequence[Any]
    problems: dict[int, Problem]


class Unreadable:
    """A placeholder for a value that could not be read. Only its row is rejected.

    :param message: what is wrong and what to do.
    """

    def __init__(self, message: str) -> None:
        self.message = message


class Unsendable(ValueError):  # noqa: N818
    """The value cannot be sent; carries the parts of a ``Problem``."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.message = message


def refusal(value: Any) -> Unsendable:
    """Return the error for a value whose type cannot be sent."""
    if isinstance(value, Unreadable):
        return Unsendable("bad_value", value.message)
    if isinstance(value, bytes | bytearray | memoryview):
        return Unsendable("bad_value", "The value is bytes. Convert it to text in the query.")
    if isinstance(value, Mapping | Sequence | Set | np.ndarray):
        return Unsendable(
            "nested_value",
            "The value is nested, but Customerly only takes flat values. Extract what you need in the query.",
        )
    kind = type(value).__name__
    return Unsendable("bad_value", f"A value of type {kind} cannot be sent. Convert it to text in the query.")


def checked_text(text: str) -> str:
    """Return the text, or raise ``Unsendable`` if it cannot be encoded."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Unsendable(
                "bad_value",
                "The text is not valid Unicode. Fix it in the source, or drop it in the query.",
            ) from None
    return text


def one_by_one(
    field: str,
    convert: Callable[[Any], Any],
    values: Sequence[Any],
    positions: Iterable[int] | None = None,
) -> Converted:
    """Convert one value at a time; a value that cannot be sent becomes None.

    :param positions: positions of the values to convert, all by default; the others are sent unchanged.
    """
    converted = list(values)
    problems: dict[int, Problem] = {}
    for position in range(len(converted)) if positions is None else positions:
        try:
            converted[position] = convert(converted[position])
        except Unsendable as problem:
            converted[position] = None
            problems[position] = Problem(problem.reason, field, problem.message)
    return Converted(converted, problems)
