"""Tags and companies of contacts, and teammates and articles of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.emulator import profiles
from airflow_provider_customerly.emulator.rules import merge_attributes

if TYPE_CHECKING:
    from airflow_provider_customerly.emulator.seeded import Seeded

ACCOUNTS = (
    {"account_id": 9101, "email": "owner@northwind.test"},
    {"account_id": 9102, "email": "support+desk@northwind.test"},
    {"account_id": 9107, "email": "zoe@northwind.test"},
)
COLLECTIONS = tuple(
    {"knowledge_base_collection_id": 300 + number, "title": title, "description": None}
    for number, title in enumerate(("Getting started", "Billing & plans", "API", "Öffnungszeiten"))
)
# The field names of collections and articles are guesses: no source shows a response.
ARTICLES = tuple(
    {
        "knowledge_base_article_id": 7000 + number,
        "knowledge_base_collection_id": 300 + number % 4,
        "title": f"Article {number}",
        "body": f"<p>How to do thing {number}.</p>",
        "published": number % 5 != 0,
    }
    for number in range(130)
)


class Relations:
    """Tags and companies by ``crmhero_user_id``."""

    def __init__(self, seeded: Seeded) -> None:
        self._seeded = seeded
        self._tags: dict[int, list[str]] = {}
        self._names = set(profiles.TAGS)
        self._removed: set[str] = set()
        self.companies: dict[str, dict[str, Any]] = {}
        self._links: dict[int, list[str]] = {}

    def tag_names(self) -> list[str]:
        """Return all tags of the project."""
        return sorted(self._names)

    def tags(self, contact_id: int, *, seeded: bool) -> list[str]:
        """Return a contact's tags. ``seeded`` is True for the id of a seeded contact."""
        own = self._tags.get(contact_id)
        if own is not None:
            return list(own)
        return [tag for tag in self._seeded.tags(contact_id) if tag not in self._removed] if seeded else []

    def set_tags(self, contact_id: int, tags: list[str]) -> None:
        """Replace a contact's tags; the new ones become tags of the project."""
        self._tags[contact_id] = tags
        self._names.update(tags)

    def delete_tag(self, tag: str) -> bool:
        """Remove a tag from the project and all contacts; return False if it does not exist."""
        if tag not in self._names:
            return False
        self._names.discard(tag)
        self._removed.add(tag)
        for tags in self._tags.values():
            if tag in tags:
                tags.remove(tag)
        return True

    def company(self, company_id: str, name: str | None, attributes: Any) -> dict[str, Any]:
        """Create or update a company."""
        company = self.companies.setdefault(
            company_id, {"company_id": company_id, "company_name": None, "attributes": []}
        )
        if name is not None:
            company["company_name"] = name
        merge_attributes(company, attributes)
        return dict(company)

    def link(self, contact_id: int, company_id: str) -> None:
        """Add a contact to a company."""
        links = self._links.setdefault(contact_id, [])
        if company_id not in links:
            links.append(company_id)

    def companies_of(self, contact_id: int) -> list[dict[str, Any]]:
        """Return the companies of a contact."""
        return [dict(self.companies[company_id]) for company_id in self._links.get(contact_id, ())]

    def forget(self, contact_id: int) -> None:
        """Remove the tags and companies of a deleted contact."""
        self._tags.pop(contact_id, None)
        self._links.pop(contact_id, None)
