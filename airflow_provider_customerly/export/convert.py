"""Convert contacts to Arrow record batches."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import pyarrow as pa
from msgspec import UNSET
from msgspec.structs import astuple

from airflow_provider_customerly.client.errors import redact
from airflow_provider_customerly.export.arrays import to_array
from airflow_provider_customerly.export.attributes import (
    EMPTY,
    Promotion,
    attribute_texts,
    is_object,
    text_array,
)
from airflow_provider_customerly.export.columns import FIELDS, Columns
from airflow_provider_customerly.values.email import identity_of

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)


class Decoder(Protocol):
    """What a converter must know of how the records were decoded."""

    @property
    def extra_names(self) -> tuple[str, ...]:
        """JSON fields of the records that were not expected; a record may lack any of them."""

    def attribute_name(self, json_name: str) -> str:
        """Return the name of the record attribute for a JSON field."""


class Converter:
    """Turns records into record batches of one schema, whatever they hold.

    No value is lost: one that does not fit the type of its column becomes null there, goes into `extra` as it
    came and is counted in `misfits`, by column. `attributes` that are no JSON object are counted too.
    Fields that no column is named after go into `extra` too. The exceptions are columns that are hashed or
    left out, whose values show nowhere.

    :param columns: see `choose_columns`.
    :param decoder: the one that decodes the records.
    :param salt: secret text put before each value that is hashed.
    :raises ValueError: columns are to be hashed and there is no salt.
    """

    def __init__(self, columns: Columns, decoder: Decoder, salt: str | None = None) -> None:
        if columns.hashed and not salt:
            raise ValueError(
                "hash_columns needs hash_salt: without a salt, the hash of an email can be reversed by "
                "guessing. Set it to a long random text, and keep it secret."
            )
        self.schema = columns.schema
        self.misfits: Counter[str] = Counter()
        self._columns = columns
        self._decoder = decoder
        self._salted = hashlib.sha256((salt or "").encode())
        self._known = {*FIELDS[columns.contact_type], "attributes"}
        self._fields = [decoder.attribute_name(name) for name in columns.fields]
        self._promotion = Promotion(columns.promoted) if columns.promoted else None

    def convert(self, records: Sequence[Any]) -> pa.RecordBatch:
        """Convert some hundred records: fewer cost more a row, and so do more than the cache holds."""
        if not records:
            return pa.RecordBatch.from_pylist([], self.schema)
        values = _transposed(records)
        strays: dict[str, dict[int, Any]] = {}
        arrays = {
            name: self._field(name, kind, values[attribute], strays)
            for attribute, (name, kind) in zip(self._fields, self._columns.fields.items(), strict=True)
        }
        if self._promotion or "attributes" in self._columns.json:
            arrays.update(self._attributes(values["attributes"]))
        if "extra" in self._columns.json:
            arrays["extra"] = self._extra(records, strays)
        for name in self._columns.hashed:
            arrays[name] = self._hash(name, arrays[name])
        return pa.RecordBatch.from_arrays([arrays[name] for name in self.schema.names], schema=self.schema)

    def warn_of_absent_attributes(self) -> None:
        """Log which attributes have a column of nulls because no contact has an attribute of that name."""
        if self._promotion and self._promotion.absent and self._promotion.names:
            log.warning(
                "No contact has the attributes %s, so their columns are null. Check the names in attributes, "
                "including their case. Some existing attributes: %s",
                ", ".join(sorted(self._promotion.absent)),
                redact(", ".join(sorted(self._promotion.names))),
            )

    def _field(
        self, name: str, kind: pa.DataType, values: Sequence[Any], strays: dict[str, dict[int, Any]]
    ) -> pa.Array:
        array, misfits = to_array(values, kind)
        if misfits:
            self.misfits[name] += len(misfits)
            if name not in self._columns.hashed:
                strays[name] = {index: values[index] for index in misfits}
        return array

    def _attributes(self, values: Sequence[Any]) -> dict[str, pa.Array]:
        texts = attribute_texts(values)
        if odd := sum(not is_object(text) for text in texts):
            self.misfits["attributes"] += odd
        arrays: dict[str, pa.Array] = {}
        if self._promotion:
            promoted = self._promotion.convert(texts, self.misfits)
            arrays.update(zip(self._columns.promoted, promoted, strict=True))
        if "attributes" in self._columns.json:
            arrays["attributes"] = text_array(texts)
        return arrays

    def _extra(self, records: Sequence[Any], strays: dict[str, dict[int, Any]]) -> pa.Array:
        members: defaultdict[int, list[bytes]] = defaultdict(list)  # few contacts have any
        for name in self._decoder.extra_names:
            if name not in self._known:
                start, attribute = _member(name), self._decoder.attribute_name(name)
                for index, record in enumerate(records):
                    raw = getattr(record, attribute, UNSET)
                    if raw is not UNSET:
                        members[index].append(start + bytes(raw))
        for name, values in strays.items():
            for index, value in values.items():
                members[index].append(_member(name) + _json(value))
        texts = [EMPTY] * len(records)
        for index, some in members.items():
            texts[index] = b"{" + b",".join(some) + b"}"
        return text_array(texts)

    def _hash(self, name: str, array: pa.Array) -> pa.Array:
        texts = array.cast(pa.string()).to_pylist()
        if name == "email":  # one contact, one hash: that of the record of an erasure, too
            texts = [text and identity_of(text) for text in texts]
        return pa.array([self._digest(text) for text in texts], pa.string())

    def _digest(self, text: str | None) -> str | None:
        if text is None:
            return None
        digest = self._salted.copy()
        digest.update(text.encode())
        return digest.hexdigest()


def _transposed(records: Sequence[Any]) -> dict[str, list[Any]]:
    kinds = {type(record) for record in records}
    # Fields that the decoder learned later come last, so the columns of all records line up.
    names = min((kind.__struct_fields__ for kind in kinds), key=len)
    rows = map(astuple, records) if len(kinds) == 1 else (astuple(one)[: len(names)] for one in records)
    # One list, sliced: as many tuples kept as there are records would wake the garbage collector.
    flat = list(chain.from_iterable(rows))
    return {name: flat[column :: len(names)] for column, name in enumerate(names)}


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except RecursionError:  # a few calls deeper than where it could just be decoded
        return b'{"unreadable":"nested too deeply"}'


def _member(name: str) -> bytes:
    return msgspec.json.encode(name) + b":"
