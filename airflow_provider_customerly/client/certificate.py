"""What a reading of a contact list can prove about itself."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass
class Certificate:
    """The proof that a list was read whole, or the reason why it could not be proven.

    A verdict of `complete` says: each contact that existed all along and did not change while the list was
    read is in the result. It rests on the server keeping its order by `last_update`, which is checked in
    every window.
    """

    verdict: Literal["complete", "unproven"] = "unproven"
    reason: str | None = "the reading did not finish"
    windows: int = 0
    """Answers with a list, useful or not."""
    links: int = 0
    """Windows that continued the proven stretch of the list."""
    bridges: int = 0
    """Windows read again from lower down because rows had moved up between two neighbours."""
    duplicates: int = 0
    """Contacts met again, in the same or a newer version, and folded into one."""
    tie_groups: int = 0
    """Stamps shared by more contacts than fit in a window, proven by counting."""
    tie_rereads: int = 0
    """Windows read to prove those."""
    empty_answers: int = 0
    """Empty lists where rows were expected: an answer asked for again."""
    end_moved: int = 0
    """Times the list had grown when the rows behind its end were asked for."""
    page_size: int = 0
    """Largest number of rows asked for in a page at the end."""
    clamped: bool = False
    """The server gave fewer rows a page than asked for, and the size was adapted."""

    def doubt(self, reason: str) -> None:
        """Take the proof back, for what was seen outside the list."""
        self.verdict, self.reason = "unproven", reason

    def to_dict(self) -> dict[str, Any]:
        """Give the certificate as plain JSON values."""
        return dataclasses.asdict(self)
