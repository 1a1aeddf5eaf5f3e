"""Add a tag to contacts, or remove it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.client import CONTACT_TYPES, CustomerlyError, CustomerlyNotFound
from airflow_provider_customerly.contacts.errors import RefusedError, UnfinishedError
from airflow_provider_customerly.contacts.positions import Positions
from airflow_provider_customerly.contacts.progress import Progress, until
from airflow_provider_customerly.delivery.blame import may_be_a_rows_fault
from airflow_provider_customerly.delivery.deliver import deliver_by
from airflow_provider_customerly.delivery.outcomes import Verdict
from airflow_provider_customerly.values.tags import check_tags
from airflow_provider_customerly.values.words import count

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from airflow_provider_customerly.client import Client, ContactType
    from airflow_provider_customerly.contacts.named import Named
    from airflow_provider_customerly.values.rows import Outgoing, Settled

log = logging.getLogger(__name__)


def tag_contacts(
    client: Client,
    named: Named,
    tag: str,
    *,
    untag: bool = False,
    contact_type: ContactType = "users",
    batch_size: int = 50,
    max_concurrency: int = 1,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Add a tag to contacts, or remove it from them.

    How the API treats a contact that does not exist is not known. If it ignores it, the contact counts as
    sent. If it refuses the batch, the batch is sent again in halves until the contact is alone. It then
    counts as ``refused``, or as ``already_gone`` if the tag is removed, because then there is nothing left to
    do.

    :param batch_size: contacts per request, 1 to 100.
    :param stop: when it is set, no further batch is started.
    :return: counts; no personal data.
    :raises ValueError: an argument is invalid. Nothing was sent.
    :raises CustomerlyError: the API failed. It is safe to send everything again.
    :raises StoppedError: ``stop`` was set.
    :raises UnfinishedError: some contacts were refused and all others were sent; ``RefusedError`` if a retry
        cannot help.
    """
    check_tags([tag])
    if contact_type not in CONTACT_TYPES:
        raise ValueError(f"contact_type is {contact_type!r}. Use users or leads.")
    if contact_type == "leads" and named.by == "user_id":
        raise ValueError("Leads have no user_id. Identify them by email.")
    tagging = _Tagging(client, named, tag.strip(), contact_type, is_off=untag)
    if len(named):
        tagging.run(batch_size, max_concurrency, stop)
    else:
        log.info("The source has no contacts, so there is nothing to tag.")
    return tagging.end()


class _Tagging:
    """One run. Worker threads record outcomes, but never two at a time."""

    def __init__(
        self, client: Client, named: Named, tag: str, contact_type: ContactType, *, is_off: bool
    ) -> None:
        self._client = client
        self._named = named
        self._tag = tag
        self._contact_type = contact_type
        self._is_off = is_off
        self._progress = Progress("contacts untagged" if is_off else "contacts tagged", len(named))
        self._requests = client.requests_sent
        self._begun = time.monotonic()
        self._gone: set[int] = set()
        self._may_pass: set[int] = set()
        self._answered = 0
        self._refused = Positions()
        self._is_worth_another_try = False

    def run(self, batch_size: int, max_concurrency: int, stop: threading.Event | None) -> None:
        deliver_by(
            self._send,
            "POST /tags",
            self._client,
            until(stop, self._named.rows()),
            self._settle,
            batch_size=batch_size,
            max_concurrency=max_concurrency,
        )

    def end(self) -> dict[str, Any]:
        """Return the result, or raise an error if a contact was refused."""
        result = {
            "tag": self._tag,
            "untag": self._is_off,
            "contact_type": self._contact_type,
            "named_by": self._named.by,
            "given": self._named.given,
            "contacts": len(self._named),
            "sent": self._answered - len(self._gone),
            "already_gone": len(self._gone),
            "refused": self._refused.total,
            "requests": self._client.requests_sent - self._requests,
            "seconds": round(time.monotonic() - self._begun, 3),
        }
        log.info(
            "%s: %d sent, %d already gone, %d refused.",
            count(len(self._named), "contact"),
            result["sent"],
            result["already_gone"],
            self._refused.total,
        )
        if self._refused.total:
            kind = UnfinishedError if self._is_worth_another_try else RefusedError
            raise kind(
                f"Customerly refused {self._refused.total} of {count(len(self._named), 'contact')}: "
                f"{self._refused}. The others: {result['sent']} sent. The positions count the "
                "source's entries from 1. Look up these contacts in Customerly, or leave them out of "
                "the source.",
                result,
            )
        return result

    def _send(self, group: list[Outgoing]) -> Verdict:
        contacts: dict[str, Sequence[dict[str, Any]]] = {self._contact_type: [row.contact for row in group]}
        try:
            (self._client.untag if self._is_off else self._client.tag)(self._tag, **contacts)
        except CustomerlyNotFound as failure:
            if not self._is_off or len(group) > 1 or not may_be_a_rows_fault(failure):
                raise
            self._gone.add(group[0].number)
        except CustomerlyError as failure:
            if len(group) == 1 and not failure.permanent:
                self._may_pass.add(group[0].number)
            raise
        return Verdict(group, [], [])

    def _settle(self, settled: list[Settled]) -> None:
        for row, problem in settled:
            if problem is None:
                self._answered += 1
            else:
                self._refused.add(problem.message, row.number)
                self._is_worth_another_try |= row.number in self._may_pass
        self._progress.tell(self._answered, self._refused.total)
