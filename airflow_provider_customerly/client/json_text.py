"""Repair text that is almost JSON, so that one bad value does not cost all the others.

A value that JSON readers reject or disagree on becomes ``{"unreadable": "<original text>"}``: text with a
lone surrogate, bytes that are not UTF-8 or an unknown escape, a number out of range, ``NaN`` and
``Infinity``, and values that are nested too deeply. An object is valid JSON, and it fits no column of numbers
or text, so the conversion counts it as a misfit. An invalid name is escaped instead, because names must be
text.
"""

from __future__ import annotations

import json
import re

import msgspec

NOT_READABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What reading JSON may raise. Before msgspec 0.21, its errors are no ``ValueError``."""
DEEPEST = 100
"""Levels of nesting; deeper values are kept as text. Decoders fail at a depth of 500 to about 10,000."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHITE_SPACE = b" \t\r\n"
_NEXT = re.compile(rb'["\[\]{}]|[^\s"\[\]{},:]+')
_NUMBER = re.compile(rb"[+-]?(?:nan|inf(?:inity)?|[0-9.]+(?:e[+-]?[0-9]+)?)", re.IGNORECASE)
_PLAIN = re.compile(rb'"[ !#-\[\]-~]*"')
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


def readable(text: bytes) -> tuple[bytes, int]:
    """Replace invalid values and names in JSON text; return the new text and the number of replacements.

    Text that is not JSON is returned unchanged, for its reader to refuse. Time and memory are linear.
    """
    text = text.removeprefix(_BYTE_ORDER_MARK)
    done: list[bytes] = []
    copied = position = depth = buried = count = 0
    while (found := _NEXT.search(text, position)) is not None:
        start, position = found.span()
        token = found[0]
        new: bytes | None = None
        if token == b'"':
            position = _end_of_text(text, start)
            if position == 0:
                break
            if depth <= DEEPEST:
                new = _respelled(text[start:position], is_name=_is_name(text, position))
        elif token in (b"[", b"{"):
            depth += 1
            if depth == DEEPEST + 1:
                buried = start
        elif token in (b"]", b"}"):
            depth -= 1
            if depth == DEEPEST:
                start, new = buried, _wrapped(text[buried:position].decode("utf-8", "backslashreplace"))
        elif depth <= DEEPEST and _NUMBER.fullmatch(token) and not _is_readable(token):
            new = _wrapped(token.decode())
        if new is not None:
            done += [text[copied:start], new]
            copied = position
            count += 1
    return b"".join([*done, text[copied:]]), count


def _end_of_text(text: bytes, start: int) -> int:
    """Return where the string that begins at ``start`` ends, 0 if it does not."""
    quote = start
    while (quote := text.find(b'"', quote + 1)) != -1:
        backslash = quote
        while text[backslash - 1] == 0x5C:
            backslash -= 1
        if (quote - backslash) % 2 == 0:
            return quote + 1
    return 0


def _is_name(text: bytes, position: int) -> bool:
    while text[position : position + 1] and text[position] in _WHITE_SPACE:
        position += 1
    return text[position : position + 1] == b":"


def _respelled(token: bytes, *, is_name: bool) -> bytes | None:
    """Return the replacement for a string; None if it is valid."""
    if _PLAIN.fullmatch(token) or _is_readable(token):
        return None
    literal = token.decode("utf-8", "surrogateescape")
    spelled_out = _NOT_UTF8.sub(lambda byte: f"\\\\x{ord(byte[0]) - 0xDC00:02x}", literal)
    is_whole = spelled_out == literal
    try:
        value = json.loads(spelled_out, strict=False)
    except ValueError:  # an escape that JSON does not have
        value, is_whole = token[1:-1].decode("utf-8", "backslashreplace"), False
    spelled = value.encode("utf-8", "backslashreplace").decode()
    # The only fault of some strings is a line break or a tab that is not escaped.
    is_whole = is_whole and spelled == value
    return msgspec.json.encode(spelled) if is_name or is_whole else _wrapped(spelled)


def _is_readable(token: bytes) -> bool:
    try:
        msgspec.json.decode(token)
    except NOT_READABLE:
        return False
    return True


def _wrapped(text: str) -> bytes:
    return msgspec.json.encode({"unreadable": text})
