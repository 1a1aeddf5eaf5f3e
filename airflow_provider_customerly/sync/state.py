"""The files in which a sync remembers what it did, and the lock on them.

Below `{state_path}/{sync_name}`::

    sync.json        what the sync is, and the salt of its fingerprints
    ledger/          the fingerprint of what Customerly accepted last, by contact
    journal/         answers that are not in the ledger yet; empty between runs
    rejects/         rows that were not delivered, with reasons: holds personal data
    plans/           sealed plans of dry runs: hold personal data
    runs/            what each run did
    _leases/         who works on it right now
"""

from __future__ import annotations

import re
import secrets
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_customerly.storage import Location, Lock
from airflow_provider_customerly.storage.location import TEMPORARY
from airflow_provider_customerly.sync import journal
from airflow_provider_customerly.sync.ledger_file import read_ledger, write_ledger
from airflow_provider_customerly.sync.plan_file import remove_unsealed
from airflow_provider_customerly.sync.rejects import remove_unrecorded

if TYPE_CHECKING:
    from types import TracebackType

    from airflow_provider_customerly.sync.ledger import Ledger

_NAME = re.compile(r"[\w.-]*\w[\w.-]*")
IDENTITY = "sync.json"
_SALT_BYTES = 16
_WITHOUT_SALT = (
    "The ledger beside it was made with its salt: restore the file from a backup, or delete the whole folder "
    "and let all rows be sent once more."
)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a sync's state belongs to: where any of it differs, the ledger says nothing."""

    sync_name: str
    contact_type: str
    base_url: str
    salt: str


class State:
    """The state of one sync, held for one run as a context manager.

    :param path: folder for the state of syncs: text, `os.PathLike`, or Airflow's `ObjectStoragePath`.
    :param sync_name: names the sync; letters, digits, dots, dashes and underscores.
    :param base_url: where the contacts go.
    :param owner: names what stays the same when the work is tried again.
    :raises ValueError: the name or path cannot be used, or the state belongs to another sync.
    :raises LockedError: another run of the sync is at work.
    """

    def __init__(self, path: Any, sync_name: str, contact_type: str, base_url: str, owner: str = "") -> None:
        if not _NAME.fullmatch(sync_name):
            raise ValueError(
                f"sync_name must be of letters, digits, dots, dashes and underscores. It is {sync_name!r}."
            )
        self.sync_name = sync_name
        self.location = Location.of(path).join(sync_name)
        # To the microsecond: the names of runs tell their order.
        self.run = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(4)}"
        self.owner = owner
        self.location.check_writable()
        self.lock = Lock(self.location, self.run, owner)
        try:
            self.salt = bytes.fromhex(self._identify(sync_name, contact_type, base_url).salt)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __enter__(self) -> State:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lock.__exit__(kind, error, trace)

    def recover(self) -> Ledger:
        """Read the ledger; take in what a dead run had journaled, and remove what else it left."""
        ledger, journals = journal.read_into(read_ledger(self._ledger_location), self.location)
        if journals:
            self.commit(ledger)  # which also removes what the run left of its own commit
        remove_unsealed(self.location)
        remove_unrecorded(self.location)
        for name in self.location.list():
            if TEMPORARY in name:
                self.location.delete(name)
        return ledger

    def commit(self, ledger: Ledger) -> None:
        """Make a ledger the newest state; the journals are in it."""
        self.lock.check()
        ledger.sequence = write_ledger(self._ledger_location, ledger, self.owner)
        journal.remove(self.location)

    @property
    def _ledger_location(self) -> Location:
        return self.location.join("ledger")

    def _identify(self, sync_name: str, contact_type: str, base_url: str) -> Identity:
        try:
            known = msgspec.json.decode(self.location.read(IDENTITY), type=Identity)
        except msgspec.DecodeError as error:
            problem = f"{IDENTITY} at {self.location} is damaged ({error}). {_WITHOUT_SALT}"
            raise ValueError(problem) from None
        except FileNotFoundError:
            if self.location.list("ledger"):
                raise ValueError(f"{IDENTITY} at {self.location} is gone. {_WITHOUT_SALT}") from None
            salt = secrets.token_hex(_SALT_BYTES)
            known = Identity(sync_name=sync_name, contact_type=contact_type, base_url=base_url, salt=salt)
            self.location.write_atomic(IDENTITY, msgspec.json.format(msgspec.json.encode(known), indent=2))
        for name, now, before in (
            ("contact_type", contact_type, known.contact_type),
            ("base URL", base_url, known.base_url),
        ):
            if now != before:
                raise ValueError(
                    f"The state at {self.location} is that of a sync with {name} {before}, not {now}: what "
                    "it knows of contacts does not hold there. Give the sync another name or path."
                )
        return known
