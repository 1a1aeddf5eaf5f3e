"""Map columns of the source to fields of a contact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from airflow_provider_customerly.sync.rules import OWN, PREFIX, Rules, check_field, take
from airflow_provider_customerly.values.dates import Clock
from airflow_provider_customerly.values.email import emails
from airflow_provider_customerly.values.fields import Attribute, booleans, names, user_ids
from airflow_provider_customerly.values.rows import MappedRow, Problem
from airflow_provider_customerly.values.tags import Tags
from airflow_provider_customerly.values.unsendable import Converted

_BY_NAME = Rules()
_Convert = Callable[[Sequence[Any]], Converted]


class MappedColumns(NamedTuple):
    """Rows of the source as they would be sent.

    :param columns: for each field, email first, a JSON value per row; None if there is nothing to send.
    :param problems: why rows cannot be sent, by their position.
    """

    columns: list[Sequence[Any]]
    problems: dict[int, list[Problem]]

    def row(self, index: int, number: int) -> MappedRow:
        """Return one row.

        :param number: its position in the source, from 1.
        """
        values = tuple(column[index] for column in self.columns)
        return MappedRow(number, values[0], values, tuple(self.problems.get(index, ())))


class FieldMapping:
    """Map each column to a field of a contact, with the rules for its values.

    A column named email, user_id, name or tags, in any case, maps to that field, and any other to the
    attribute with its name. The mapped values are JSON values, and depend only on the row.

    :param columns: column names of the source, in order.
    :raises ValueError: the columns cannot be mapped. The message says which, and what to do.
    """

    fields: tuple[str, ...]
    """The mapped fields: ``email``, ``user_id``, ``name``, ``tags``, then the attributes in column order."""
    truncated: Counter[str]
    """Number of truncated values so far, by field."""

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
        """Map rows of the source, and return one row with all its problems for each.

        :param first_number: position of the first row in the source, from 1.
        """
        mapped = self.map_columns(rows)
        return [mapped.row(index, first_number + index) for index in range(len(rows))]

    def map_columns(self, rows: Sequence[Sequence[Any]]) -> MappedColumns:
        """Map rows of the source, column by column."""
        if odd := set(map(len, rows)) - {self._width}:
            raise ValueError(f"A row has {min(odd)} values for {self._width} columns: read rows as tuples.")
        # One list, sliced: zip(*rows) has an iterator for each row, and so many wake the garbage collector.
        flat = list(chain.from_iterable(rows))
        columns = [flat[position :: self._width] for position in range(self._width)]
        nothing = (None,) * len(rows)
        converted = []
        problems: dict[int, list[Problem]] = {}
        for _, position, convert in self._steps:
            column = convert(nothing if position is None else columns[position])
            converted.append(column.values)
            for row, problem in column.problems.items():
                problems.setdefault(row, []).append(problem)
        return MappedColumns(converted, problems)

    def contacts(self, encoded: Sequence[Sequence[bytes]]) -> list[bytes]:
        """Return the JSON to send for each row, without fields that have no value.

        :param encoded: the JSON of each field's values, in the order of ``fields``.
        """
        own, attributes = encoded[: len(self._own)], encoded[len(self._own) :]
        if not attributes:
            return _objects(self._own, own)
        nested = [b"null" if text == b"{}" else text for text in _objects(self._attributes, attributes)]
        return _objects((*self._own, "attributes"), [*own, nested])


def _choose(
    columns: Sequence[str], field_mapping: Mapping[str, str | None], contact_type: str
) -> dict[str, int]:
    """Return the position of the column for each field, in column order."""
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
            "No column is mapped to email, by which Customerly identifies contacts. Map one with "
            f'field_mapping, such as {{"email_address": "email"}}. The source has: {listed}.'
        )
    return positions


def _fields_of(flags: Sequence[str], columns: Sequence[str], positions: Mapping[str, int]) -> Iterator[str]:
    """Return the attributes whose values are booleans."""
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


def _objects(names: Sequence[str], columns: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Return the JSON of an object for each row, without members that are null."""
    always: list[tuple[bytes, Sequence[bytes]]] = []
    sometimes: list[tuple[bytes, Sequence[bytes]]] = []
    for name, column in zip(names, columns, strict=True):
        start = msgspec.json.encode(name) + b":"
        (sometimes if b"null" in column else always).append((start, column))
    if not always:
        members = [[text != b"null" and start + text for text in column] for start, column in sometimes]
        return [b"{%b}" % b",".join(filter(None, row)) for row in zip(*members, strict=True)]
    template = b",".join(start.replace(b"%", b"%%") + b"%b" for start, _ in always)
    rest = [
        [b"" if text == b"null" else b",%b%b" % (start, text) for text in column]
        for start, column in sometimes
    ]
    template = b"{%b%b}" % (template, b"%b" * len(rest))
    return [template % row for row in zip(*(column for _, column in always), *rest, strict=True)]
