"""Keep the files of a sync, and the lock on them.

Below ``{state_path}/{sync_name}``::

    sync.json        which sync this is, and the salt of its digests
    ledger/          fingerprints of what Customerly last accepted, by contact
    journal/         responses that are not in the ledger yet; empty between runs
    rejects/         rows that were not delivered, with reasons; personal data
    plans/           sealed plans of dry runs; personal data
    undo/            what Customerly held before a run; personal data
    runs/            what each run did
    _leases/         active runs
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import re
import secrets
import unicodedata
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_customerly.delivery.deliver import MOST_HELD
from airflow_provider_customerly.storage import Location, Lock
from airflow_provider_customerly.storage.location import TEMPORARY
from airflow_provider_customerly.storage.manifest import list_numbers
from airflow_provider_customerly.storage.process import Process
from airflow_provider_customerly.storage.run_id import RunId
from airflow_provider_customerly.sync.damage import IDENTITY, DamagedStateError
from airflow_provider_customerly.sync.intent import Intent
from airflow_provider_customerly.sync.journal import page_name
from airflow_provider_customerly.sync.ledger_file import begin, read_ledger, write_ledger
from airflow_provider_customerly.sync.recovery import Recovery
from airflow_provider_customerly.sync.rejects import remove_unrecorded

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from airflow_provider_customerly.storage import Write
    from airflow_provider_customerly.sync.compared_with import ComparedWith
    from airflow_provider_customerly.sync.ledger import Ledger
    from airflow_provider_customerly.sync.options import Options

log = logging.getLogger(__name__)

_NAME = re.compile(r"[\w.-]*\w[\w.-]*")
_SALT_BYTES = 16


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a sync's state belongs to. If any of it differs, the ledger does not apply."""

    sync_name: str
    contact_type: str
    base_url: str
    salt: str


def most_asked(options: Options) -> int:
    """Return the maximum number of rows that are in flight, or answered but held back."""
    return options.max_concurrency * (options.batch_size + 1) + MOST_HELD


class State:
    """The state of one sync, held for one run as a context manager.

    :param path: folder for the state of syncs: text, ``os.PathLike``, or Airflow's ``ObjectStoragePath``.
    :param sync_name: name of the sync: letters, digits, dots, dashes and underscores.
    :param base_url: base URL of the API.
    :param owner: what stays the same across retries, so that a later attempt can take over.
    :raises ValueError: the name or path is invalid, or the state belongs to another sync.
    :raises LockedError: another run of the sync is active.
    """

    def __init__(self, path: Any, sync_name: str, contact_type: str, base_url: str, owner: str = "") -> None:
        if not _NAME.fullmatch(sync_name):
            raise ValueError(
                f"sync_name must be of letters, digits, dots, dashes and underscores. It is {sync_name!r}."
            )
        self.sync_name = sync_name
        self.location = dataclasses.replace(Location.of(path).join(sync_name), private=True)
        self.run = str(RunId.new())  # msgspec encodes no subclass of str
        self.owner = owner
        self._write: Write | None = None
        self.location.check_writable()
        self.lock = Lock(self.location, self.run, owner)
        try:
            self.salt = bytes.fromhex(self._identify(sync_name, contact_type, base_url).salt)
            self.id = hashlib.blake2b(key=self.salt, digest_size=8, person=b"state").hexdigest()
            """Identifies the salt without revealing it. Digests made with another salt are useless here."""
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __enter__(self) -> State:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._write is not None:
            self._write.abort()
        self.lock.__exit__(kind, error, trace)

    def intent(
        self,
        ledger: Ledger,
        options: Options,
        applies: str = "",
        compared_with: ComparedWith | None = None,
        undoes: str = "",
    ) -> Intent:
        """Return what the next run must know about this one's plan if this one crashes."""
        return Intent(
            state=self.id,
            base=ledger.sequence,
            process=Process.current(),
            in_flight=2 * most_asked(options),  # the same number may be answered and wait for their page
            applies=applies,
            compared_with=compared_with,
            undoes=undoes,
            fields=list(ledger.fields),
            on_vanished=options.on_vanished,
        )

    def recover(self) -> Ledger:
        """Read the ledger, and merge and remove what earlier runs left.

        :raises DamagedStateError: a file cannot be read, and ignoring it would not be safe.
        """
        self._write = begin(self._ledger_location)
        recovery = Recovery(self.location, self.id, read_ledger(self._write, self.id))
        self.lock.check()
        if recovery.is_news:
            recovery.finish_before_commit()
            self._commit(recovery.ledger)
            self._write = begin(self._ledger_location, recovery.ledger.sequence)
        self.tidy(recovery.done)
        remove_unrecorded(self.location)
        for name in self.location.list():
            if TEMPORARY in name:
                self.location.delete(name)
        return recovery.ledger

    def commit(self, ledger: Ledger, pages: int = 0) -> None:
        """Commit a ledger that includes this run's journal, and remove the journal.

        :param pages: number of this run's last journal page.
        :raises LockLostError: another run has taken over.
        :raises CommitConflictError: another run has committed.
        """
        self.lock.check()
        ledger.taken, ledger.ended = {self.run: pages}, {self.run}
        self._commit(ledger)
        self.tidy(page_name(self.run, number) for number in range(1, pages + 1))

    def tidy(self, names: Iterable[str]) -> None:
        """Delete files that are merged into the ledger. The next run removes those that remain."""
        for name, error in self.location.delete_many(
            list(names)
        ).items():  # everything is delivered and recorded
            log.warning(
                "%s could not be removed: %s. The next run removes it.",
                self.location.path(name),
                type(error).__name__,
            )

    def _commit(self, ledger: Ledger) -> None:
        assert self._write is not None  # noqa: S101  # recover() comes before any commit
        ledger.sequence = write_ledger(self._write, ledger, self.id)

    @property
    def _ledger_location(self) -> Location:
        return self.location.join("ledger")

    def _identify(self, sync_name: str, contact_type: str, base_url: str) -> Identity:
        try:
            known = msgspec.json.decode(self.location.read(IDENTITY), type=Identity)
            bytes.fromhex(known.salt)
        except (msgspec.MsgspecError, ValueError) as error:
            raise DamagedStateError(self.location, IDENTITY, str(error)) from None
        except IsADirectoryError:
            raise DamagedStateError(self.location, IDENTITY, "it is a folder") from None
        except FileNotFoundError:
            if list_numbers(self._ledger_location).last:
                if self.location.exists(IDENTITY):  # written while this run stood still
                    return self._identify(sync_name, contact_type, base_url)
                gone = "it is gone, and the ledger beside it was made with its salt"
                raise DamagedStateError(self.location, IDENTITY, gone) from None
            salt = secrets.token_hex(_SALT_BYTES)
            known = Identity(sync_name=sync_name, contact_type=contact_type, base_url=base_url, salt=salt)
            content = msgspec.json.format(msgspec.json.encode(known), indent=2)
            try:
                self.location.create_exclusive(IDENTITY, content)
            except FileExistsError:  # this run stood still, and the one that took over has written it
                return self._identify(sync_name, contact_type, base_url)
        # On a disk that ignores case or Unicode forms, two names share a folder. A renamed folder is fine.
        is_mixed_up = _folded(sync_name) == _folded(known.sync_name)
        for name, now, before in (
            ("the name", sync_name, known.sync_name if is_mixed_up else sync_name),
            ("contact_type", contact_type, known.contact_type),
            ("base URL", base_url, known.base_url),
        ):
            if now != before:
                raise ValueError(
                    f"The state at {self.location} belongs to a sync with {name} {before}, not {now}, so "
                    "what it knows of contacts may be wrong there. Give the sync another name or path."
                )
        return known
