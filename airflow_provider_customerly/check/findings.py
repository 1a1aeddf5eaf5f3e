"""The assumptions that this package makes about the API, and the finding of a check for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_customerly.check import access, clock, fields, paging

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_customerly.check.inquiry import Observed
    from airflow_provider_customerly.check.judgement import Judgement, Standing


@dataclass(frozen=True)
class Finding:
    """The result of checking one assumption.

    :param verdict: ``holds``, ``differs`` or ``not checked``.
    :param evidence: counts and field names, never a contact.
    :param consequence: what it means for this package, and what to do.
    """

    name: str
    assumption: str
    verdict: Standing
    evidence: str
    consequence: str


class Assumption(NamedTuple):
    """An assumption that the vendor does not document, or that has a single source."""

    name: str
    text: str
    judge: Callable[[Observed], Judgement]
    holds: str
    """What depends on it."""
    differs: str
    """What happens if it is wrong."""


_TIES = "Nothing depends on it: an export reads such a group until it is complete, or is not proven complete."

ASSUMPTIONS = (
    Assumption(
        "bearer_header",
        "The token is accepted in 'Authorization: Bearer'.",
        access.bearer,
        "This is the default of the connection.",
        "Set auth_header to legacy in the connection's extra.",
    ),
    Assumption(
        "legacy_header",
        "The token is accepted in 'Authentication: AccessToken:'.",
        access.legacy,
        "Set auth_header to legacy to use it.",
        "Leave auth_header at bearer, the default.",
    ),
    Assumption(
        "unknown_token",
        "A request with an unknown token fails with a message about the token.",
        access.unknown_token,
        "A task with such a token fails at once, without retries.",
        "A wrong token looks like an outage: the request is retried, then the task. Report it.",
    ),
    Assumption(
        "unknown_contact",
        "A request for an unknown contact fails with 'User doesn't exist', 'not found' or the like.",
        access.unknown_contact,
        "A look-up or a deletion can distinguish a missing contact from an outage.",
        "Looking up a missing contact looks like an outage, and its deletion stays unconfirmed. Report it.",
    ),
    Assumption(
        "redirects",
        "The API does not redirect.",
        access.redirects,
        "Requests go where the connection says.",
        "Redirects are never followed with a token, so the request fails. Set the host to the target.",
    ),
    Assumption(
        "list_shape",
        "A page of users is an array under data.users.",
        paging.envelope,
        "Pages can be read.",
        "An export fails and nothing is committed. Check the connection's host, then report it.",
    ),
    Assumption(
        "page_from_0",
        "The first page is page 0.",
        paging.page_from_0,
        "Exports start at page 0.",
        "Pages are checked for overlap, so an export is still complete, or fails. Report it.",
    ),
    Assumption(
        "page_size",
        "A page of 100 holds 100 contacts.",
        paging.page_size,
        "Exports request up to 100, never more.",
        "Smaller pages are detected and handled with more requests. Set page_size to what a page holds.",
    ),
    Assumption(
        "sort_ascending",
        "Lists are in ascending order of last_update if requested.",
        paging.ascending,
        "The proof that an export skipped no contact depends on it. Each export checks it.",
        "An export is never proven complete, and fails unless on_unproven is warn. Report it.",
    ),
    Assumption(
        "sort_descending",
        "Lists are in descending order of last_update if requested.",
        paging.descending,
        "Nothing depends on it: exports read in ascending order.",
        "Nothing depends on it: exports read in ascending order.",
    ),
    Assumption(
        "equal_stamps",
        "Contacts with the same last_update are in the same order each time.",
        paging.equal_stamps,
        _TIES,
        _TIES,
    ),
    Assumption(
        "end_is_empty",
        "A page beyond the end is an empty list.",
        paging.end_is_empty,
        "An export requests the page beyond the end, and stops only if that page is empty.",
        "An export fails or is not proven complete, but never ends early. Report it.",
    ),
    Assumption(
        "short_page_is_last",
        "A page that is not full is the last one.",
        paging.short_page_is_last,
        "It ends a list only if the next page is empty, too.",
        "It ends a list only if the next page is empty, too, so no contact is skipped.",
    ),
    Assumption(
        "key",
        "Each contact has an integer crmhero_user_id.",
        fields.key,
        "It identifies contacts.",
        "An id that is text is read as an integer.",
    ),
    Assumption(
        "numbers",
        "Numbers and flags are JSON numbers.",
        fields.numbers,
        "Their columns are typed.",
        "Numeric text is converted to numbers.",
    ),
    Assumption(
        "attributes",
        "A contact's attributes are an object, an empty list, null or absent.",
        fields.attributes,
        "All of them are kept as JSON text in the column attributes.",
        "All of them are kept as JSON text, but cannot become columns. Report it.",
    ),
    Assumption(
        "known_fields",
        "Contacts have no fields other than the known ones.",
        fields.known_fields,
        "Each has a column.",
        "Other fields are kept as JSON text in the column extra.",
    ),
    Assumption(
        "stamp_format",
        "last_update has the format YYYY-MM-DD HH:MM:SS.",
        clock.stamp_format,
        "Sorted as text, such timestamps are in order of time.",
        "In another format they may not be, so exports may not be proven complete and fail. Report it.",
    ),
    Assumption(
        "utc",
        "last_update is in UTC.",
        clock.utc,
        "Columns and watermarks are in UTC.",
        "The column is off by the difference. When summer time ends, an hour of timestamps repeats. Exports "
        "read it again, so no change is lost, but they cannot know which of two changes in it came first.",
    ),
    Assumption(
        "epoch_seconds",
        "first_seen_at, last_activity and the like are seconds since 1970.",
        clock.epoch_seconds,
        "They become timestamps.",
        "Their columns are wrong or null. Report it.",
    ),
    Assumption(
        "clock",
        "The vendor's clock and this machine's are less than a minute apart.",
        clock.clock,
        "Everything that depends on it has a margin.",
        "Timestamps are compared with each other, not with this machine's clock. Check this machine's clock.",
    ),
    Assumption(
        "speed",
        "A page arrives in less than half of the timeout.",
        clock.speed,
        "The connection's timeout is long enough.",
        "Raise timeout in the connection's extra, or lower page_size.",
    ),
    Assumption(
        "rate_limit_headers",
        "No header states a rate limit.",
        access.rate_limit_headers,
        "Requests slow down on 429 and 5xx. Set requests_per_second for a fixed limit.",
        "Only Retry-After is read. Set requests_per_second to the limit in these headers, and report it.",
    ),
)


class Unchecked(NamedTuple):
    """An assumption that a few read-only requests cannot check."""

    name: str
    text: str
    reason: str
    consequence: str


_WRITES = "Checking it needs a write."

UNCHECKED = (
    Unchecked(
        "rejects",
        "Refused contacts of a batch are listed under not_added or errors.",
        _WRITES,
        "Every known shape is read. A row whose outcome is unknown never counts as delivered.",
    ),
    Unchecked(
        "batch_size",
        "One request may hold 50 contacts.",
        _WRITES,
        "A batch that is refused as a whole is split until the row at fault is alone.",
    ),
    Unchecked(
        "empty_values",
        "What writing null or empty text does is not documented.",
        _WRITES,
        "Nulls are left out. A sync can send them as empty text instead.",
    ),
    Unchecked(
        "limits",
        "Too many requests result in a 429.",
        "Checking it needs more requests than a check should send.",
        "After a 429 or 5xx, requests are retried later and slower, and Retry-After is honoured.",
    ),
    Unchecked(
        "deletions",
        "A deleted contact leaves no trace in the lists.",
        "Checking it needs a deletion.",
        "Deletions are found by comparing complete exports.",
    ),
)


def find(seen: Observed) -> list[Finding]:
    """Judge every assumption."""
    return [_finding(assumption, assumption.judge(seen)) for assumption in ASSUMPTIONS] + [
        Finding(one.name, one.text, "not checked", one.reason, one.consequence) for one in UNCHECKED
    ]


def _finding(assumption: Assumption, judgement: Judgement) -> Finding:
    consequence = judgement.consequence
    if consequence is None and judgement.verdict == "not checked":
        consequence = f"If it differs: {assumption.differs}"
    elif consequence is None:
        consequence = assumption.holds if judgement.verdict == "holds" else assumption.differs
    return Finding(assumption.name, assumption.text, judgement.verdict, judgement.evidence, consequence)
