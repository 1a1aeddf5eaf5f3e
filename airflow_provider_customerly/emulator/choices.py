"""What the emulator does where the vendor's behaviour is not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Choices:
    """Every field is a guess with alternatives, so that a client can be tried against each of them.

    :param legacy_header: whether ``Authentication: AccessToken:`` is accepted.
    :param token_status: HTTP status of the answer to an unknown token.
    :param token_message: its message.
    :param first_page: the number of the first page; where that is 1, page 0 is the first page too.
    :param sort_kept: ``both`` directions, only ``asc``, or ``none``: then the list is in order of id.
    :param past_end: a page behind the end of a list is ``empty``, the ``last`` page again, or an ``error``.
    :param short_pages: contacts marked as spam are left out after a page has been cut, so that any page may
        be short.
    :param missing_status: HTTP status of ``User doesn't exist``. Only the message is known.
    :param missing_message: what is said instead of it.
    :param clock_skew: seconds by which the ``Date`` of answers is ahead.
    :param last_update_zone: hours by which ``last_update`` is ahead of UTC in lists.
    :param numbers_as_text: numbers in lists come as text.
    :param empty_attributes: how lists write a contact without attributes, as JSON.
    :param rate_limit_headers: answers have ``X-RateLimit-Limit`` and ``X-RateLimit-Remaining``.
    :param reject_key: where an upsert's rejected rows are listed: one source saw ``not_added``, another
        ``errors``.
    :param reject_shape: how they are listed. ``objects`` have email, user_id and message; ``strings`` are the
        bare email, or the message where there is none; ``messages`` are objects that name nobody;
        ``by_email`` is one object of email to message.
    :param attributes_key: the name of ``attributes`` in the answer for a single contact; some sources say
        ``custom``.
    :param max_batch: a longer batch is refused whole with 413; no maximum is documented.
    :param tag_strangers: what tagging does with a contact that does not exist: ``pass_over`` tags the others,
        ``refuse`` refuses the request whole, with ``missing_status`` and ``missing_message``.
    :param refuse_emails: a batch that holds one of these is refused whole with 400, to exercise a client that
        must find the row to blame.
    :param crash_emails: the same with 500 and the vendor's envelope, on each try.
    :param lose_emails: rows with one of these are neither stored, nor counted, nor listed as rejected.
    """

    legacy_header: bool = True
    token_status: int = 500
    token_message: str = "Access token not found."  # noqa: S105
    first_page: Literal[0, 1] = 0
    sort_kept: Literal["both", "asc", "none"] = "both"
    past_end: Literal["empty", "last", "error"] = "empty"
    short_pages: bool = False
    missing_status: int = 404
    missing_message: str = "User doesn't exist"
    clock_skew: float = 0.0
    last_update_zone: float = 0.0
    numbers_as_text: bool = False
    empty_attributes: Literal["[]", "{}", "null"] = "[]"
    rate_limit_headers: bool = False
    reject_key: Literal["not_added", "errors"] = "not_added"
    reject_shape: Literal["objects", "strings", "messages", "by_email"] = "objects"
    attributes_key: Literal["attributes", "custom"] = "attributes"
    max_batch: int | None = None
    tag_strangers: Literal["pass_over", "refuse"] = "pass_over"
    refuse_emails: frozenset[str] = frozenset()
    crash_emails: frozenset[str] = frozenset()
    lose_emails: frozenset[str] = frozenset()
