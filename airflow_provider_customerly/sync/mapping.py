"""Which column of the source goes to which field of a contact."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any

from airflow_provider_customerly.client.endpoints import check_contact_type
from airflow_provider_customerly.sync.clock import Clock
from airflow_provider_customerly.sync.email import emails
from airflow_provider_customerly.sync.rows import MappedRow, Problem
from airflow_provider_customerly.sync.tags import Tags, check_tags
from airflow_provider_customerly.sync.unsendable import Converted
from airflow_provider_customerly.sync.values import Attribute, names, user_ids

_OWN = ("email", "user_id", "name", "tags")
"""The fields of a contact that are no attributes, in the order of `FieldMapping.fields`."""
_PREFIX = "attributes."
_ATTRIBUTE_NAME = re.compile(r"[A-Za-z0-9_]+")
_READ_ONLY = re.compile(
    r"first_seen_at|last_activity|last_page_viewed.*|os|country|region|city|timezone|browser_language",
    re.IGNORECASE,  # whether Customerly tells COUNTRY from country is not known
)

_Convert = Callable[[Sequence[Any]], Converted]


class FieldMapping:
    """Which column goes to which field of a contact, with the rules for its values.

    A column named email, user_id, name or tags, in whatever case, goes to that field, any other to the
    attribute of its name. The values of a row are JSON values only, and depend on nothing but the row.

    :param columns: names of the source's columns, in the order of its rows.
    :param field_mapping: column to field where that is not wanted: `email`, `user_id`, `name`, `tags`,
        `attributes.` and a name, or None to leave the column out.
    :param tags: tags that every contact gets after its own.
    :param timezone: the zone of dates and of times that have none.
    :param null_as_empty: send "" for names and attributes without a value, which are left out otherwise.
    :param truncate_text: cut text that is too long for an attribute instead of refusing the row.
    :raises ValueError: the columns cannot be mapped so; the text says which and what to do.
    """

    fields: tuple[str, ...]
    """The fields mapped: `email`, then `user_id`, `name` and `tags`, then the attributes in column order."""
    truncated: Counter[str]
    """How many values of the rows mapped so far were cut, by field."""

    def __init__(
        self,
        columns: Sequence[str],
        *,
        contact_type: str = "users",
        field_mapping: Mapping[str, str | None] | None = None,
        tags: Sequence[str] = (),
        timezone: str | None = None,
        null_as_empty: bool = False,
        truncate_text: bool = False,
    ) -> None:
        check_field_mapping(field_mapping, contact_type, tags)
        positions = _choose(columns, field_mapping or {}, contact_type)
        own = [field for field in _OWN if field in positions or (field == "tags" and tags)]
        attributes = [field for field in positions if field not in _OWN]

        self.fields = (*own, *attributes)
        self.truncated = Counter()
        self._width = len(columns)
        self._own = tuple(own)
        self._attributes = tuple(field.removeprefix(_PREFIX) for field in attributes)

        clock = Clock(timezone)
        converters: dict[str, _Convert] = {
            "email": emails,
            "user_id": user_ids,
            "name": names,
            "tags": Tags(tags),
        }
        for field in attributes:
            converters[field] = Attribute(field, clock, truncate_text=truncate_text, truncated=self.truncated)
        if null_as_empty:
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


def check_field_mapping(
    field_mapping: Mapping[str, str | None] | None, contact_type: str, tags: Sequence[str]
) -> None:
    """Check all that can be said before the source's columns are known; the parameters are `FieldMapping`'s.

    :raises ValueError: says which column, and what to do.
    """
    check_contact_type(contact_type)
    check_tags(tags)
    if field_mapping is None:
        return
    if not isinstance(field_mapping, Mapping):
        raise ValueError(
            f"field_mapping is {field_mapping!r}: give a dictionary of column to field, such as "
            '{"email_address": "email"}.'
        )
    taken: dict[str, str] = {}
    for column, field in field_mapping.items():
        if field is not None:
            _check_field(column, field, contact_type)
            _take(taken, field, column)


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
            _check_field(column, field, contact_type)
            _take(taken, field, column)
            positions[field] = position
    if "email" not in positions:
        raise ValueError(
            "No column is mapped to email, by which Customerly knows a contact: name one in field_mapping, "
            f'such as {{"email_address": "email"}}. The source has: {listed}.'
        )
    return positions


def _default_field(column: str) -> str:
    return column.lower() if column.lower() in _OWN else _PREFIX + column


def _check_field(column: object, field: object, contact_type: str) -> None:
    if field == "user_id" and contact_type == "leads":
        raise ValueError(
            f"The column {column!r} would go to user_id, which a lead does not have: leave it out with "
            f"field_mapping={{{column!r}: None}}, or map it to an attribute."
        )
    if field in _OWN:
        return
    if not isinstance(field, str) or not field.startswith(_PREFIX):
        raise ValueError(
            f"field_mapping maps the column {column!r} to {field!r}, which is no field of a contact: use one "
            f"of {', '.join(_OWN)}, {_PREFIX}<name>, or None to leave it out."
        )
    name = field.removeprefix(_PREFIX)
    instead = f"name another in field_mapping={{{column!r}: 'attributes.<name>'}}, or leave it out with None."
    if not _ATTRIBUTE_NAME.fullmatch(name):
        raise ValueError(
            f"The column {column!r} would go to the attribute {name!r}, but the name of an attribute has "
            f"only the letters A to Z, digits and underscores: {instead}"
        )
    if _READ_ONLY.fullmatch(name):
        raise ValueError(
            f"The column {column!r} would go to the attribute {name!r}, which Customerly sets itself and "
            f"nobody can write: {instead}"
        )


def _take(taken: dict[str, str], field: str, column: str) -> None:
    if field in taken:
        raise ValueError(
            f"The columns {taken[field]!r} and {column!r} would both go to {field}: leave one out with "
            f"field_mapping={{{column!r}: None}}, or map it to another field."
        )
    taken[field] = column


def _null_as_empty(convert: _Convert, values: Sequence[Any]) -> Converted:
    converted = convert(values)
    if None not in converted.values:
        return converted
    return Converted(["" if value is None else value for value in converted.values], converted.problems)


def _present(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}
