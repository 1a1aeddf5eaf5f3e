"""What an export can be told."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from airflow_provider_customerly.export.schema import choose_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_customerly.client import ContactType
    from airflow_provider_customerly.export.schema import Columns

_COMPRESSIONS = ("zstd", "snappy", "gzip", "lz4", "none")
_SHARE = "a share from 0 to 1, or None"


@dataclasses.dataclass(kw_only=True)
class ExportOptions:
    """The options of an export, checked.

    `columns`, `attributes`, `drop_columns` and `hash_columns` are those of `choose_columns`.

    :raises ValueError: one of them cannot be meant; the text names it.
    """

    contact_type: ContactType
    mode: Literal["snapshot", "incremental"] = "snapshot"
    """`snapshot` reads the whole list; `incremental` what changed since the newest commit, and the whole list
    when there is none to add to."""
    snapshot_date: date | str
    """The day of the export, as a date or `YYYY-MM-DD`; it names the folder of the files."""
    columns: Sequence[str] | None = None
    attributes: Mapping[str, str] | None = None
    drop_columns: Sequence[str] = ()
    hash_columns: Sequence[str] = ()
    hash_salt: str | None = None
    """Secret text put before each value of `hash_columns`."""

    lookback: timedelta | str = "PT10M"
    """How far before the watermark an incremental export starts to read, as a duration such as `PT10M`; an
    hour for clocks that are set back comes on top."""
    full_refresh_every: timedelta | str | None = None
    """Read the whole list when the last time is so long ago, such as `P7D`."""
    full_refresh: bool = False
    """Read the whole list this time."""
    compact: bool = True
    """Fold changes into a new base once they have passed a quarter of it."""

    min_rows: int = 0
    """Least number of contacts of a whole list that is believed."""
    max_shrink: float | None = None
    """Largest share of the last whole list's contacts that the new one may have fewer."""
    max_vanished: float | None = None
    """Largest share of the contacts known so far that may be missing from a whole list."""
    max_null_share: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Largest share of nulls in a column, by column."""
    max_coercion_failures: int | None = None
    """Most values of a column that may not fit its type."""
    on_unproven: Literal["fail", "warn"] = "fail"
    """`warn` commits an export whose completeness is not proven."""

    keep_manifests: int | None = None
    """Keep so many of the newest commits and remove older ones that none of them needs; None keeps all."""
    keep_days: float | None = None
    """Keep the commits of so many days. What either of the two keeps is kept."""

    compression: str = "zstd"
    """`zstd`, `snappy`, `gzip`, `lz4` or `none`."""
    row_group_size: int = 131_072
    """Rows in a row group, which is also what is held in memory."""
    owner: str = ""
    """Names this piece of work, so that a second try takes over at once from a dead first one and goes on
    where that one stopped."""

    def __post_init__(self) -> None:
        self.lookback = _duration("lookback", self.lookback)
        if self.full_refresh_every is not None:
            self.full_refresh_every = _duration("full_refresh_every", self.full_refresh_every)
        self.snapshot_date = date.fromisoformat(str(self.snapshot_date))
        self.max_null_share = dict(self.max_null_share)
        self.chosen: Columns = choose_columns(
            self.contact_type, self.columns, self.attributes, self.drop_columns, self.hash_columns
        )
        for name, good, expected in (
            ("mode", self.mode in ("snapshot", "incremental"), "snapshot or incremental"),
            ("min_rows", self.min_rows >= 0, "0 or more"),
            ("max_shrink", _is_share(self.max_shrink), _SHARE),
            ("max_vanished", _is_share(self.max_vanished), _SHARE),
            (
                "max_null_share",
                all(map(_is_share, self.max_null_share.values())),
                "shares from 0 to 1 by column",
            ),
            ("max_coercion_failures", (self.max_coercion_failures or 0) >= 0, "0 or more, or None"),
            ("on_unproven", self.on_unproven in ("fail", "warn"), "fail or warn"),
            ("keep_manifests", self.keep_manifests is None or self.keep_manifests >= 1, "1 or more, or None"),
            ("keep_days", (self.keep_days or 0) >= 0, "0 or more, or None"),
            ("compression", self.compression in _COMPRESSIONS, f"one of {', '.join(_COMPRESSIONS)}"),
            ("row_group_size", self.row_group_size >= 1, "1 or more"),
        ):
            if not good:
                raise ValueError(f"{name} must be {expected}. It is {getattr(self, name)!r}.")
        if self.chosen.hashed and not self.hash_salt:
            raise ValueError(
                "hash_columns needs hash_salt: without one, the hash of an email is undone by guessing. "
                "Give a long random text and keep it secret."
            )
        if unknown := set(self.max_null_share) - set(self.chosen.schema.names):
            raise ValueError(
                f"max_null_share names columns that this export does not have: {', '.join(sorted(unknown))}."
            )

    @property
    def settings(self) -> str:
        """Fingerprint of what decides the content of a row; it tells nothing about the salt."""
        chosen = self.chosen
        content = [
            [[field.name, str(field.type)] for field in chosen.schema],
            list(chosen.promoted),
            sorted(chosen.hashed),
        ]
        salt = self.hash_salt if chosen.hashed and self.hash_salt else ""
        return hmac.new(salt.encode(), json.dumps(content).encode(), hashlib.sha256).hexdigest()


def _duration(name: str, value: Any) -> timedelta:
    try:
        found = msgspec.convert(value, timedelta, strict=False)
    except msgspec.ValidationError:
        found = timedelta(-1)
    if found < timedelta(0):
        raise ValueError(f"{name} must be a duration such as PT10M or P7D. It is {value!r}.")
    return found


def _is_share(value: float | None) -> bool:
    return value is None or 0 <= value <= 1
