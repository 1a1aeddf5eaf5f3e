"""Email addresses, by which Customerly identifies contacts."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.values.plain import plain
from airflow_provider_customerly.values.rows import Problem
from airflow_provider_customerly.values.unsendable import Converted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LONGEST = 254
_LOCAL = r"[^\x00-\x20\x7f@\s()<>\[\]:;,\\\".]+"
_LABEL = r"[^\x00-,./:-@\[-\^`{-\x7f\s]+"  # of ASCII, letters, digits, - and _
_SHAPE = re.compile(
    rf'(?=[^@]{{1,64}}@|")(?:{_LOCAL}(?:\.{_LOCAL})*|"[^@"\\\s]{{1,62}}")@{_LABEL}(?:\.{_LABEL})+'
)
"""The characters of an address. Brackets, commas, colons and the like are only allowed in quotes, to detect
``<...>``, ``mailto:`` or a trailing comma. Only the server knows whether the address exists."""
_WRAPPING = frozenset({"Ps", "Pe", "Pi", "Pf"})
"""Brackets and quotation marks of all scripts, by their Unicode category."""

_MISSING = Problem(
    "missing_email", "email", "The email is missing. Add it to the source, or leave the row out."
)
_NO_TEXT = Problem(
    "malformed_email", "email", "The email is not text. Convert it in the query, or check the mapping."
)
_MALFORMED = Problem(
    "malformed_email",
    "email",
    "The email is malformed. Use the bare address, without a name, brackets or separators.",
)


def identity_of(email: str) -> str:
    """Return the form in which addresses are compared: trimmed, in lower case and in Unicode NFC.

    Customerly ignores case, as mail itself does. Characters that look the same, such as an ë of one code
    point or two, are equal.
    """
    folded = email.strip().lower()
    return folded if folded.isascii() else unicodedata.normalize("NFC", folded)


def identities_of(emails: Iterable[str]) -> list[str]:
    """Return what ``identity_of`` returns for each address, in a fraction of the time."""
    texts = list(emails)
    folded = list(map(str.lower, map(str.strip, texts)))
    return folded if all(map(str.isascii, folded)) else list(map(identity_of, texts))


def forms_of(email: str) -> list[str]:
    """Return the address unchanged and in its other Unicode forms, for a server that compares bytes."""
    forms = (email, *(unicodedata.normalize(form, email) for form in ("NFC", "NFD")))
    return [email] if email.isascii() else list(dict.fromkeys(forms))


def emails(values: Sequence[Any]) -> Converted:
    """Convert a column of addresses: trimmed, in NFC, in their original case.

    Malformed addresses are kept if they are text.
    """
    converted = list(values)
    problems: dict[int, Problem] = {}
    is_shaped = _SHAPE.fullmatch
    odd = [
        position
        for position, value in enumerate(values)
        if type(value) is not str
        or not value.isascii()
        or not value.isprintable()
        or len(value) > _LONGEST
        or not is_shaped(value)
    ]
    for position in odd:
        converted[position], problem = _email(values[position])
        if problem is not None:
            problems[position] = problem
    return Converted(converted, problems)


def _email(value: Any) -> tuple[str | None, Problem | None]:
    value = plain(value)
    if value is None:
        return None, _MISSING
    if not isinstance(value, str) or not _is_unicode(value):
        return None, _NO_TEXT
    email = value.strip()
    if not email:
        return None, _MISSING
    if not email.isascii():
        email = unicodedata.normalize("NFC", email)
    return email, None if _is_address(email) else _MALFORMED


def _is_address(text: str) -> bool:
    # An unprintable character is a control character, or an invisible one from a clipboard.
    if len(text) > _LONGEST or not text.isprintable():
        return False
    if text.isascii():
        return bool(_SHAPE.fullmatch(text))
    if any(unicodedata.category(sign) in _WRAPPING for sign in text):
        return False
    # NFKC replaces wide forms, such as a comma from an East Asian keyboard.
    return bool(_SHAPE.fullmatch(unicodedata.normalize("NFKC", text)))


def _is_unicode(text: str) -> bool:
    """Return whether the text can be encoded, unlike a lone surrogate."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False
