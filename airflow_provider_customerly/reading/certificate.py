"""The proof that a contact list was read completely."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass
class Certificate:
    """The proof that a list was read completely, or the reason why that is not proven.

    The verdict ``complete`` means that each contact that existed all the time is in the result, in a version
    at least as new as when the read started. It depends on the server's order by ``last_update``, which is
    checked in every window.
    """

    verdict: Literal["complete", "unproven"] = "unproven"
    reason: str | None = "the reading did not finish"
    windows: int = 0
    """Responses with a list, useful or not."""
    links: int = 0
    """Windows that continued the proven part of the list."""
    bridges: int = 0
    """Windows read again from an earlier position, because rows had moved up between two neighbours."""
    duplicates: int = 0
    """Contacts that came again, in the same or a newer version, and were merged."""
    tie_groups: int = 0
    """Timestamps shared by more contacts than fit in a window, proven by counting."""
    tie_rereads: int = 0
    """Windows read to prove those."""
    empty_answers: int = 0
    """Empty lists where rows were expected. Each was requested again."""
    end_moved: int = 0
    """How often the list had grown when the rows after its end were requested."""
    page_size: int = 0
    """Largest number of rows requested per page at the end."""
    clamped: bool = False
    """True if the server returned fewer rows per page than requested, and the page size was adapted."""
    catch_ups: int = 0
    """Passes over what may have changed since the read started, after everything had been read once."""
    catch_up_windows: int = 0
    """Windows read for those."""
    catch_up_found: int = 0
    """Contacts or newer versions that were first seen in those."""

    def doubt(self, reason: str) -> None:
        """Withdraw the proof because of an observation outside the list."""
        self.verdict, self.reason = "unproven", reason

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as plain JSON values."""
        return dataclasses.asdict(self)
