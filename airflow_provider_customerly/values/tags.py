"""Convert lists or text to tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from airflow_provider_customerly.values.plain import plain
from airflow_provider_customerly.values.unsendable import (
    Converted,
    Unsendable,
    checked_text,
    one_by_one,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NO_LIST = (
    "The text starts with a bracket but is not a JSON array. Use a JSON array, a list, or tags separated by "
    "commas."
)
_NO_TEXT = "A tag is not text. Convert it to text in the query."


class Tags:
    """Convert a column to tags: lists, tuples, sets or arrays of text, JSON arrays, or comma-separated text.

    Tags are trimmed; blanks and duplicates are dropped. Tags keep their order, except that those of a set are
    sorted, because sets have a different order in every process. Text that starts with a bracket must be a
    JSON array: splitting a broken one at its commas would yield wrong tags, and tags are hard to undo.

    :param constant: tags that every contact gets after its own.
    """

    def __init__(self, constant: Sequence[str] = ()) -> None:
        self._constant = _cleaned(constant)

    def __call__(self, values: Sequence[Any]) -> Converted:
        """Convert the values of several rows."""
        return one_by_one("tags", self._convert, values)

    def _convert(self, value: Any) -> list[str] | None:
        return list(dict.fromkeys([*_tags(value), *self._constant])) or None


def check_tags(tags: Sequence[str]) -> None:
    """Raise ``ValueError`` unless this is a list of tags."""
    if not isinstance(tags, list | tuple):
        raise ValueError(f'tags is {tags!r}. Set it to a list, such as ["customer"].')
    for tag in tags:
        try:
            usable = bool(_cleaned([tag]))
        except Unsendable:
            usable = False
        if not usable:
            raise ValueError(f"tags contains {tag!r}, which is not a tag. Use text that is not blank.")


def _tags(value: Any) -> list[str]:
    value = plain(value)
    if value is None:
        return []
    if isinstance(value, str):
        return _cleaned(_from_text(value))
    if isinstance(value, np.ndarray):
        return _cleaned(np.atleast_1d(value).tolist())
    if isinstance(value, set | frozenset):
        return sorted(_cleaned(value))
    if isinstance(value, list | tuple):
        return _cleaned(value)
    raise Unsendable("bad_value", refusal(value).message)


def _from_text(text: str) -> list[Any]:
    if not text.lstrip().startswith(("[", "{")):
        return text.split(",")
    try:
        return msgspec.json.decode(text, type=list[Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Unsendable("bad_value", _NO_LIST) from None


def _cleaned(tags: Iterable[Any]) -> list[str]:
    """Return the trimmed tags that are not blank.

    None is blank, too: SQL's ``array_agg`` returns it if nothing was joined.
    """
    texts = []
    for tag in map(plain, tags):
        if tag is None:
            continue
        if not isinstance(tag, str):
            raise Unsendable("bad_value", _NO_TEXT)
        if text := checked_text(tag).strip():
            texts.append(text)
    return texts
