"""Permanently erase contacts, and keep evidence of it."""

from __future__ import annotations

import logging
import platform
from collections import Counter
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_customerly import __version__
from airflow_provider_customerly.client import CustomerlyError, CustomerlyNotFound, CustomerlyRequestError
from airflow_provider_customerly.contacts.erasure_record import Entry, ErasureRecord, key_of
from airflow_provider_customerly.contacts.errors import RefusedError, UnfinishedError
from airflow_provider_customerly.contacts.positions import Positions
from airflow_provider_customerly.contacts.progress import Progress, until
from airflow_provider_customerly.delivery.blame import is_about_someone, may_be_a_rows_fault
from airflow_provider_customerly.delivery.deliver import deliver_by
from airflow_provider_customerly.delivery.outcomes import Verdict
from airflow_provider_customerly.storage import Location, RunId
from airflow_provider_customerly.values.email import forms_of
from airflow_provider_customerly.values.words import count

if TYPE_CHECKING:
    import threading

    from airflow_provider_customerly.client import Client, ContactType
    from airflow_provider_customerly.contacts.named import Named
    from airflow_provider_customerly.values.rows import Outgoing, Settled

log = logging.getLogger(__name__)

Reach = Literal["users", "leads", "both"]


def erase_contacts(
    client: Client,
    named: Named,
    *,
    contact_type: Reach = "both",
    max_concurrency: int = 1,
    dry_run: bool = False,
    record_path: Any = None,
    secret: str | None = None,
    owner: str = "",
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Permanently delete contacts, with their conversations and history.

    It is safe to run this again: a contact that is already gone counts as success. A contact that cannot be
    deleted does not stop the others, unless 20 fail and none succeeds (see ``deliver``).

    :param contact_type: where to look for contacts. ``both`` looks for an email among users and leads, and
        for a user_id among users only, because leads have none.
    :param dry_run: look up the contacts without deleting them.
    :param record_path: folder for the evidence: text, ``os.PathLike`` or Airflow's ``ObjectStoragePath``. The
        record is written before the first deletion, updated every few seconds, and complete at the end. A dry
        run has no record.
    :param secret: used to hash emails and ids in the record; without it, the record has positions only.
    :param owner: what stays the same across retries.
    :param stop: when it is set, no further contact is started.
    :return: counts and the path of the record; no personal data.
    :raises ValueError: an argument is invalid, or the record cannot be written. Nothing was deleted.
    :raises CustomerlyError: the API failed. The record has the outcome of all contacts processed so far.
    :raises StoppedError: ``stop`` was set.
    :raises UnfinishedError: all contacts were tried, and some failed; ``RefusedError`` if a retry cannot
        help.
    """
    lists = _lists(contact_type, named)
    location = None if record_path is None or dry_run else Location.of(record_path)
    record = ErasureRecord(
        run=str(RunId.new()),
        owner=owner,
        base_url=client.base_url,
        contact_type=contact_type,
        named_by=named.by,
        started_at=datetime.now(timezone.utc),
        counts={},
        contacts=[
            Entry(position=position, key=key_of(secret, named.by, name) if secret else None)
            for name, position in zip(named.names, named.positions, strict=True)
        ],
        versions={"airflow-provider-customerly": __version__, "python": platform.python_version()},
    )
    erasure = _Erasure(client, named, lists, record, location, is_dry=dry_run)
    try:
        erasure.run(max_concurrency, stop)
    except BaseException as error:
        erasure.end_early(error)
        raise
    return erasure.end()


class _Erasure:
    """One erasure. Worker threads record outcomes, but never two at a time."""

    def __init__(
        self,
        client: Client,
        named: Named,
        lists: tuple[ContactType, ...],
        record: ErasureRecord,
        location: Location | None,
        *,
        is_dry: bool,
    ) -> None:
        self._client = client
        self._named = named
        self._lists = lists
        self._record = record
        self._location = location
        self._is_dry = is_dry
        self._act = client.get_contact if is_dry else client.delete_contact
        self._verb = "found" if is_dry else "deleted"
        self._progress = Progress(f"contacts {self._verb} or already gone", len(named))
        self._requests = client.requests_sent
        self._outcomes = Counter[str]()
        self._failed = Positions()
        self._may_pass: set[int] = set()
        self._is_worth_another_try = False

    def run(self, max_concurrency: int, stop: threading.Event | None) -> None:
        if self._location is not None:
            self._location.check_writable()
        self._write()
        if not len(self._named):
            log.info("The source has no contacts, so there is nothing to delete.")
            return
        # With a wrong URL every contact would seem to be gone.
        self._client.check()
        deliver_by(
            self._erase,
            "GET or DELETE",
            self._client,
            until(stop, self._named.rows()),
            self._settle,
            batch_size=1,
            max_concurrency=max_concurrency,
        )

    def end(self) -> dict[str, Any]:
        """Complete the record and return the result, or raise an error if a contact failed."""
        self._record.outcome = "failed" if self._failed.total else "success"
        self._finish(None)
        result = self._result()
        log.info(
            "%s: %d %s, %d already gone, %d failed.",
            count(len(self._named), "contact"),
            self._outcomes["deleted"],
            self._verb,
            self._outcomes["already_gone"],
            self._failed.total,
        )
        if self._outcomes["already_gone"] == len(self._named) > 0:
            log.warning("None of the contacts exists. Check that the token belongs to the right project.")
        if self._failed.total:
            kind = UnfinishedError if self._is_worth_another_try else RefusedError
            raise kind(self._verdict(), result)
        return result

    def end_early(self, error: BaseException) -> None:
        """Record what was done so far. A failure here must not hide the original error."""
        self._record.outcome = "stopped"
        try:
            self._finish(error)
        except Exception as another:
            log.warning("Could not complete the record: %s\n%s", type(another).__name__, self._location)

    def _erase(self, group: list[Outgoing]) -> Verdict:
        """Erase one contact from all lists, then raise the first failure, if any."""
        [row] = group
        entry = self._record.contacts[int(row.key)]
        failure: CustomerlyError | None = None
        for contact_type in self._lists:
            try:
                if self._is_there(contact_type, row.contact) and contact_type not in entry.deleted_from:
                    entry.deleted_from.append(contact_type)
            except CustomerlyError as error:
                if not may_be_a_rows_fault(error):
                    raise
                failure = failure or error
        if failure is not None:
            if not failure.permanent:
                self._may_pass.add(row.number)
            raise failure
        return Verdict([row], [], [])

    def _is_there(self, contact_type: ContactType, contact: dict[str, Any]) -> bool:
        """Look up or delete a contact under each form of its email; return whether it was found."""
        # No early return: a server that compares bytes may have a contact under several forms.
        found = [self._is_under(contact_type, spelled) for spelled in _spellings(contact)]
        return any(found)

    def _is_under(self, contact_type: ContactType, contact: dict[str, Any]) -> bool:
        try:
            self._act(contact_type, **contact)
        except CustomerlyNotFound as failure:
            if not self._is_dry and not is_about_someone(failure):
                # The message is not about a contact, so it may mean the path.
                self._make_sure_it_is_gone(contact_type, contact, failure)
            return False
        return True

    def _make_sure_it_is_gone(
        self, contact_type: ContactType, contact: dict[str, Any], failure: CustomerlyError
    ) -> None:
        try:
            self._client.get_contact(contact_type, **contact)
        except CustomerlyNotFound:
            return
        raise CustomerlyRequestError(
            "the contact can be looked up, but the DELETE request does not find it",
            request=failure.request,
            status=failure.status,
            vendor_message=failure.vendor_message,
            advice="The API does not delete as this version expects, so the run stopped. Look for an update "
            "of this package, or report this as a bug.",
        )

    def _settle(self, settled: list[Settled]) -> None:
        for row, problem in settled:
            entry = self._record.contacts[int(row.key)]
            if problem is not None:
                entry.outcome, entry.reason = "failed", problem.message
                self._failed.add(problem.message, entry.position)
                self._is_worth_another_try |= row.number in self._may_pass
            else:
                entry.outcome = "deleted" if entry.deleted_from else "already_gone"
            self._outcomes[entry.outcome] += 1
        done = self._outcomes["deleted"] + self._outcomes["already_gone"]
        if self._progress.tell(done, self._failed.total):
            self._write()

    def _finish(self, error: BaseException | None) -> None:
        self._record.error = type(error).__name__ if error else None
        self._record.finished_at = datetime.now(timezone.utc)
        self._write()

    def _write(self) -> None:
        self._record.counts = {
            "given": self._named.given,
            "contacts": len(self._named),
            "deleted": self._outcomes["deleted"],
            "already_gone": self._outcomes["already_gone"],
            "failed": self._outcomes["failed"],
            "pending": len(self._named) - self._outcomes.total(),
        }
        if self._location is not None:
            self._record.write(self._location)

    def _result(self) -> dict[str, Any]:
        record, counts = self._record, dict(self._record.counts)
        if self._is_dry:
            counts["found"], counts["deleted"] = counts["deleted"], 0
        started, finished = record.started_at, record.finished_at or record.started_at
        return {
            "contact_type": record.contact_type,
            "named_by": record.named_by,
            "dry_run": self._is_dry,
            "outcome": record.outcome,
            **counts,
            "record": None if self._location is None else f"{self._location}/{record.name}",
            "requests": self._client.requests_sent - self._requests,
            "seconds": round((finished - started).total_seconds(), 3),
        }

    def _verdict(self) -> str:
        counts = self._record.counts
        what = "looked up" if self._is_dry else "deleted"
        return (
            f"{self._failed.total} of {count(len(self._named), 'contact')} could not be {what}: "
            f"{self._failed}. The others: {counts['deleted']} {self._verb}, {counts['already_gone']} already "
            "gone. The positions count the source's entries from 1. Look up these contacts in Customerly, "
            "then run this again; it skips contacts that are already gone."
        )


def _spellings(contact: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"email": form} for form in forms_of(contact["email"])] if "email" in contact else [contact]


def _lists(contact_type: Reach, named: Named) -> tuple[ContactType, ...]:
    if contact_type == "leads" and named.by == "user_id":
        raise ValueError("Leads have no user_id. Identify them by email.")
    if contact_type == "both":
        return ("users", "leads") if named.by == "email" else ("users",)
    if contact_type not in ("users", "leads"):
        raise ValueError(f"contact_type is {contact_type!r}. Use users, leads or both.")
    return (contact_type,)
