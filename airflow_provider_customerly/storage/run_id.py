"""The id of a run: its start time and a random part that makes it unique."""

from __future__ import annotations

import re
import secrets
from datetime import datetime, timezone

_FORM = "%Y%m%dT%H%M%S%fZ"


class RunId(str):
    """Text such as ``20261123T020000123456Z-9f86d081``. Run ids sort by start time."""

    __slots__ = ()

    PATTERN = r"\d{8}T\d{12}Z-[0-9a-f]{8}"
    """A regular expression for a run id in a file name."""

    @classmethod
    def new(cls) -> RunId:
        """Return the id of a run that starts now."""
        return cls(f"{datetime.now(timezone.utc).strftime(_FORM)}-{secrets.token_hex(4)}")

    @classmethod
    def within(cls, text: str) -> RunId | None:
        """Return the first run id in a file name; None if it has none."""
        found = re.search(cls.PATTERN, text)
        return cls(found[0]) if found else None

    @property
    def began(self) -> datetime:
        """When the run started, by the clock of its machine.

        :raises ValueError: the text is not a run id.
        """
        return datetime.strptime(self.partition("-")[0], _FORM).replace(tzinfo=timezone.utc)
