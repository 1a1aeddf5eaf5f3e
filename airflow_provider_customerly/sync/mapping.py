"""Which column of the source goes to which field of a contact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any

from airflow_provider_customerly.sync.clock import Clock
from airflow_provider_customerly.sync.email import emails
from airflow_provider_customerly.sync.rows import MappedRow, Problem
from airflow_provider_customerly.sync.rules import OWN, PREFIX, Rules, check_field, take
from airflow_provider_customerly.sync.tags import Tags
from airflow_provider_customerly.sync.unsendable import Converted
from airflow_provider_customerly.sync.values import Attribute, booleans, names, user_ids

_BY_NAME = Rules()
_Convert = Callable[[Sequence[Any]], Converted]


class FieldMapping:
    """Which column goes to which field of a contact, with the rules for its values.

    A column named email, user_id, name or tags, in whatever case, goes to that field, any other to the
    attribute of its name. The values of a row are JSON values only, and depend on nothing but the row.

    :param columns: names of the source's columns, in the order of its rows.
    :raises ValueError: the columns cannot be mapped so; the text says which and what to do.
    """

    fields: tuple[str, ...]
    """The fields mapped: `email`, then `user_id`, `name` and `tags`, then the attributes in column order."""
    truncated: Counter[str]
    """How many values of the rows mapped so far were cut, by field."""

    def __init__(
        self,
        columns: Sequence[str],
        rules: Rules = _BY_NAME,
    ) -> None:
        rules.check()
        positions = _choose(columns, rules.field_mapping or {}, rules.contact_type)
        own = [field for field in OWN if field in positions or (field == "tags" and rules.tags)]
        attributes = [field for field in positions if field not in OWN]

        self.fields = (*own, *attributes)
        self.truncated = Counter()
        self._width = len(columns)
        self._own = tuple(own)
        self._attributes = tuple(field.removeprefix(PREFIX) for field in attributes)

        clock = Clock(rules.timezone)
        converters: dict[str, _Convert] = {
            "email": emails,
            "user_id": user_ids,
            "name": names,
            "tags": Tags(rules.tags),
        }
        for field in attributes:
            converters[field] = Attribute(
                field, clock, truncate_text=rules.truncate_text, truncated=self.truncated
            )
        for field in _fields_of(rules.booleans, columns, positions):
            converters[field] = partial(booleans, field)
        if rules.null_as_empty:
            for field in ("name", *attributes):
                converters[field] = partial(_null_as_empty, converters[field])
        self._steps = [(field, positions.get(field), converters[field]) for field in self.fields]

    def map(self, rows: Sequence[Sequence[Any]], first_number: int) -> list[MappedRow]:
        """Map rows of the source, each to one row with all its problems.

        :param first_number: position of the first of them in the source, from 1.
        """
        if not rows:
            return []
        columns = list(zip(*rows, strict=True))
        if len(columns) != self._width:
            raise ValueError(
                f"A row has {len(columns)} values for {self._width} columns: read rows as tuples."
            )
        nothing = (None,) * len(rows)
        converted = []
        problems: dict[int, list[Problem]] = {}
        for _, position, convert in self._steps:
            column = convert(nothing if position is None else columns[position])
            converted.append(column.values)
            for row, problem in column.problems.items():
                problems.setdefault(row, []).append(problem)
        found = [tuple(problems.get(row, ())) for row in range(len(rows))] if problems else [()] * len(rows)
        # `fields` starts with the email, and so do the columns converted.
        return list(map(MappedRow, count(first_number), converted[0], zip(*converted, strict=True), found))

    def contact(self, row: MappedRow) -> dict[str, Any]:
        """Give what is sent for a row; fields without a value are left out."""
        own, attributes = row.values[: len(self._own)], row.values[len(self._own) :]
        contact = _present(self._own, own)
        if present := _present(self._attributes, attributes):
            contact["attributes"] = present
        return contact


def _choose(
    columns: Sequence[str], field_mapping: Mapping[str, str | None], contact_type: str
) -> dict[str, int]:
    """Give the position of the column for each field, in column order."""
    listed = ", ".join(map(str, columns))
    for column in columns:
        if not isinstance(column, str) or not column.strip():
            raise ValueError("A column of the source has no name: give it one with AS in the query.")
    if repeated := [column for column, times in Counter(columns).items() if times > 1]:
        raise ValueError(
            f"The source has more than one column {repeated[0]!r}: select it once, or rename one with AS."
        )
    if lacking := [column for column in field_mapping if column not in columns]:
        raise ValueError(
            f"field_mapping names the column {lacking[0]!r}, which the source lacks. It has: {listed}. "
            "Upper and lower case count."
        )
    taken: dict[str, str] = {}
    positions: dict[str, int] = {}
    for position, column in enumerate(columns):
        field = field_mapping[column] if column in field_mapping else _default_field(column)
        if field is not None:
            check_field(column, field, contact_type)
            take(taken, field, column)
            positions[field] = position
    if "email" not in positions:
        raise ValueError(
            "No column is mapped to email, by which Customerly knows a contact: name one in field_mapping, "
            f'such as {{"email_address": "email"}}. The source has: {listed}.'
        )
    return positions


def _fields_of(flags: Sequence[str], columns: Sequence[str], positions: Mapping[str, int]) -> Iterator[str]:
    """Give the attributes that hold only yes or no."""
    for column in flags:
        field = next((field for field, at in positions.items() if columns[at] == column), None)
        if field is None or field in OWN:
            raise ValueError(
                f"booleans names the column {column!r}, which is not mapped to an attribute. The source has: "
                f"{', '.join(columns)}. Upper and lower case count."
            )
        yield field


def _default_field(column: str) -> str:
    return column.lower() if column.lower() in OWN else PREFIX + column


def _null_as_empty(convert: _Convert, values: Sequence[Any]) -> Converted:
    converted = convert(values)
    if None not in converted.values:
        return converted
    return Converted(["" if value is None else value for value in converted.values], converted.problems)


def _present(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}
