"""The project that the emulator serves: contacts in memory, no HTTP."""

from __future__ import annotations

import random
import threading
import time
from calendar import timegm
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.emulator import churn, rules
from airflow_provider_customerly.emulator.relations import Relations
from airflow_provider_customerly.emulator.seeded import CONTACT_TYPES, Seeded, new_record, stamp_text
from airflow_provider_customerly.emulator.stamps import NEWEST_SEEDED, seeded_stamps
from airflow_provider_customerly.emulator.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping


class Store:
    """A Customerly project in memory. Every method may be called from any thread.

    :param users: seeded users. A million is feasible: seeded contacts are computed when they are read.
    :param leads: seeded leads.
    :param seed: the same seed and sizes give the same contacts.
    :param tie_group: this many users, and this many leads, share one ``last_update``, as after a bulk import. The
        other stamps are unique or shared by a few.
    :param shuffle_ties: draw the order among equal stamps anew at each page, since the vendor defines none.
        Otherwise the id decides.
    :param until: epoch seconds of the newest seeded ``last_update``; the oldest is three years before.
    :param clock: epoch seconds now. Changes are stamped with it, but never below the newest stamp in the store.
    :param max_per_page: a larger page is clamped to this size, and so is its offset: a guess, the vendor documents
        no limit.
    """

    def __init__(
        self,
        users: int = 5000,
        leads: int = 500,
        seed: int = 1,
        *,
        tie_group: int = 0,
        shuffle_ties: bool = False,
        until: int = NEWEST_SEEDED,
        clock: Callable[[], float] = time.time,
        max_per_page: int = 100,
    ) -> None:
        self.shuffle_ties = shuffle_ties
        self.max_per_page = max_per_page
        self.journal: list[churn.Mutation] = []
        self.lock = threading.RLock()
        self._clock = clock
        self._seeding = (users, leads, seed, tie_group, until)
        self.reset()

    def reset(self) -> None:
        """Put back the seeded contacts."""
        users, leads, seed, tie_group, until = self._seeding
        with self.lock:
            self._draw = random.Random(seed)
            self._seeded = Seeded(seed)
            self._numbers = users + leads
            ids = [self._seeded.contact_id(number) for number in range(self._numbers)]
            self._draw.shuffle(ids)
            chosen = {"users": ids[:users], "leads": ids[users:]}
            self._tables = {
                kind: Table(kind, self._seeded, seeded_stamps(chosen[kind], self._draw, tie_group, until))
                for kind in CONTACT_TYPES
            }
            self._newest = max(until, *(table.newest for table in self._tables.values()))
            self._next_id = self._seeded.contact_id(self._numbers) + 3
            self._emails: dict[str, int] = {}
            self._user_ids: dict[str, int] = {}
            self._relations = Relations(self._seeded)
            self.journal.clear()

    # Reading

    def count(self, contact_type: str) -> int:
        """Return how many contacts there are."""
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

        :param page: from 0; the offset is ``page * per_page``, with the clamped ``per_page``.
        :param sort: ``last_update`` or ``name``. Null names come first (a guess).
        :raises ValueError: another ``sort``.
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
            else:
                raise ValueError(f"sort by {sort!r} is not served: use last_update or name")
            return table.json(ids)

    def find(self, contact_type: str, *, email: str | None = None, user_id: str | None = None) -> int | None:
        """Return the id of the contact with this email (case does not matter: a guess) or the caller's user id."""
        with self.lock:
            table = self._tables[contact_type]
            if email is not None:
                found, field, wanted = self._emails.get(email.lower()), "email", email.lower()
                candidate = self._seeded.candidate(email=wanted)
            else:
                found, field, wanted = self._user_ids.get(user_id or ""), "user_id", user_id or ""
                candidate = self._seeded.candidate(user_id=user_id)
            if found is not None and found in table:
                return found
            if candidate is None or not table.is_seeded(candidate):
                return None
            return candidate if table.record(candidate).get(field) == wanted else None

    def get(
        self,
        contact_type: str,
        contact_id: int | None = None,
        *,
        email: str | None = None,
        user_id: str | None = None,
        details: bool = False,
    ) -> dict[str, Any] | None:
        """Return a copy of one contact, or None.

        :param details: add what only the single-contact answer carries: tags, segments, events, notes, companies.
        """
        with self.lock:
            one = (
                contact_id
                if contact_id is not None
                else self.find(contact_type, email=email, user_id=user_id)
            )
            if one is None or one not in self._tables[contact_type]:
                return None
            record = self._tables[contact_type].record(one)
            if details:
                record["user_tags"] = self.tags_of(one)
                record["companies"] = self._relations.companies_of(one)
                record |= {"user_segments": [], "user_events": [], "user_notes": []}
            return record

    def truth(self, contact_type: str) -> dict[int, dict[str, Any]]:
        """Return every contact by id, as the list would give it now."""
        with self.lock:
            table = self._tables[contact_type]
            return {contact_id: table.record(contact_id) for contact_id in table.stamps}

    def versions(self, contact_type: str) -> dict[int, str]:
        """Return every contact's ``last_update`` by id: the cheap form of :meth:`truth` for large stores."""
        with self.lock:
            stamps = self._tables[contact_type].stamps
            return {contact_id: stamp_text(stamp) for contact_id, stamp in stamps.items()}

    # Writing

    def upsert(self, contact_type: str, rows: Iterable[Any]) -> rules.Upserted:
        """Create or update a batch by email; rows that break a rule are rejected, the others stored.

        A lead whose email is posted as a user becomes one and keeps its id (inferred). A user whose email is posted
        as a lead stays a user, and a ``user_id`` that another email holds rejects the row: guesses.
        """
        outcome = rules.Upserted()
        with self.lock:
            for number, row in enumerate(rows):
                problem = rules.contact_problem(row) or self._conflict(contact_type, row)
                if problem is None:
                    self._upsert_one(contact_type, row)
                    outcome.accepted += 1
                else:
                    sent = row if isinstance(row, dict) else {}
                    reject = rules.Reject(number, sent.get("email"), sent.get("user_id"), problem)
                    outcome.rejects.append(reject)
        return outcome

    def update(self, contact_type: str, contact_id: int, changes: Mapping[str, Any]) -> None:
        """Set fields of a contact, which moves it to the end of the list.

        :raises KeyError: there is no such contact.
        """
        with self.lock:
            if contact_id not in self._tables[contact_type]:
                raise KeyError(contact_id)
            record = self._tables[contact_type].record(contact_id) | dict(changes)
            self._put(contact_type, contact_id, record)
            self._note("update", contact_type, contact_id)

    def add_attributes(self, contact_type: str, contact_id: int, attributes: Any) -> None:
        """Merge attributes into a contact."""
        with self.lock:
            record = self._tables[contact_type].record(contact_id)
            rules.merge_attributes(record, attributes)
            self.update(contact_type, contact_id, {"attributes": record["attributes"]})

    def delete(self, contact_type: str, contact_id: int) -> None:
        """Delete a contact for good; everything behind it in the list moves up.

        :raises KeyError: there is no such contact.
        """
        with self.lock:
            self._take(contact_type, contact_id)
            self._relations.forget(contact_id)
            self._note("delete", contact_type, contact_id)

    def insert_raw(self, contact_type: str, record: Mapping[str, Any], last_update: int | None = None) -> int:
        """Plant a record verbatim, odd fields and all, replacing any contact with its id.

        :param record: needs ``crmhero_user_id`` (a number or a numeric text); everything else is free.
        :param last_update: epoch seconds that place it in the list. By default the record's own ``last_update``, or
            now when that is absent or cannot be read.
        :return: the id.
        """
        contact_id = int(record["crmhero_user_id"])
        with self.lock:
            stamp = last_update if last_update is not None else _stamp_of(record.get("last_update"))
            for kind in CONTACT_TYPES:
                if contact_id in self._tables[kind]:
                    self._take(kind, contact_id)
            self._put(contact_type, contact_id, dict(record), self._now() if stamp is None else stamp)
            self._next_id = max(self._next_id, contact_id + 1)
            self._note("create", contact_type, contact_id)
        return contact_id

    def set_last_update(self, contact_type: str, contact_id: int, stamp: int) -> None:
        """Move a contact to any place of the list: epoch seconds, which may go backwards."""
        with self.lock:
            record = self._tables[contact_type].record(contact_id) | {"last_update": stamp_text(stamp)}
            self._put(contact_type, contact_id, record, stamp)
            self._note("update", contact_type, contact_id)

    def churn(
        self, count: int, weights: Mapping[str, float] | None = None, protect: Collection[int] = ()
    ) -> list[churn.Mutation]:
        """Apply random changes, seeded; see :func:`~airflow_provider_customerly.emulator.churn.apply`."""
        with self.lock:
            done = len(self.journal)
            churn.apply(self, self._tables, self._draw, count, weights, protect)
            return self.journal[done:]

    # Tags and companies. Whether they touch last_update is not known; here they do not.

    def tag_names(self) -> list[str]:
        """Return the project's tags."""
        with self.lock:
            return self._relations.tag_names()

    def tags_of(self, contact_id: int) -> list[str]:
        """Return a contact's tags."""
        with self.lock:
            seeded = contact_id < self._seeded.contact_id(self._numbers)
            return self._relations.tags(contact_id, seeded=seeded)

    def tag(self, contact_id: int, tags: Iterable[str], *, untag: bool = False) -> None:
        """Add tags to a contact, or take them off."""
        with self.lock:
            stored, named = self.tags_of(contact_id), list(dict.fromkeys(tags))
            kept = [tag for tag in stored if tag not in named]
            self._relations.set_tags(contact_id, kept if untag else kept + named)

    def delete_tag(self, tag: str) -> bool:
        """Remove a tag everywhere; False when there is none."""
        with self.lock:
            return self._relations.delete_tag(tag)

    def company(
        self, company_id: str, name: str | None, attributes: Any, contact_id: int | None = None
    ) -> dict[str, Any]:
        """Create or merge a company and, if a contact is given, put that contact into it."""
        with self.lock:
            company = self._relations.company(company_id, name, attributes)
            if contact_id is not None:
                self._relations.link(contact_id, company_id)
            return company

    # Inside

    def _now(self) -> int:
        self._newest = max(self._newest, int(self._clock()))
        return self._newest

    def _note(self, kind: str, contact_type: str, contact_id: int) -> None:
        self.journal.append(churn.Mutation(kind, contact_type, contact_id))

    def _conflict(self, contact_type: str, row: dict[str, Any]) -> str | None:
        if contact_type != "users" or row.get("user_id") is None:
            return None
        user_id = str(row["user_id"])
        owner, holder = self.find("users", email=row["email"]), self.find("users", user_id=user_id)
        if holder is not None and holder != owner:
            return "user_id already belongs to another email"
        held = self._tables["users"].record(owner).get("user_id") if owner is not None else None
        return None if held is None or str(held) == user_id else "email already belongs to another user_id"

    def _upsert_one(self, contact_type: str, row: dict[str, Any]) -> None:
        user, lead = self.find("users", email=row["email"]), self.find("leads", email=row["email"])
        kind = "users" if user is not None else contact_type
        if user is not None or (lead is not None and contact_type == "leads"):
            contact_id = user if user is not None else lead
            assert contact_id is not None  # noqa: S101  # one of the two is set here
            record, happened = self._tables[kind].record(contact_id), "update"
        elif lead is not None:
            contact_id, happened = lead, "convert"
            record = self._tables["leads"].record(lead) | {"is_user": 1, "was_lead": 1}
            self._take("leads", lead)
        else:
            contact_id, happened = self._next_id, "create"
            self._next_id += self._draw.randint(1, 3)
            record = new_record(contact_type, contact_id, row["email"], self._now())
        rules.merge_contact(record, row, kind)
        self._put(kind, contact_id, record)
        if row.get("tags"):
            self.tag(contact_id, row["tags"])
        self._note(happened, kind, contact_id)

    def _put(
        self, contact_type: str, contact_id: int, record: dict[str, Any], stamp: int | None = None
    ) -> None:
        if stamp is None:
            stamp = self._now()
            record["last_update"] = stamp_text(stamp)
        if contact_id in self._tables[contact_type]:
            self._take(contact_type, contact_id)
        self._newest = max(self._newest, stamp)
        self._tables[contact_type].put(contact_id, record, stamp)
        if isinstance(record.get("email"), str):
            self._emails[record["email"].lower()] = contact_id
        if record.get("user_id") is not None:
            self._user_ids[str(record["user_id"])] = contact_id

    def _take(self, contact_type: str, contact_id: int) -> None:
        table = self._tables[contact_type]
        if contact_id not in table:
            raise KeyError(contact_id)
        record = table.record(contact_id)
        table.remove(contact_id)
        for known, value in ((self._emails, record.get("email")), (self._user_ids, record.get("user_id"))):
            key = str(value).lower() if known is self._emails else str(value)
            if known.get(key) == contact_id:
                del known[key]


def _stamp_of(text: Any) -> int | None:
    try:
        return timegm(time.strptime(text, "%Y-%m-%d %H:%M:%S"))
    except (TypeError, ValueError):
        return None
