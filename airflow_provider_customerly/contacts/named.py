"""A list of contacts by email or user_id, validated and without duplicates."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_customerly.contacts.positions import Positions
from airflow_provider_customerly.values.email import emails, identity_of
from airflow_provider_customerly.values.fields import user_ids
from airflow_provider_customerly.values.rows import Outgoing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

NamedBy = Literal["email", "user_id"]

_NO_ID = "The user_id is missing. Add it to the source, or leave the row out."


@dataclasses.dataclass(frozen=True)
class Named:
    """Contacts to process. The repr shows none of them.

    :param by: whether they are identified by email or user_id.
    :param names: each contact once, in the order of the source: trimmed emails in their original case, or ids
        as text.
    :param positions: position of the first occurrence of each in the source, from 1.
    :param given: number of entries in the source, including duplicates.
    """

    by: NamedBy
    names: list[str] = dataclasses.field(repr=False)
    positions: list[int] = dataclasses.field(repr=False)
    given: int

    def __len__(self) -> int:
        return len(self.names)

    def rows(self) -> Iterator[Outgoing]:
        """Yield each contact as a row to send, with its index as the key."""
        for place, (name, position) in enumerate(zip(self.names, self.positions, strict=True)):
            yield Outgoing.of(position, str(place).encode(), {self.by: name})


def collect(by: NamedBy, chunks: Iterable[Sequence[Any]], max_deletions: int | None = None) -> Named:
    """Check all entries of a source, and remove duplicates.

    Emails that only differ in case are duplicates. The contacts are kept in memory.

    :param chunks: lists of emails or user ids, of any type that a driver returns.
    :param max_deletions: how many contacts the source may have; further ones are only counted.
    :raises ValueError: there are more, or entries are missing or malformed. The message has counts and
        positions, but quotes no entry.
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
            f"The source has {given} entries, and more contacts than max_deletions={max_deletions} allows. "
            "Nothing was sent. Check the query. If it is right, raise max_deletions for one run."
        )
    if wrong.total:
        raise ValueError(f"{wrong.total} of {given} entries are invalid: {wrong}. Nothing was sent.")
    return Named(by, [name for name, _ in first.values()], [place for _, place in first.values()], given)
