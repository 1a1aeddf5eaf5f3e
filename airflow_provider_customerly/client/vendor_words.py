"""Classify error messages: the API may report an invalid token or a missing contact at any status."""

from __future__ import annotations

import re

from airflow_provider_customerly.client.errors import without_emails

_KNOWN_CREDENTIAL_PROBLEMS = re.compile(
    r"access token not found|you must provide a valid header authorization", re.IGNORECASE
)
_CREDENTIAL = re.compile(
    r"""
    \b(?:access|auth|authentication|authorization|api|bearer)[ _-]?token\b | \bauthorization\b | \bbearer\b |
    \b(?:invalid|unknown|expired|revoked|missing|bad|wrong|malformed|no|your|valid)[ _]token\b |
    (?<![\w-])token(?:['\u2019]s)?\ (?:owner\b | (?:(?:is|was|has|does|did|could|can|been|be|no|longer)\ )*
    (?:not|invalid|unknown|expired|revoked|missing|required|rejected|refused|disabled|malformed|mismatch)\b)
    """,
    re.IGNORECASE | re.VERBOSE,
)
# A field of a row may be called a token, too, and so may a piece of text that a parser rejects.
_DATA = re.compile(
    r"""
    \b(?:attributes?|tags?|propert(?:y|ies)|fields?|columns?|rows?|values?|names?)\b
  | \b(?:characters?|too\ long|longer)\b
  | (?:push|device|csrf|xsrf|reset|payment|card|unexpected)[ _-]?token | \btokeni[sz]
  | ["'`]token["'`] | \bjson\b
    """,
    re.IGNORECASE | re.VERBOSE,
)

_MISSING = r"""(?:
    (?:doesn.?t|does\ not|don.?t|do\ not|didn.?t|did\ not)\ exist | not\ exist(?:ing)?\b | non-?existent
  | (?:not|n.?t|never)\ (?:be\ |been\ )?found | cannot\ find | could\ ?n.?t\ find | could\ not\ find
)"""
# Parts of the service. That one of them is missing says nothing about a contact.
_PART = r"""(?:
    table|column|view|class|file|directory|method|function|module|driver|database|connection|index
  | route|path|page|endpoint|url|uri|host|server|service|upstream|backend|handler|controller|model|template
  | token|project|app|application|account|workspace|company|config|configuration
  | property|attribute|tag|segment|collection
)s?"""
_SOMEBODY = r"(?:user|lead|contact|customer|person|profile|record|subscriber|email)s?"
_MISSING_SOMETHING = re.compile(
    rf"{_MISSING} | \bno\ such\b | \bunknown\ {_SOMEBODY}\b"
    rf"| \bno\ (?:\w+\ )?{_SOMEBODY}\ (?:was\ |were\ )?(?:found|exist|match|with)",
    re.IGNORECASE | re.VERBOSE,
)
_MISSING_PART = re.compile(
    rf"\b{_PART}\b(?:\W+\w+){{0,6}}?\W+{_MISSING} | \bno\ such\ (?:\w+\ )?{_PART}\b"
    r"| \bno\ route\b | SQLSTATE",
    re.IGNORECASE | re.VERBOSE,
)


def tells_of_a_dead_token(message: str) -> bool:
    """Return whether a message is about the access token or its header, not about data named "token"."""
    if _KNOWN_CREDENTIAL_PROBLEMS.search(message):
        return True
    words = without_emails(message)
    return _CREDENTIAL.search(words) is not None and _DATA.search(words) is None


def tells_of_nobody(message: str) -> bool:
    """Return whether a message says that the requested contact does not exist.

    ``User doesn't exist`` is documented. "not found", "no such" and the like are taken the same way.
    """
    return _MISSING_SOMETHING.search(message) is not None and not tells_of_a_missing_part(message)


def tells_of_a_missing_part(message: str) -> bool:
    """Return whether a message says that a part of the service is missing, such as a route or a table."""
    return _MISSING_PART.search(without_emails(message)) is not None
