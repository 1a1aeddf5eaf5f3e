"""The report of a check, as text and as JSON for a ticket."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly import __version__
from airflow_provider_customerly.check.findings import Finding, find
from airflow_provider_customerly.check.inquiry import Inquiry
from airflow_provider_customerly.check.wire import Wire
from airflow_provider_customerly.values.words import count

if TYPE_CHECKING:
    from airflow_provider_customerly.client.session import AuthHeader

_WIDTH = 110
_INDENT = " " * 13


@dataclass(frozen=True)
class Report:
    """The outcome of a check. It holds no contact and no token."""

    base_url: str
    checked_at: str
    version: str
    requests: int
    obstacle: str | None
    """Why little was checked: the token does not work, or the server is not the API."""
    findings: list[Finding]

    @property
    def token_works(self) -> bool:
        """Return whether the token was accepted in any form of header."""
        return self.obstacle is None

    def verdicts(self) -> dict[str, str]:
        """Return the verdict of each finding, by its name."""
        return {finding.name: finding.verdict for finding in self.findings}

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)

    def to_text(self) -> str:
        """Return the report as text for a terminal."""
        lines = [f"{self.base_url}, {self.checked_at}, {count(self.requests, 'request')}", ""]
        if self.obstacle is not None:
            return "\n".join([*lines, *textwrap.wrap(self.obstacle, _WIDTH), "", "The rest was not checked."])
        verdicts = list(self.verdicts().values())
        for finding in self.findings:
            lines.append(f"{finding.verdict:12} {finding.assumption}")
            for text in (finding.evidence, f"-> {finding.consequence}"):
                lines += textwrap.wrap(text, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)
        sums = [f"{verdicts.count(kind)} {kind}" for kind in ("holds", "differs", "not checked")]
        lines += ["", ", ".join(sums)]
        if "differs" in verdicts:
            lines.append(
                "To report a difference, attach the output of --json. It holds no contact and no token."
            )
        return "\n".join(lines)


def run_check(
    token: str,
    base_url: str = "https://api.customerly.io/v1",
    *,
    auth_header: AuthHeader = "bearer",
    timeout: float = 30.0,
    requests_per_second: float | None = None,
    allow_insecure_http: bool = False,
    page_size: int | None = None,
    max_concurrency: int | None = None,
    retry_budget: float | None = None,
) -> Report:
    """Check the API against the assumptions of this package, in at most 19 read-only requests.

    The arguments are those of ``Client``, so that the settings of a connection can be passed unchanged.
    ``page_size``, ``max_concurrency`` and ``retry_budget`` have no effect on so few requests.

    :raises ValueError: a setting is invalid. The message says which one and how to fix it.
    """
    wire = Wire(
        base_url,
        timeout=timeout,
        requests_per_second=requests_per_second,
        allow_insecure_http=allow_insecure_http,
    )
    try:
        seen = Inquiry(wire, token, auth_header).run()
    finally:
        wire.close()
    return Report(
        base_url=wire.base_url,
        checked_at=f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}",
        version=__version__,
        requests=len(wire.exchanges),
        obstacle=None if seen.obstacle is None else str(seen.obstacle),
        findings=find(seen),
    )
