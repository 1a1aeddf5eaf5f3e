"""What the emulator does where the vendor's behaviour is not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Choices:
    """Every field is a guess with alternatives, so that a client can be tried against each of them.

    :param missing_status: HTTP status of ``User doesn't exist``. Only the message is known.
    :param reject_key: where an upsert's rejected rows are listed: one source saw ``not_added``, another
        ``errors``.
    :param reject_shape: how they are listed. ``objects`` have email, user_id and message; ``strings`` are the
        bare email, or the message where there is none; ``messages`` are objects that name nobody;
        ``by_email`` is one object of email to message.
    :param attributes_key: the name of ``attributes`` in the answer for a single contact; some sources say
        ``custom``.
    :param max_batch: a longer batch is refused whole with 413; no maximum is documented.
    :param refuse_emails: a batch that holds one of these is refused whole with 400, to exercise a client that
        must find the row to blame.
    """

    missing_status: int = 404
    reject_key: Literal["not_added", "errors"] = "not_added"
    reject_shape: Literal["objects", "strings", "messages", "by_email"] = "objects"
    attributes_key: Literal["attributes", "custom"] = "attributes"
    max_batch: int | None = None
    refuse_emails: frozenset[str] = frozenset()
