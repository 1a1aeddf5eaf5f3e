"""Users and leads in memory, in the order of the API's lists."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_customerly.emulator.lookup import Lookup
from airflow_provider_customerly.emulator.seeded import CONTACT_TYPES, Seeded
from airflow_provider_customerly.emulator.stamps import NEWEST_SEEDED, parse_stamp, seeded_stamps, stamp_text
from airflow_provider_customerly.emulator.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Mutation(NamedTuple):
    """One change: ``kind`` is update, create, delete or convert (a lead that became a user)."""

    kind: str
    contact_type: str
    contact_id: int


class Contacts:
    """The contacts; :class:`Store` adds the rules of the API. All methods are thread-safe.

    :ivar journal: all changes since the start, in order.
    :ivar lock: hold it to make several changes atomically.
    """

    def __init__(
        self,
        users: int = 5000,
        leads: int = 500,
        seed: int = 1,
        *,
        tie_group: int = 0,
        bulk_share: float = 0.0,
        shuffle_ties: bool = False,
        until: int = NEWEST_SEEDED,
        clock: Callable[[], float] = time.time,
        max_per_page: int = 100,
    ) -> None:
        self.shuffle_ties = shuffle_ties
        self.max_per_page = max_per_page
        self.journal: list[Mutation] = []
        self.lock = threading.RLock()
        self._clock = clock
        self._seeding = (users, leads, seed, tie_group, bulk_share, until)
        self.reset()

    def reset(self) -> None:
        """Restore the seeded contacts."""
        users, leads, seed, tie_group, bulk_share, until = self._seeding
        with self.lock:
            self._draw = random.Random(seed)
            self._seeded = Seeded(seed)
            ids = [self._seeded.contact_id(number) for number in range(users + leads)]
            self._draw.shuffle(ids)
            chosen = {"users": ids[:users], "leads": ids[users:]}
            self._tables = {
                kind: Table(
                    kind,
                    self._seeded,
                    seeded_stamps(chosen[kind], self._draw, tie_group, until, bulk_share),
                )
                for kind in CONTACT_TYPES
            }
            self._newest = until
            self._next_id = self._first_new_id = self._seeded.contact_id(users + leads) + 3
            self._lookup = Lookup(self._seeded)
            self.journal.clear()

    def count(self, contact_type: str) -> int:
        """Return the number of contacts."""
        return len(self._tables[contact_type])

    def page(
        self,
        contact_type: str,
        page: int = 0,
        per_page: int = 50,
        sort: str = "last_update",
        direction: str = "asc",
    ) -> bytes:
        """Return one page of the list as a JSON array.

        :param page: from 0; the offset is ``page * per_page``, after ``per_page`` is clamped.
        :param sort: ``last_update``, ``name`` or ``crmhero_user_id``. Null names come first (a guess).
        :raises ValueError: any other ``sort``.
        """
        size = min(per_page, self.max_per_page)
        start, stop, descending = page * size, (page + 1) * size, direction == "desc"
        with self.lock:
            table = self._tables[contact_type]
            if sort == "last_update":
                shuffle = self._draw if self.shuffle_ties else None
                ids = table.ids(start, stop, descending=descending, shuffle=shuffle)
            elif sort == "name":
                ids = table.ids_by_name(start, stop, descending=descending)
            elif sort == "crmhero_user_id":
                ids = sorted(table.stamps, reverse=descending)[start:stop]
            else:
                raise ValueError(f"cannot sort by {sort!r}. Use last_update, name or crmhero_user_id")
            return table.json(ids)

    def find(self, contact_type: str, *, email: str | None = None, user_id: str | None = None) -> int | None:
        """Return the id of the contact with this email or ``user_id``, or None."""
        with self.lock:
            return self._lookup.find(self._tables[contact_type], email=email, user_id=user_id)

    def get(self, contact_type: str, contact_id: int) -> dict[str, Any] | None:
        """Return a copy of one contact as in lists, or None."""
        with self.lock:
            table = self._tables[contact_type]
            return table.record(contact_id) if contact_id in table else None

    def truth(self, contact_type: str) -> dict[int, dict[str, Any]]:
        """Return all contacts by id, as in lists right now."""
        with self.lock:
            table = self._tables[contact_type]
            return {contact_id: table.record(contact_id) for contact_id in table.stamps}

    def versions(self, contact_type: str) -> dict[int, str]:
        """Return the ``last_update`` of all contacts by id, which is cheaper than :meth:`truth`."""
        with self.lock:
            stamps = self._tables[contact_type].stamps
            return {contact_id: stamp_text(stamp) for contact_id, stamp in stamps.items()}

    def update(self, contact_type: str, contact_id: int, changes: Mapping[str, Any]) -> None:
        """Set fields of a contact, which moves it to the end of the list.

        :raises KeyError: there is no such contact.
        """
        with self.lock:
            record = self._tables[contact_type].record(contact_id) | dict(changes)
            self._put(contact_type, contact_id, record)
            self._note("update", contact_type, contact_id)

    def delete(self, contact_type: str, contact_id: int) -> None:
        """Permanently delete a contact; everything after it in the list moves up.

        :raises KeyError: there is no such contact.
        """
        with self.lock:
            self._take(contact_type, contact_id)
            self._note("delete", contact_type, contact_id)

    def insert_raw(self, contact_type: str, record: Mapping[str, Any], last_update: int | None = None) -> int:
        """Insert a record unchanged, odd fields included, replacing any contact with its id.

        :param record: needs ``crmhero_user_id`` (a number or numeric text); everything else is optional.
        :param last_update: epoch seconds, which define its position in the list. By default the record's own
            ``last_update``, or now if that is missing or invalid.
        :return: the id.
        """
        contact_id = int(record["crmhero_user_id"])
        with self.lock:
            stamp = last_update if last_update is not None else parse_stamp(record.get("last_update"))
            for kind in CONTACT_TYPES:
                if contact_id in self._tables[kind]:
                    self._take(kind, contact_id)
            self._put(contact_type, contact_id, dict(record), self._now() if stamp is None else stamp)
            self._next_id = max(self._next_id, contact_id + 1)
            self._note("create", contact_type, contact_id)
        return contact_id

    def set_last_update(self, contact_type: str, contact_id: int, stamp: int) -> None:
        """Move a contact to any position in the list, by epoch seconds that may go backwards."""
        with self.lock:
            record = self._tables[contact_type].record(contact_id) | {"last_update": stamp_text(stamp)}
            self._put(contact_type, contact_id, record, stamp)
            self._note("update", contact_type, contact_id)

    def _now(self) -> int:
        self._newest = max(self._newest, int(self._clock()))
        return self._newest

    def _note(self, kind: str, contact_type: str, contact_id: int) -> None:
        self.journal.append(Mutation(kind, contact_type, contact_id))

    def _put(
        self, contact_type: str, contact_id: int, record: dict[str, Any], stamp: int | None = None
    ) -> None:
        """Store a new or changed contact with a ``last_update`` of ``stamp``, or of now."""
        if stamp is None:
            stamp = self._now()
            record["last_update"] = stamp_text(stamp)
        if contact_id in self._tables[contact_type]:
            self._take(contact_type, contact_id)
        self._newest = max(self._newest, stamp)
        self._tables[contact_type].put(contact_id, record, stamp)
        self._lookup.add(contact_id, record)

    def _take(self, contact_type: str, contact_id: int) -> None:
        table = self._tables[contact_type]
        self._lookup.drop(contact_id, table.record(contact_id))
        table.remove(contact_id)
