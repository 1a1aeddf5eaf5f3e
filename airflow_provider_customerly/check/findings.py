"""The assumptions this package makes about the API, and what the check found of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_customerly.check import access, clock, fields, paging

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_customerly.check.judgement import Judgement, Verdict
    from airflow_provider_customerly.check.look import Observed


@dataclass(frozen=True)
class Finding:
    """What was found of one assumption.

    :param verdict: ``holds``, ``differs`` or ``not checked``.
    :param evidence: what the verdict rests on: figures and names of fields, never a contact.
    :param consequence: what this package does about it, and what is left to do.
    """

    name: str
    assumption: str
    verdict: Verdict
    evidence: str
    consequence: str


class Assumption(NamedTuple):
    """Something taken for true that the vendor does not document, or that rests on one source."""

    name: str
    text: str
    judge: Callable[[Observed], Judgement]
    holds: str
    """What rests on it."""
    differs: str
    """What happens where it is not so."""


_TIES = "Nothing rests on it: they are believed once a window shows an older and a newer contact, or counted."

ASSUMPTIONS = (
    Assumption(
        "bearer_header",
        "The token is taken in 'Authorization: Bearer'.",
        access.bearer,
        "This is the connection's default.",
        "Set auth_header to legacy in the connection's extra.",
    ),
    Assumption(
        "legacy_header",
        "The token is taken in 'Authentication: AccessToken:'.",
        access.legacy,
        "It can be chosen with auth_header=legacy.",
        "Leave auth_header at bearer, the default.",
    ),
    Assumption(
        "unknown_token",
        "An unknown token is answered with a message that speaks of the token.",
        access.unknown_token,
        "A task with such a token fails at once, without retries.",
        "A wrong token is taken for an outage: the request is tried 5 times, then the task again. Report it.",
    ),
    Assumption(
        "unknown_contact",
        "An unknown contact is answered with 'User doesn't exist', or with 404.",
        access.unknown_contact,
        "A look-up or a deletion tells it from an outage.",
        "A look-up of a contact that does not exist fails as an outage does. Report it.",
    ),
    Assumption(
        "redirects",
        "The API does not redirect.",
        access.redirects,
        "Requests go where the connection says.",
        "A redirect is never followed with a token: the request fails. Set the host to where it leads.",
    ),
    Assumption(
        "list_shape",
        "A page of users comes as an array under data.users.",
        paging.envelope,
        "Pages can be read.",
        "An export fails and nothing is committed. Check the connection's host, then report it.",
    ),
    Assumption(
        "page_from_0",
        "Pages count from 0.",
        paging.page_from_0,
        "Windows are cut by it.",
        "Overlaps show whether an export's windows met: it is complete all the same, or fails. Report it.",
    ),
    Assumption(
        "page_size",
        "A page of 100 holds 100 contacts.",
        paging.page_size,
        "Exports ask for up to 100, and never for more.",
        "A smaller page is noticed and worked with, at more requests. Set page_size to what a page holds.",
    ),
    Assumption(
        "sort_ascending",
        "A list is kept in ascending order of last_update.",
        paging.ascending,
        "The proof that an export lost nothing rests on it; each export watches it.",
        "An export is never proven complete, and fails unless on_unproven is warn. Report it.",
    ),
    Assumption(
        "sort_descending",
        "A list is kept in descending order when asked for.",
        paging.descending,
        "Nothing rests on it: exports read in ascending order.",
        "Nothing rests on it: exports read in ascending order.",
    ),
    Assumption(
        "equal_stamps",
        "Contacts with equal last_update come in the same order twice.",
        paging.equal_stamps,
        _TIES,
        _TIES,
    ),
    Assumption(
        "end_is_empty",
        "A page behind the end is an empty list.",
        paging.end_is_empty,
        "The end of a list is believed when what is behind it is asked for and empty.",
        "An export fails, or is not proven complete, rather than end early. Report it.",
    ),
    Assumption(
        "short_page_is_last",
        "A page that is not full is the last.",
        paging.short_page_is_last,
        "It ends a list only once what is behind it was asked for and found empty.",
        "It ends a list only once what is behind it was asked for and found empty, so nothing is lost.",
    ),
    Assumption(
        "key",
        "Each contact has an integer crmhero_user_id.",
        fields.key,
        "It tells contacts apart.",
        "An id that comes as text is read as an integer.",
    ),
    Assumption(
        "numbers",
        "Numbers and flags come as JSON numbers.",
        fields.numbers,
        "They have typed columns.",
        "Numeric text is read as the number it shows.",
    ),
    Assumption(
        "attributes",
        "A contact's attributes are an object, or an empty list, null or absent.",
        fields.attributes,
        "They are kept whole, as JSON text, in the column attributes.",
        "They are kept whole, as JSON text, but no column can be made of them. Report it.",
    ),
    Assumption(
        "known_fields",
        "Contacts have no other fields than the known ones.",
        fields.known_fields,
        "Each has a column.",
        "Fields without a column are kept whole in the column extra.",
    ),
    Assumption(
        "stamp_format",
        "last_update is written YYYY-MM-DD HH:MM:SS.",
        clock.stamp_format,
        "As text, such stamps sort by time.",
        "Another form breaks that order: an export may not be proven complete, and fails. Report it.",
    ),
    Assumption(
        "utc",
        "last_update is in UTC.",
        clock.utc,
        "Columns and watermarks say UTC.",
        "Nothing is lost, as stamps are compared with each other; but the column is off by the difference.",
    ),
    Assumption(
        "epoch_seconds",
        "first_seen_at, last_activity and their like are in seconds since 1970.",
        clock.epoch_seconds,
        "They become timestamps.",
        "Their columns are wrong or null. Report it.",
    ),
    Assumption(
        "clock",
        "The vendor's clock and this machine's are less than a minute apart.",
        clock.clock,
        "Nothing rests on it without a margin.",
        "Stamps are compared with each other, not with this machine's clock. Check this machine's clock.",
    ),
    Assumption(
        "speed",
        "A page comes in less than half of the timeout.",
        clock.speed,
        "The connection's timeout leaves room.",
        "Raise timeout in the connection's extra, or lower page_size.",
    ),
    Assumption(
        "rate_limit_headers",
        "No header speaks of a rate limit.",
        access.rate_limit_headers,
        "Requests slow down on 429 and 5xx; an upper limit is set with requests_per_second.",
        "Only Retry-After is read. Set requests_per_second to what they allow, and report them.",
    ),
)


class Unchecked(NamedTuple):
    """An assumption that cannot be checked by reading a little."""

    name: str
    text: str
    reason: str
    consequence: str


_WRITES = "That needs a write."

UNCHECKED = (
    Unchecked(
        "rejects",
        "Refused contacts of a batch are told under not_added or errors.",
        _WRITES,
        "Every known shape is read; a row that no answer explains is never counted as delivered.",
    ),
    Unchecked(
        "batch_size",
        "50 contacts are taken in one request.",
        _WRITES,
        "A batch that is refused whole is halved until the row to blame stands alone.",
    ),
    Unchecked(
        "empty_values",
        "What null and empty text do when written.",
        _WRITES,
        "Nulls are left out, unless the sync is told to send them as empty text.",
    ),
    Unchecked(
        "limits",
        "Requests beyond a limit are answered with 429.",
        "That needs more requests than a check should send.",
        "429 and 5xx are tried again later and slower, Retry-After is honoured.",
    ),
    Unchecked(
        "deletions",
        "A deleted contact leaves no trace in the lists.",
        "That needs a deletion.",
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
