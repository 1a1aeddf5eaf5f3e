"""Erases contacts for good, and leaves evidence of it."""

from __future__ import annotations

import logging
import platform
import secrets
from collections import Counter
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_customerly import __version__
from airflow_provider_customerly.client import CustomerlyError, CustomerlyNotFound, CustomerlyRequestError
from airflow_provider_customerly.contacts.erasure_record import Entry, ErasureRecord, key_of
from airflow_provider_customerly.contacts.errors import RefusedError, UnfinishedError
from airflow_provider_customerly.contacts.positions import Positions
from airflow_provider_customerly.contacts.progress import Progress, until
from airflow_provider_customerly.storage import Location
from airflow_provider_customerly.sync.answer import Verdict
from airflow_provider_customerly.sync.blame import may_be_a_rows_fault
from airflow_provider_customerly.sync.deliver import deliver_by

if TYPE_CHECKING:
    import threading

    from airflow_provider_customerly.client import Client, ContactType
    from airflow_provider_customerly.contacts.named import Named
    from airflow_provider_customerly.sync.rows import Outgoing, Settled

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
    """Delete contacts for good, with their conversations and history.

    A contact that is not there any more is what was wanted: doing it all again is harmless. One that cannot
    be deleted does not keep the others from being tried, unless 20 fail and no other passes: see `deliver`.

    :param contact_type: where contacts are looked for. `both`: an email among users and among leads; a user
        id among users, for leads have none.
    :param dry_run: look the contacts up, and delete none.
    :param record_path: folder for the evidence: text, `os.PathLike` or Airflow's `ObjectStoragePath`. The
        record is there before the first deletion, follows every few seconds, and is complete at the end. A
        dry run has none.
    :param secret: hash the names into the record with this; without one it has positions only.
    :param owner: names what stays the same when the work is tried again.
    :param stop: when it is set, no further contact is begun.
    :return: figures, and the name of the record; nothing personal.
    :raises ValueError: an argument is wrong, or the record cannot be written; nothing was deleted.
    :raises CustomerlyError: the API failed; contacts that had been answered are in the record.
    :raises StoppedError: `stop` was set.
    :raises UnfinishedError: all were tried, and some failed; `RefusedError` if trying again is no use.
    """
    lists = _lists(contact_type, named)
    location = None if record_path is None or dry_run else Location.of(record_path)
    record = ErasureRecord(
        run=f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}",
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
    """One erasure. What one answer tells is noted by the thread that got it, never two at a time."""

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
            log.info("The source names no contact: there is nothing to delete.")
            return
        # Under a wrong address every contact would seem to be gone.
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
        """Complete the record and return the result; fail if a contact did."""
        self._record.outcome = "failed" if self._failed.total else "success"
        self._finish(None)
        result = self._result()
        log.info(
            "Of %d contacts %d were %s and %d already gone; %d failed.",
            len(self._named),
            self._outcomes["deleted"],
            self._verb,
            self._outcomes["already_gone"],
            self._failed.total,
        )
        if self._outcomes["already_gone"] == len(self._named) > 0:
            log.warning("No contact was there. Check that the token is that of the right project.")
        if self._failed.total:
            kind = UnfinishedError if self._is_worth_another_try else RefusedError
            raise kind(self._verdict(), result)
        return result

    def end_early(self, error: BaseException) -> None:
        """Write down how far it came; what fails here must not hide the error."""
        self._record.outcome = "stopped"
        try:
            self._finish(error)
        except Exception as another:
            log.warning("The record could not be completed: %s", type(another).__name__)

    def _erase(self, group: list[Outgoing]) -> Verdict:
        """Erase one contact from all lists; the first failure is raised once each was tried."""
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
        """Act on a contact; tell whether there was one."""
        try:
            self._act(contact_type, **contact)
        except CustomerlyNotFound as failure:
            if not self._is_dry and not may_be_a_rows_fault(failure):
                # The words are not about a contact: perhaps it is the request that was not found.
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
            "a contact that can be looked up is not found when it is to be deleted",
            request=failure.request,
            status=failure.status,
            vendor_message=failure.vendor_message,
            advice="The API does not delete as this version expects: nothing further was tried.",
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
            f"{self._failed.total} of {len(self._named)} contacts were not {what}: {self._failed}. "
            f"{counts['deleted']} were {self._verb}, {counts['already_gone']} were already gone. The "
            "positions are those in the source. Look these contacts up in Customerly, then run this again: "
            "those that are gone do no harm."
        )


def _lists(contact_type: Reach, named: Named) -> tuple[ContactType, ...]:
    if contact_type == "leads" and named.by == "user_id":
        raise ValueError("Leads have no user_id: name them by email.")
    if contact_type == "both":
        return ("users", "leads") if named.by == "email" else ("users",)
    if contact_type not in ("users", "leads"):
        raise ValueError(f"contact_type is {contact_type!r}: use users, leads or both.")
    return (contact_type,)
