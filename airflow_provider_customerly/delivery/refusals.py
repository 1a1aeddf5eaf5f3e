"""Read the vendor's list of refused rows, whose shape is not documented."""

from __future__ import annotations

from typing import Any, NamedTuple

_WRAPPERS = frozenset(
    {"user", "users", "lead", "leads", "contact", "contacts", "row", "rows", "record", "records", "data"}
)
_MESSAGES = ("message", "messages", "error", "errors", "reason", "reasons", "description", "detail")
_FIELDS = ("field", "attribute", "property")


class Refusal(NamedTuple):
    """One entry of the list, as far as it is readable.

    :param email: the email of the row, if the entry has it.
    :param user_id: the ``user_id`` of the row, if the entry has it.
    :param field: the field that the vendor names.
    :param message: the vendor's message; if the entry is bare text, it may identify the row instead.
    :param is_certain: False if the email or ``user_id`` may be that of another contact.
    """

    email: str | None = None
    user_id: str | None = None
    field: str | None = None
    message: str | None = None
    is_certain: bool = True

    @property
    def names_someone(self) -> bool:
        """Whether there is an email or ``user_id``, of a row that was sent or not."""
        return self.email is not None or self.user_id is not None


def read_refusals(listed: Any) -> list[Refusal]:
    """Read the value under ``not_added`` or ``errors``.

    An entry may be text (an email or a message), an object that identifies a row and has a message at any
    depth, or the value under an email. An unreadable value also yields an entry, because it must not be lost.
    """
    return [] if _says_nothing(listed) else _read(listed, Refusal())


def _read(value: Any, known: Refusal) -> list[Refusal]:
    """Read one or several entries.

    :param known: what is known from the context.
    """
    if isinstance(value, dict) and all(key.isdecimal() for key in value):
        value = list(value.values())  # PHP sends an array with gaps as an object
    if isinstance(value, list):
        return [refusal for item in value or [None] for refusal in _read(item, known)]
    if isinstance(value, dict):
        return _read_object(value, known)
    text = _text(value)
    if text is None or text.isdecimal():  # a bare number may be an id, a position or a count
        return [known]
    if _is_address(text) and not known.names_someone:
        return [known._replace(email=text)]
    return [known._replace(message=known.message or text)]


def _read_object(value: dict[str, Any], known: Refusal) -> list[Refusal]:
    rest = {key.strip().lower(): item for key, item in value.items() if not _is_address(key)}
    own = _read_texts(rest, known)
    found = [
        refusal
        for key, item in value.items()
        if _is_address(key)
        for refusal in _read(item, own._replace(email=key))
    ]
    message, field = own.message, own.field
    for key, item in rest.items():
        if isinstance(item, (dict, list)) and not _says_nothing(item):
            inner = _read(item, _inside(key, own))
            message, field = message or inner[0].message, field or inner[0].field
            is_list_of_rows = isinstance(item, list) and key not in _MESSAGES
            found += [refusal for refusal in inner if is_list_of_rows or refusal.names_someone]
    complete = own._replace(message=message, field=field)
    if own.names_someone:
        return [complete]
    if not any(refusal.names_someone for refusal in found):
        return [complete] if message else _read_pairs(rest, complete)
    return [refusal._replace(message=refusal.message or message) for refusal in found]


def _read_pairs(pairs: dict[str, Any], known: Refusal) -> list[Refusal]:
    """Read an object with unknown keys, under which there may be messages, by field."""
    words = {key: text for key, item in pairs.items() if (text := _text(item)) and not text.isdecimal()}
    return [known._replace(field=known.field or key, message=text) for key, text in words.items()] or [known]


def _read_texts(texts: dict[str, Any], known: Refusal) -> Refusal:
    """Add an object's own text to what is known."""
    message = next((text for name in _MESSAGES if (text := _text(texts.get(name)))), None)
    field = next((text for name in _FIELDS if (text := _text(texts.get(name)))), None)
    own = known._replace(message=message or known.message, field=field or known.field)
    for name in ("email", "user_id"):
        text = _text(texts.get(name))
        if text is None:
            continue
        if not known.names_someone and (_is_address(text) or " " not in text or message is not None):
            own = own._replace(email=text) if name == "email" else own._replace(user_id=text)
        elif not _is_address(text):  # a message, under the field that it is about
            own = own._replace(field=own.field or name, message=own.message or text)
    return own


def _inside(key: str, known: Refusal) -> Refusal:
    """Return what is known about the value under a key, which may be about another contact."""
    if key in _WRAPPERS:
        return known
    field = known.field if key in _MESSAGES else known.field or key
    return known._replace(field=field, is_certain=False)


def _says_nothing(value: Any) -> bool:
    if isinstance(value, dict):
        return all(not _is_address(key) and _says_nothing(item) for key, item in value.items())
    return value in (None, False, 0, "", "0", [])


def _text(value: Any) -> str | None:
    """Return text or a number as trimmed text."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return str(value).strip() or None


def _is_address(text: str) -> bool:
    return "@" in text and " " not in text.strip()
