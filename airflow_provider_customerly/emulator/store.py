"""The emulated project: what the API does with contacts, tags and companies, without HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.emulator import churn, rules
from airflow_provider_customerly.emulator.contacts import Contacts, Mutation
from airflow_provider_customerly.emulator.relations import Relations
from airflow_provider_customerly.emulator.seeded import new_record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


class Store(Contacts):
    """A Customerly project in memory. All methods are thread-safe.

    :param users: number of seeded users. A million is feasible, because they are computed when read.
    :param leads: number of seeded leads. Users and leads share one range of ids.
    :param seed: the same seed and sizes generate the same contacts.
    :param tie_group: this many users, and this many leads, share one ``last_update``, as after a bulk import.
        Other timestamps are unique or shared by a few.
    :param bulk_share: about this share of each is in groups of 2 to 1,500 that share a ``last_update``.
    :param shuffle_ties: order contacts with the same timestamp randomly on each page, because the vendor
        defines no order. Otherwise they are in order of id.
    :param until: epoch seconds of the newest seeded ``last_update``; the oldest is about three years older.
    :param clock: returns epoch seconds. Changes get this timestamp, or the newest one so far if that is
        later.
    :param max_per_page: larger pages are clamped to this size, and their offsets accordingly. This is a
        guess: the vendor documents no limit.
    """

    def reset(self) -> None:
        """Restore the seeded contacts, tags and companies."""
        with self.lock:
            super().reset()
            self._relations = Relations(self._seeded)

    def details(self, contact_type: str, contact_id: int) -> dict[str, Any] | None:
        """Return a contact with the fields that only a look-up returns, or None."""
        with self.lock:
            record = self.get(contact_type, contact_id)
            if record is not None:
                record["user_tags"] = self.tags_of(contact_id)
                record["companies"] = self._relations.companies_of(contact_id)
                record |= {"user_segments": [], "user_events": [], "user_notes": []}
            return record

    def upsert(self, contact_type: str, rows: Iterable[Any]) -> rules.Upserted:
        """Create or update a batch by email; invalid rows are rejected, the others stored.

        A lead whose email is posted as a user becomes a user and keeps its id (inferred). A user whose email
        is posted as a lead stays a user, and a ``user_id`` that another email has rejects the row (guesses).
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

    def add_attributes(self, contact_type: str, contact_id: int, attributes: Any) -> None:
        """Merge attributes into a contact.

        :raises KeyError: there is no such contact.
        """
        with self.lock:
            record = self._tables[contact_type].record(contact_id)
            rules.merge_attributes(record, attributes)
            self.update(contact_type, contact_id, {"attributes": record["attributes"]})

    def unsubscribe(self, contact_id: int) -> None:
        """Unsubscribe a user.

        :raises KeyError: there is no such user.
        """
        self.update("users", contact_id, {"unsubscribe": 1})

    def delete(self, contact_type: str, contact_id: int) -> None:
        """Delete a contact with its tags and companies; everything after it in the list moves up.

        :raises KeyError: there is no such contact.
        """
        with self.lock:
            super().delete(contact_type, contact_id)
            self._relations.forget(contact_id)

    def churn(
        self, count: int, weights: Mapping[str, float] | None = None, protect: Collection[int] = ()
    ) -> list[Mutation]:
        """Apply ``count`` random changes, which depend on the seed, and return them.

        :param weights: relative frequency of ``update``, ``create``, ``delete`` and ``convert`` (a lead
            becomes a user); a missing kind does not happen.
        :param protect: ids that must not change.
        """
        with self.lock:
            done = len(self.journal)
            churn.apply(self, self._tables, self._draw, count, weights, protect)
            return self.journal[done:]

    # It is not known whether tags and companies change last_update. Here they do not.

    def tag_names(self) -> list[str]:
        """Return the project's tags."""
        with self.lock:
            return self._relations.tag_names()

    def tags_of(self, contact_id: int) -> list[str]:
        """Return a contact's tags."""
        with self.lock:
            return self._relations.tags(contact_id, seeded=contact_id < self._first_new_id)

    def tag(self, contact_id: int, tags: Iterable[str]) -> None:
        """Add tags to a contact."""
        with self.lock:
            self._relations.set_tags(contact_id, list(dict.fromkeys([*self.tags_of(contact_id), *tags])))

    def untag(self, contact_id: int, tags: Iterable[str]) -> None:
        """Remove tags from a contact."""
        with self.lock:
            gone = set(tags)
            self._relations.set_tags(contact_id, [tag for tag in self.tags_of(contact_id) if tag not in gone])

    def delete_tag(self, tag: str) -> bool:
        """Remove a tag from everything; return False if it does not exist."""
        with self.lock:
            return self._relations.delete_tag(tag)

    def company(
        self, company_id: str, name: str | None, attributes: Any, contact_id: int | None = None
    ) -> dict[str, Any]:
        """Create or update a company and optionally add a contact to it."""
        with self.lock:
            company = self._relations.company(company_id, name, attributes)
            if contact_id is not None:
                self._relations.link(contact_id, company_id)
            return company

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
        kind = contact_type if user is None else "users"
        if user is not None:
            contact_id, happened, record = user, "update", self._tables["users"].record(user)
        elif lead is not None:
            contact_id, happened, record = lead, "update", self._tables["leads"].record(lead)
            if kind == "users":
                happened = "convert"
                record |= {"is_user": 1, "was_lead": 1}
                self._take("leads", lead)
        else:
            contact_id, happened = self._next_id, "create"
            self._next_id += self._draw.randint(1, 3)
            record = new_record(kind, contact_id, row["email"], self._now())
        rules.merge_contact(record, row, kind)
        self._put(kind, contact_id, record)
        if row.get("tags"):
            self.tag(contact_id, row["tags"])
        self._note(happened, kind, contact_id)
