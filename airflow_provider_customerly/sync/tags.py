"""Tags of contacts, from lists or from text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from airflow_provider_customerly.sync.plain import plain
from airflow_provider_customerly.sync.unsendable import (
    Converted,
    Unsendable,
    checked_text,
    one_by_one,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NO_LIST = (
    "Text that starts with a bracket and is no JSON array: give a JSON array, a list, or tags separated by "
    "commas."
)
_NO_TEXT = "A tag that is no text: convert it to text in the query."


class Tags:
    """A column of tags: a list, tuple, set or array of text, a JSON array, or text separated by commas.

    Tags are trimmed; blank ones and repetitions are dropped. They keep their order; those of a set, which has
    another order in every process, are sorted. Text that starts with a bracket must be an array, for tags are
    hard to take back, and cut at its commas a broken array would give odd ones.

    :param constant: tags that every contact gets after its own.
    """

    def __init__(self, constant: Sequence[str] = ()) -> None:
        self._constant = _cleaned(constant)

    def __call__(self, values: Sequence[Any]) -> Converted:
        """Convert the values of some rows."""
        return one_by_one("tags", self._convert, values)

    def _convert(self, value: Any) -> list[str] | None:
        return list(dict.fromkeys([*_tags(value), *self._constant])) or None


def check_tags(tags: Sequence[str]) -> None:
    """Refuse tags for every contact that are no list of texts.

    :raises ValueError: says which of them.
    """
    if not isinstance(tags, list | tuple):
        raise ValueError(f'tags is {tags!r}: give a list, such as ["customer"].')
    for tag in tags:
        try:
            usable = bool(_cleaned([tag]))
        except Unsendable:
            usable = False
        if not usable:
            raise ValueError(f"tags holds {tag!r}, which is no tag: give text that is not blank.")


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
    """Give the tags trimmed, without blank ones.

    None is blank, too: SQL's array_agg gives it where nothing was joined.
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
