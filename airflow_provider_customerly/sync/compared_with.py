"""The export that a plan was compared with, for its seal and its result."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Literal

import msgspec

OnEdited = Literal["overwrite", "keep", "reject"]


class ComparedWith(msgspec.Struct, frozen=True, kw_only=True):
    """The export that a plan was compared with."""

    export_run: str
    export_time: datetime
    """When the export started."""
    on_edited: OnEdited = "overwrite"
    not_shown: dict[str, str] = {}
    """Fields that could not be compared, with reasons."""

    @property
    def age(self) -> timedelta:
        """The age of the export."""
        return max(datetime.now(timezone.utc) - self.export_time, timedelta(0))
