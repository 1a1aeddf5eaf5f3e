"""Contacts named by their email or by the caller's own id: all checked, and each only once."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_customerly.contacts.positions import Positions
from airflow_provider_customerly.sync.email import emails, identity_of
from airflow_provider_customerly.sync.rows import Outgoing
from airflow_provider_customerly.sync.values import user_ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

NamedBy = Literal["email", "user_id"]

_NO_ID = "No user_id: add one to the source, or leave the row out."


@dataclasses.dataclass(frozen=True)
class Named:
    """Contacts to do something with; the representation shows none of them.

    :param by: what names them.
    :param names: each contact once, in the order of the source: emails trimmed, with their case kept, or ids
        as text.
    :param positions: where in the source each stands first, from 1.
    :param given: entries of the source, repetitions included.
    """

    by: NamedBy
    names: list[str] = dataclasses.field(repr=False)
    positions: list[int] = dataclasses.field(repr=False)
    given: int

    def __len__(self) -> int:
        return len(self.names)

    def rows(self) -> Iterator[Outgoing]:
        """Give each contact as a row to send; its key is its place among the contacts."""
        for place, (name, position) in enumerate(zip(self.names, self.positions, strict=True)):
            yield Outgoing(position, str(place).encode(), {self.by: name})


def collect(by: NamedBy, chunks: Iterable[Sequence[Any]], max_deletions: int | None = None) -> Named:
    """Check all entries of a source, and fold those that name the same contact.

    Emails that differ in case only name the same one. The contacts are held in memory.

    :param chunks: lists of emails or of user ids, of any type that a driver gives them.
    :param max_deletions: how many contacts the source may name; those beyond are not held, only counted.
    :raises ValueError: it names more, or entries are missing or malformed. The text has figures and
        positions, and quotes no entry.
    """
    convert = emails if by == "email" else user_ids
    first: dict[str, tuple[str, int]] = {}
    wrong = Positions()
    given = 0
    for chunk in chunks:
        values, problems = convert(chunk)
        for offset, name in enumerate(values):
            given += 1
            if offset in problems:
                wrong.add(problems[offset].message.rstrip("."), given)
            elif name is None:
                wrong.add(_NO_ID.rstrip("."), given)
            elif max_deletions is None or len(first) <= max_deletions:
                first.setdefault(identity_of(name) if by == "email" else name, (name, given))
    if max_deletions is not None and len(first) > max_deletions:
        raise ValueError(
            f"The source has {given} entries and names more contacts than max_deletions={max_deletions} "
            "allows. Nothing was sent. Look at the query; if it is right, raise max_deletions for one run."
        )
    if wrong.total:
        raise ValueError(f"{wrong.total} of {given} entries cannot be used: {wrong}. Nothing was sent.")
    return Named(by, [name for name, _ in first.values()], [place for _, place in first.values()], given)
