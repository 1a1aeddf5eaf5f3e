"""How a sync is done."""

from __future__ import annotations

from typing import get_args

from airflow_provider_customerly.sync.guards import Limit, check_limit
from airflow_provider_customerly.sync.rules import Rules
from airflow_provider_customerly.sync.vanished import OnVanished

LARGEST_BATCH = 100
_MOST_DAYS = 36_500


class Options(Rules, frozen=True, kw_only=True):
    """How a sync is done: the rules for its rows, and what follows; `check` says whether it can be.

    A limit is a number of rows, such as 5, or a share of a whole from 0.0 to 1.0.

    :param batch_size: contacts in one request, 1 to 100.
    :param max_concurrency: most requests at once, 1 to 64.
    :param min_rows: fewest rows that the source must have.
    :param max_changes: most rows to send; a share is one of the contacts that were in the source the last
        time, and is not applied to a first run, which has none.
    :param max_vanished: most contacts that may have disappeared from the source; a share is one of the
        contacts that were in it the last time.
    :param max_rejects: how many rows may go undelivered; a share is one of the rows read.
    :param retry_rejects: send rows again that Customerly refused though they have not changed.
    :param full_resync: send all rows, whether they have changed or not.
    :param on_vanished: what is done with contacts that are no longer in the source: `keep` them as they are,
        `untag` them (takes `tags` off), `unsubscribe` or `delete` them.
    :param keep_days: remove rejects, plans and records of runs older than this; None keeps all.
    """

    batch_size: int = 50
    max_concurrency: int = 1
    min_rows: int = 1
    max_changes: Limit | None = None
    max_vanished: Limit = 0.1
    max_rejects: Limit = 0
    retry_rejects: bool = False
    full_resync: bool = False
    on_vanished: OnVanished = "keep"
    keep_days: float | None = None

    def check(self) -> None:
        """Refuse what cannot be meant.

        :raises ValueError: an option is wrong; the text names it and says what it must be.
        """
        super().check()
        days = self.keep_days
        for name, good, expected in (
            ("batch_size", 1 <= self.batch_size <= LARGEST_BATCH, "a whole number from 1 to 100"),
            ("max_concurrency", 1 <= self.max_concurrency <= 64, "a whole number from 1 to 64"),
            ("min_rows", self.min_rows >= 0, "a whole number, 0 or more"),
            ("on_vanished", self.on_vanished in get_args(OnVanished), " or ".join(get_args(OnVanished))),
            ("keep_days", days is None or 0 <= days <= _MOST_DAYS, "a number of days, or None to keep all"),
        ):
            if not good:
                raise ValueError(f"{name} must be {expected}. It is {getattr(self, name)!r}.")
        for name in ("max_changes", "max_vanished", "max_rejects"):
            if (limit := getattr(self, name)) is not None:
                check_limit(name, limit)
        if self.on_vanished == "untag" and not self.tags:
            raise ValueError("on_vanished='untag' takes the sync's tags off: name them in tags.")
        if self.on_vanished == "unsubscribe" and self.contact_type == "leads":
            raise ValueError("on_vanished='unsubscribe' works for users only: the API unsubscribes no leads.")
