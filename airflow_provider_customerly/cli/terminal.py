"""Print text, tables, JSON and CSV, for people and for pipes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
import textwrap
import unicodedata
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_MEASURED = 500
"""Number of rows that determine the column widths of a table: a plan may have a million rows."""
_NARROWEST = 24
_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
"""Unicode categories of characters that move the cursor, change colors, reverse text or break a line."""


def printable(text: str) -> str:
    r"""Escape characters that a terminal may interpret, such as ``\x1b``.

    Names and messages come from warehouses and from Customerly, so anyone may have written them.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _UNSAFE else char
        for char in text
    )


def write(text: str) -> None:
    """Print lines of text."""
    for line in text.split("\n"):
        _put(printable(line))


def write_note(text: str) -> None:
    """Print a line to standard error, so that it does not end up in a pipe."""
    sys.stderr.write(f"{printable(text)}\n")


def write_table(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Print a table for people.

    :param columns: the columns to show with their titles; the last one takes the remaining width.
    """
    texts = ([printable(_text(row.get(name))) for name in columns] for row in rows)
    measured = list(islice(texts, _MEASURED))
    titles = list(columns.values())
    widths = [max(map(_width, column)) for column in zip(titles, *measured, strict=True)]
    numeric = [all(map(_is_number, column)) for column in zip(*measured, strict=True)] or [False] * len(
        titles
    )
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for cells in chain([titles], measured, texts):
        _put_row(cells, widths, numeric, room)


def write_json(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as a JSON array, one row per line."""
    # ASCII only, so that a terminal does not interpret the values.
    lines = (json.dumps(row, default=_text) for row in rows)
    last = next(lines, None)
    if last is None:
        _put("[]")
        return
    _put("[")
    for line in lines:
        _put(f"{last},")
        last = line
    _put(f"{last}\n]")


def write_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print rows as CSV with a header; values are only escaped if the output is a terminal."""
    shown = printable if sys.stdout.isatty() else str
    writer = csv.writer(_Lines(), lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([shown(_text(row.get(name))) for name in columns])


@contextmanager
def until_the_reader_leaves() -> Iterator[None]:
    """Exit silently if a pipe is closed early, as by ``head``."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes again at exit, which would print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


class _Lines:
    """The output of ``csv``."""

    def write(self, line: str) -> None:
        _put(line, end="")


def _put(text: str, end: str = "\n") -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + end)


def _put_row(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool], room: int | None) -> None:
    *first, last = (
        _padded(cell, width, right=is_number)
        for cell, width, is_number in zip(cells, widths, numeric, strict=True)
    )
    start = "".join(f"{cell}  " for cell in first)
    if room is None or _width(start) + _width(last.rstrip()) <= room:
        _put(f"{start}{last}".rstrip())
        return
    # Keep a minimum width if the columns before it leave no room.
    lines = textwrap.wrap(cells[-1], max(room - _width(start), _NARROWEST)) or [""]
    for line in (f"{start}{lines[0]}", *(" " * _width(start) + line for line in lines[1:])):
        _put(line.rstrip())


def _padded(cell: str, width: int, *, right: bool) -> str:
    gap = " " * (width - _width(cell))
    return gap + cell if right else cell + gap


def _width(text: str) -> int:
    """Return the number of terminal columns that text takes up."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _is_number(cell: str) -> bool:
    return not cell or cell.isdecimal()


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if hasattr(value, "isoformat"):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    return str(value)
