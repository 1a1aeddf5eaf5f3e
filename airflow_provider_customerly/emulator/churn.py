"""Random changes, so that a list moves while it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Iterable, Mapping

    from airflow_provider_customerly.emulator.table import Table

WEIGHTS: Mapping[str, float] = {"update": 0.6, "create": 0.2, "delete": 0.2, "convert": 0.0}


class _Store(Protocol):
    def upsert(self, contact_type: str, rows: Iterable[Any]) -> Any: ...
    def delete(self, contact_type: str, contact_id: int) -> None: ...
    def update(self, contact_type: str, contact_id: int, changes: Mapping[str, Any]) -> None: ...


def apply(
    store: _Store,
    tables: Mapping[str, Table],
    draw: random.Random,
    count: int,
    weights: Mapping[str, float] | None = None,
    protect: Collection[int] = (),
) -> None:
    """Apply ``count`` random changes.

    :param weights: relative frequency of ``update``, ``create``, ``delete`` and ``convert``; a missing kind
        does not happen.
    :param protect: ids that must not change.
    """
    chances = dict(WEIGHTS if weights is None else weights)
    unknown = set(chances) - set(WEIGHTS)
    if unknown:
        raise ValueError(f"unknown kinds of change: {sorted(unknown)}. Use {sorted(WEIGHTS)}")
    for kind in draw.choices(list(chances), list(chances.values()), k=count):
        _change(store, tables, draw, kind, protect)


def _change(
    store: _Store, tables: Mapping[str, Table], draw: random.Random, kind: str, protect: Collection[int]
) -> None:
    users, leads = len(tables["users"]), len(tables["leads"])
    contact_type = "leads" if kind == "convert" or draw.random() * (users + leads) >= users else "users"
    if kind == "create":
        store.upsert(
            contact_type, [{"email": f"new-{draw.getrandbits(60):x}@created.test", "name": "New Contact"}]
        )
        return
    contact_id = _pick(tables[contact_type], draw, protect)
    if contact_id is None:
        return
    if kind == "delete":
        store.delete(contact_type, contact_id)
    elif kind == "update":
        store.update(contact_type, contact_id, {"web_session": draw.randint(1, 10_000)})
    else:
        email = tables["leads"].record(contact_id).get("email")
        if email:
            store.upsert("users", [{"email": email}])


def _pick(table: Table, draw: random.Random, protect: Collection[int]) -> int | None:
    for _ in range(50):
        if not len(table):
            return None
        contact_id = table.random_id(draw)
        if contact_id not in protect:
            return contact_id
    return None
