"""How a sync is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence  # noqa: TC003  (msgspec reads the annotations)
from typing import Any, get_args

import msgspec

from airflow_provider_customerly.client import ContactType  # noqa: TC001
from airflow_provider_customerly.sync.guards import Guards, Limit
from airflow_provider_customerly.sync.mapping import check_field_mapping
from airflow_provider_customerly.sync.vanished import OnVanished

LARGEST_BATCH = 100


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a sync is done; `check` says whether it can be.

    :param field_mapping: see `FieldMapping`, as for `tags`, `timezone`, `null_as_empty` and `truncate_text`.
    :param batch_size: contacts in one request, 1 to 100.
    :param max_concurrency: most requests at once, 1 to 256.
    :param guards: what must hold before the first write.
    :param max_rejects: how many rows may go undelivered; a share is one of the rows read.
    :param retry_rejects: send rows again that Customerly refused though they have not changed.
    :param full_resync: send rows that have not changed, too.
    :param on_vanished: what is done with contacts that are no longer in the source: `keep` them as they are,
        `untag` them (takes `tags` off), `unsubscribe` or `delete` them.
    :param keep_days: remove rejects, plans and records of runs older than this; None keeps all.
    """

    contact_type: ContactType = "users"
    field_mapping: Mapping[str, str | None] | None = None
    tags: Sequence[str] = ()
    timezone: str | None = None
    null_as_empty: bool = False
    truncate_text: bool = False
    batch_size: int = 50
    max_concurrency: int = 1
    guards: Guards = Guards()
    max_rejects: Limit = Limit(0, is_share=False)
    retry_rejects: bool = False
    full_resync: bool = False
    on_vanished: OnVanished = "keep"
    keep_days: float | None = None

    def check(self) -> None:
        """Refuse what cannot be meant.

        :raises ValueError: an option is wrong; the text names it and says what it must be.
        """
        for name, good, expected, value in (
            ("batch_size", 1 <= self.batch_size <= LARGEST_BATCH, "from 1 to 100", self.batch_size),
            ("max_concurrency", 1 <= self.max_concurrency <= 256, "from 1 to 256", self.max_concurrency),
            ("keep_days", (self.keep_days or 0) >= 0, "0 or more, or None", self.keep_days),
            ("on_vanished", self.on_vanished in get_args(OnVanished), _listed(OnVanished), self.on_vanished),
        ):
            if not good:
                raise ValueError(f"{name} must be {expected}. It is {value!r}.")
        if self.on_vanished == "untag" and not self.tags:
            raise ValueError("on_vanished='untag' takes the sync's tags off: name them in tags.")
        if self.on_vanished == "unsubscribe" and self.contact_type == "leads":
            raise ValueError("on_vanished='unsubscribe' works for users only: the API unsubscribes no leads.")
        check_field_mapping(self.field_mapping, self.contact_type, self.tags)


def _listed(literal: Any) -> str:
    return " or ".join(get_args(literal))
