"""What the vendor's answer to a batch says of each row that was sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_customerly.delivery import problems
from airflow_provider_customerly.delivery.refusals import Refusal, read_refusals
from airflow_provider_customerly.values.email import identity_of
from airflow_provider_customerly.values.rows import Outgoing, Settled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Verdict(NamedTuple):
    """What became of the rows of one batch: each is in exactly one of the three.

    :param accepted: rows that the answer counts as accepted.
    :param refused: rows that it names as refused, and a single row of which it lists a refusal.
    :param again: the others, in groups to send once more. Each group is smaller than the batch; only a row
        that was sent alone and is not explained is still there alone.
    """

    accepted: list[Outgoing]
    refused: list[Settled]
    again: list[list[Outgoing]]


def judge(sent: Sequence[Outgoing], answer: Mapping[str, Any]) -> Verdict:
    """Return what an answer says about each row.

    No row is accepted unless all that the answer does not name as refused are, by count: `inserted` must
    cover them, and no refusal may be left that names nobody. A row that is named is refused even if
    `inserted` claims it. A name that is only mentioned, in a sentence for instance, may be that of the
    other contact in a conflict: such a row is asked for alone.
    """
    refusals = [entry for key in ("not_added", "errors") for entry in read_refusals(answer.get(key))]
    inserted = _count(answer.get("inserted"))
    if len(sent) == 1:
        return _judge_one(sent[0], inserted, refusals)
    if not refusals and inserted == len(sent):
        return Verdict(list(sent), [], [])
    named, mentioned, is_nameless = _match(sent, refusals)
    refused = [_refused(sent[position], entries) for position, entries in named.items()]
    rest = [row for position, row in enumerate(sent) if position not in named and position not in mentioned]
    alone = [[sent[position]] for position in sorted(mentioned)]
    if not alone and not is_nameless and len(rest) <= inserted <= len(sent):
        return Verdict(rest, refused, [])
    may_be_good = len(rest) < len(sent) and (alone or inserted >= len(rest))
    groups = [rest] if may_be_good else halves(rest)
    return Verdict([], refused, alone + [group for group in groups if group])


def halves(rows: Sequence[Outgoing]) -> list[list[Outgoing]]:
    """Part rows in two; the first half of a single row is empty and left out."""
    middle = len(rows) // 2
    return [list(half) for half in (rows[:middle], rows[middle:]) if half]


def _judge_one(row: Outgoing, inserted: int, refusals: Sequence[Refusal]) -> Verdict:
    if refusals:  # there is nobody else whom they could mean
        return Verdict([], [_refused(row, refusals)], [])
    return Verdict([row], [], []) if inserted >= 1 else Verdict([], [], [[row]])


def _refused(row: Outgoing, entries: Iterable[Refusal]) -> Settled:
    """Settle a row with the first entry that has words, if any."""
    best = max(entries, key=lambda entry: (entry.message is not None, entry.field is not None))
    message = best.message if best.message and identity_of(best.message) != _email(row) else None
    return Settled(row, problems.refused(row.contact, message, best.field))


def _match(
    sent: Sequence[Outgoing], refusals: Iterable[Refusal]
) -> tuple[dict[int, list[Refusal]], set[int], bool]:
    """Return whom refusals name, whom they only mention, by position, and whether one does neither."""
    named: dict[int, list[Refusal]] = {}
    mentioned: dict[int, list[Refusal]] = {}
    is_nameless = False
    names = _Names(sent)
    for refusal in refusals:
        position = names.named(refusal)
        found = named if position is not None and refusal.is_certain else mentioned
        if position is None:
            position = names.mentioned(refusal)
        if position is None:
            is_nameless = True
        else:
            found.setdefault(position, []).append(refusal)
    for position in named.keys() & mentioned.keys():
        named[position] += mentioned.pop(position)
    return named, set(mentioned), is_nameless


class _Names:
    """Finds rows by how the vendor names them. A name that two rows share finds neither."""

    def __init__(self, sent: Sequence[Outgoing]) -> None:
        self._emails = _unique(_email(row) for row in sent)
        self._user_ids = _unique(str(row.contact.get("user_id") or "").strip() for row in sent)

    def named(self, refusal: Refusal) -> int | None:
        """Find the row by its email, else by its user_id."""
        for email in (refusal.email, refusal.message):
            if email is not None and (position := self._emails.get(identity_of(email))) is not None:
                return position
        return self._user_ids.get(refusal.user_id or "")

    def mentioned(self, refusal: Refusal) -> int | None:
        """Find the row whose user_id is the message, or the only one whose email is in it."""
        text = refusal.message or ""
        if (position := self._user_ids.get(text)) is not None:
            return position
        text = text.lower()
        emails = self._emails if "@" in text else {}
        found = [position for email, position in emails.items() if email in text and _is_in(email, text)]
        return found[0] if len(found) == 1 else None


def _unique(names: Iterable[str]) -> dict[str, int]:
    positions: dict[str, int] = {}
    shared = {""}
    for position, name in enumerate(names):
        if name in positions:
            shared.add(name)
        positions[name] = position
    return {name: position for name, position in positions.items() if name not in shared}


def _is_in(email: str, text: str) -> bool:
    """Return whether the text has the email as a whole, not as part of a longer one."""
    before, after = r"(?<![\w.!#$%&*+/=?^`{|}~-])(?<!\w')", r"(?![\w-])(?!\.\w)"
    return re.search(f"{before}{re.escape(email)}{after}", text) is not None


def _email(row: Outgoing) -> str:
    return identity_of(str(row.contact.get("email") or ""))


def _count(value: Any) -> int:
    """Read `inserted`, a number or its text; anything else counts nothing."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return 0
    try:
        return int(value)
    except (ValueError, OverflowError):
        return 0
