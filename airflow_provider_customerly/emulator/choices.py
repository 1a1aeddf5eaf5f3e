"""Choices for behaviour that the vendor does not document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Choices:
    """Each field is a guess with alternatives, so that a client can be tested against all of them.

    :param legacy_header: whether ``Authentication: AccessToken:`` is accepted.
    :param token_status: HTTP status for an unknown token.
    :param token_message: error message for an unknown token.
    :param first_page: number of the first page. If it is 1, page 0 is also the first page.
    :param sort_kept: which sort directions work: ``both``, only ``asc``, or ``none`` (lists are in order of
        id).
    :param past_end: a page past the end of a list is ``empty``, the ``last`` page again, or an ``error``.
    :param short_pages: contacts marked as spam are removed after paging, so that any page may be short.
    :param missing_status: HTTP status of ``User doesn't exist``. Only the message is known.
    :param missing_message: replaces that message.
    :param clock_skew: seconds by which the ``Date`` header is ahead.
    :param last_update_zone: hours by which ``last_update`` is ahead of UTC in lists.
    :param numbers_as_text: numbers in lists are text.
    :param empty_attributes: JSON for the attributes of a contact that has none, in lists.
    :param rate_limit_headers: responses have ``X-RateLimit-Limit`` and ``X-RateLimit-Remaining``.
    :param reject_key: where an upsert lists rejected rows. One source saw ``not_added``, another ``errors``.
    :param reject_shape: how they are listed. ``objects`` have email, user_id and message. ``strings`` are the
        email, or the message if there is no email. ``messages`` are objects without email or user_id.
        ``by_email`` is one object that maps emails to messages.
    :param attributes_key: name of ``attributes`` in a look-up of a single contact; some sources have
        ``custom``.
    :param max_batch: a larger batch is refused as a whole with 413; no maximum is documented.
    :param tag_strangers: how tagging treats a contact that does not exist: ``pass_over`` tags the others,
        ``refuse`` refuses the whole request with ``missing_status`` and ``missing_message``.
    :param refuse_emails: a batch with one of these is refused as a whole with 400, to test a client that must
        find the row at fault.
    :param crash_emails: the same with a 500 and the vendor's envelope, on each attempt.
    :param reject_emails: rows with one of these are rejected; the others of their batch are stored.
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
    reject_emails: frozenset[str] = frozenset()
    lose_emails: frozenset[str] = frozenset()
