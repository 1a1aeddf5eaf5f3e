"""The contacts of one type, ordered by ``last_update``."""

from __future__ import annotations

import bisect
import json
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.emulator.profiles import json_bytes

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from airflow_provider_customerly.emulator.seeded import Seeded

_ID_BITS = 64
_ID_MASK = (1 << _ID_BITS) - 1
_KEPT_JSON = 50_000  # about 75 MB


class Table:
    """Users or leads: their order, and the records that differ from the seeded ones.

    The order is one sorted list of ``stamp << 64 | id``. A page is a slice, and a change is two bisections.

    :param stamps: epoch seconds of each contact's ``last_update``.
    """

    def __init__(self, contact_type: str, seeded: Seeded, stamps: dict[int, int]) -> None:
        self.contact_type = contact_type
        self.stamps = stamps
        self._seeded = seeded
        self._order = sorted(stamp << _ID_BITS | contact_id for contact_id, stamp in stamps.items())
        self._own: dict[int, dict[str, Any]] = {}
        self._json: dict[int, bytes] = {}
        self._by_name: list[int] | None = None

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, contact_id: int) -> bool:
        return contact_id in self.stamps

    def ids(self, start: int, stop: int, *, descending: bool, shuffle: random.Random | None) -> list[int]:
        """Return the ids at positions ``start`` to ``stop``, in order of ``last_update``.

        :param shuffle: randomizes the order of equal timestamps; None for order of id.
        """
        count = len(self._order)
        low, high = (max(0, count - stop), count - start) if descending else (start, min(stop, count))
        if low >= high:
            return []
        if shuffle is None:
            keys = self._order[low:high]
        else:
            first = self._position(self._order[low] >> _ID_BITS)
            last = self._position((self._order[high - 1] >> _ID_BITS) + 1)
            draw = shuffle.random
            groups = sorted((key >> _ID_BITS, draw(), key) for key in self._order[first:last])
            keys = [key for _, _, key in groups[low - first : high - first]]
        if descending:
            keys.reverse()
        return [key & _ID_MASK for key in keys]

    def ids_by_name(self, start: int, stop: int, *, descending: bool) -> list[int]:
        """Return the ids at these positions, in order of name, null names first."""
        if self._by_name is None:
            names = {contact_id: self.record(contact_id).get("name") or "" for contact_id in self.stamps}
            self._by_name = sorted(
                names, key=lambda contact_id: (str(names[contact_id]).casefold(), contact_id)
            )
        ordered = self._by_name[::-1] if descending else self._by_name
        return ordered[start:stop]

    def json(self, ids: Iterable[int]) -> bytes:
        """Return the JSON array of these contacts."""
        known = self._json
        return b"[" + b",".join([known.get(one) or self._render(one) for one in ids]) + b"]"

    def record(self, contact_id: int) -> dict[str, Any]:
        """Return a copy of the record."""
        record: dict[str, Any] = json.loads(self._json.get(contact_id) or self._render(contact_id))
        return record

    def random_id(self, draw: random.Random) -> int:
        """Return the id of a random contact."""
        return self._order[draw.randrange(len(self._order))] & _ID_MASK

    def is_seeded(self, contact_id: int) -> bool:
        """Return whether the contact is unchanged since it was seeded."""
        return contact_id in self.stamps and contact_id not in self._own

    def put(self, contact_id: int, record: dict[str, Any], stamp: int) -> None:
        """Store a contact that is not in the table."""
        bisect.insort(self._order, stamp << _ID_BITS | contact_id)
        self.stamps[contact_id] = stamp
        self._own[contact_id] = record
        self._json.pop(contact_id, None)
        self._by_name = None

    def remove(self, contact_id: int) -> None:
        """Remove a contact."""
        key = self.stamps.pop(contact_id) << _ID_BITS | contact_id
        del self._order[bisect.bisect_left(self._order, key)]
        self._own.pop(contact_id, None)
        self._json.pop(contact_id, None)
        self._by_name = None

    def _render(self, contact_id: int) -> bytes:
        own = self._own.get(contact_id)
        if own is not None:
            text = json_bytes(own)
        else:
            text = self._seeded.json(self.contact_type, contact_id, self.stamps[contact_id])
        if len(self._json) < _KEPT_JSON:
            self._json[contact_id] = text
        return text

    def _position(self, stamp: int) -> int:
        return bisect.bisect_left(self._order, stamp << _ID_BITS)
