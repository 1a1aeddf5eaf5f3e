"""Keep what an attempt has read on disk, so that the next attempt resumes there.

An attempt writes the contacts that it reads in segments of a few thousand, each as one atomic file. A segment
records up to which ``last_update`` the list was settled when it was written. The next attempt takes older
contacts from the segments, and reads the list from there. A contact that changed in between has a newer
timestamp, so it is read again and supersedes its older version.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import Counter
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_customerly.export.columns import TIMESTAMP
from airflow_provider_customerly.export.stamps import parse_stamp, stamp_texts
from airflow_provider_customerly.reading.keyset import KeySet
from airflow_provider_customerly.storage import RunId
from airflow_provider_customerly.storage.removal import STAGING, STAGING_LASTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow_provider_customerly.storage import Location

_FEWEST_ROWS, _MOST_ROWS = 1_000, 20_000
"""In a segment: it grows with what is there already, to one part in a hundred. A killed try loses as much,
and what was read ahead of the writing: of 100,000 contacts together less than a tenth."""
_NAME = re.compile(rf"{STAGING}/([0-9a-f]+)/(\d+)-({RunId.PATTERN})\.arrow")
_META = b"customerly"
_CHECKSUM_BYTES = hashlib.sha256().digest_size
"""They follow the end of the Arrow stream, where its readers do not look."""


class _Note(msgspec.Struct, kw_only=True):
    """What is written with each segment."""

    settings: str
    previous: str
    rows: int
    position: int
    settled: str
    started_at: datetime
    tries: int
    windows: int
    misfits: dict[str, int]


@dataclasses.dataclass
class Staged:
    """What earlier tries left; empty if nothing."""

    position: int = 0
    """Where in the list they stopped, about."""
    settled: str = ""
    started_at: datetime | None = None
    tries: int = 0
    windows: int = 0
    """Answers with a list that those tries got."""
    misfits: Counter[str] = dataclasses.field(default_factory=Counter)
    ids: KeySet = dataclasses.field(default_factory=KeySet)
    """Contacts given out from the segments,"""
    superseded: dict[int, str] = dataclasses.field(default_factory=dict)
    """and those among them that came again: id to the `last_update` of the newest version."""
    segments: dict[str, str] = dataclasses.field(default_factory=dict)
    """Name to the `last_update` from which on the try after the one that wrote it has read the list anew."""


class Staging:
    """The segments of one piece of work.

    :param location: the dataset.
    :param owner: what each try of the work shares; nothing is written when it is blank.
    :param run: the try that writes.
    :param settings: fingerprint of all that decides which rows are read and what they look like; segments of
        another one are of no use.
    """

    def __init__(self, location: Location, owner: str, run: str, settings: str) -> None:
        self._location = location
        self._folder = f"{STAGING}/{hashlib.sha256(owner.encode()).hexdigest()[:16]}" if owner else ""
        self._run = run
        self._settings = settings
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0
        self._note: _Note | None = None
        self._count = 0
        self._total = 0
        self._previous = ""
        self.staged = Staged()

    def load(self) -> Staged:
        """Find what earlier tries left, and remove what is of no use to anyone."""
        notes = self._read_notes()
        usable = sorted(name for name in notes if parse_stamp(notes[name].settled))
        # The last of each run: a reading that had to start over has taken back what it had settled.
        last = {RunId.within(name): name for name in usable}
        tip = max(last.values(), key=lambda name: (notes[name].settled, name), default="")
        found: list[str] = []
        while tip in notes:
            found.append(tip)
            tip = notes[tip].previous
        if found and not tip:  # all the way down to a first segment
            newest = notes[found[0]]
            ends: dict[int, str] = {}
            for name in found:
                ends.setdefault(notes[name].tries, notes[name].settled)
            self.staged = Staged(
                position=newest.position,
                settled=newest.settled,
                started_at=newest.started_at,
                tries=newest.tries,
                windows=newest.windows,
                misfits=Counter(newest.misfits),
                segments={name: ends[notes[name].tries] for name in reversed(found)},
            )
            self._previous, self._count, self._total = found[0], len(found), newest.rows
        for name in self._location.list(self._folder) if self._folder else ():
            if name not in self.staged.segments:
                self._location.delete(name)
        return self.staged

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the settled contacts that earlier attempts read."""
        staged = self.staged
        for name, end in staged.segments.items():
            with pa.ipc.open_stream(self._location.read(name)) as stream:
                for batch in stream:
                    settled = batch.filter(_is_before(batch, end))
                    stamps = stamp_texts(settled["last_update"])
                    ids = settled["crmhero_user_id"].to_pylist()
                    for key, stamp, known in zip(ids, stamps, staged.ids.add(ids), strict=True):
                        if known:
                            staged.superseded[key] = stamp
                    yield settled

    def add(
        self,
        batch: pa.RecordBatch,
        *,
        position: int,
        settled: str,
        started_at: datetime,
        windows: int,
        misfits: Mapping[str, int],
    ) -> None:
        """Take contacts that were read; they are written when there are enough.

        :param position: where in the list the reading is, about.
        :param settled: unchanged contacts with a `last_update` before this are among those added so far.
        """
        if not self._folder:
            return
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self._note = _Note(
            settings=self._settings,
            previous=self._previous,
            rows=self._total + self._rows,
            position=position,
            settled=settled,
            started_at=started_at,
            tries=self.staged.tries + 1,
            windows=self.staged.windows + windows,
            misfits=dict(misfits),
        )
        if self._rows >= min(max(_FEWEST_ROWS, self._total // 100), _MOST_ROWS):
            self.keep()

    def keep(self) -> None:
        """Write what was added since the last segment."""
        if self._note is None:
            return
        name = f"{self._folder}/{self._count:06d}-{self._run}.arrow"
        self._location.write_atomic(name, _encode(self._waiting, self._note))
        self._previous, self._total = name, self._note.rows
        self._count += 1
        self._waiting, self._rows, self._note = [], 0, None

    def clear(self) -> None:
        """Remove the segments of this work; a later commit removes those of others that are too old."""
        for name in self._location.list(self._folder) if self._folder else ():
            self._location.delete(name)
        if self._folder:
            self._location.remove_folder(self._folder)

    def _read_notes(self) -> dict[str, _Note]:
        if not self._folder:
            return {}
        # Contacts that were deleted since an old try would come back with it.
        oldest = datetime.now(timezone.utc) - STAGING_LASTS
        notes = {}
        for name in self._location.list(self._folder):
            match = _NAME.fullmatch(name)
            if match and RunId(match[3]).began > oldest:
                note = _read_note(self._location.read(name))
                if note is not None and note.settings == self._settings:
                    notes[name] = note
        return notes


def _encode(batches: Sequence[pa.RecordBatch], note: _Note) -> bytes:
    schema = batches[0].schema.with_metadata({_META: msgspec.json.encode(note)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
        for batch in batches:
            stream.write_batch(batch.replace_schema_metadata(schema.metadata))
    content = bytes(sink.getvalue())
    return content + hashlib.sha256(content).digest()


def _read_note(segment: bytes) -> _Note | None:
    """Read the note of a segment; None if the segment is damaged or of another version of this package."""
    content, checksum = segment[:-_CHECKSUM_BYTES], segment[-_CHECKSUM_BYTES:]
    if hashlib.sha256(content).digest() != checksum:
        return None
    with pa.ipc.open_stream(content) as stream:
        try:
            return msgspec.json.decode(stream.schema.metadata[_META], type=_Note)
        except msgspec.MsgspecError:
            return None


def _is_before(batch: pa.RecordBatch, settled: str) -> pa.Array:
    older = pc.less(batch["last_update"], pa.scalar(parse_stamp(settled), TIMESTAMP))
    return pc.fill_null(older, True)  # contacts without a stamp come first in the list
