"""Publish the commits of a dataset as versions of a Delta table, without rewriting files.

The table is in the dataset's own folder. Each version names the files of one commit, and the commit itself in
its metadata. A version is only written on top of the version that was read, so that concurrent runs do not
write one twice. If versions are missing for any reason, the next run adds them in order.
"""

from __future__ import annotations

import json
import logging
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fsspec.asyn import sync

from airflow_provider_customerly.export.delta_files import PARTITION, describe
from airflow_provider_customerly.storage import DamagedManifestError, RefusedError
from airflow_provider_customerly.storage.commit import DELTA_LOG
from airflow_provider_customerly.storage.manifest import list_numbers, read_manifest, read_manifests
from airflow_provider_customerly.values.words import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa
    from deltalake import DeltaTable

    from airflow_provider_customerly.storage import Dataset, Location, Manifest

log = logging.getLogger(__name__)

_TRIES = 3
_VERSION = re.compile(rf"{DELTA_LOG}/\d{{20}}\.json")
_FOREVER = "interval 36500 days"
_NOT_IN_A_NAME = re.compile(r"[ ,;{}()\n\t=]")
_NOT_IN_A_PATH = "%#?\\"
_OF_AWS = re.compile(r"https://s3(?:\.[a-z0-9-]+)?\.amazonaws\.com/?")


class DeltaError(RuntimeError):
    """The export is committed, but is not in the Delta table yet. The next run adds it."""


def check_delta(location: Location, schema: pa.Schema) -> None:
    """Check that an export can be a Delta table.

    :param schema: the columns of the export.
    :raises RefusedError: ``deltalake`` is not installed, the store is neither a local disk nor S3, or Delta
        does not allow the name of a column.
    """
    try:
        import deltalake  # noqa: F401
    except ImportError as error:
        raise RefusedError(
            f"table_format='delta' needs the package deltalake ({error}). "
            "Install airflow-provider-customerly[delta], or remove table_format."
        ) from error
    if not location.is_local and not _is_s3(location.fs):
        raise RefusedError(
            f"table_format='delta' supports local disks and S3, but not {location}. "
            "Choose another path, or remove table_format."
        )
    if any(character in location.root for character in _NOT_IN_A_PATH):
        raise RefusedError(
            f"table_format='delta' cannot use the path {location}, because deltalake misreads the characters "
            f"{' '.join(_NOT_IN_A_PATH)} in a path. Choose another path, or remove table_format."
        )
    if wrong := _not_for_delta(schema.names):
        raise RefusedError(
            f"A Delta table cannot have columns named {', '.join(map(repr, wrong))}: names must not contain "
            "a space or any of ,;{}()=. Remove them from attributes and read the column attributes instead."
        )


def publish(dataset: Dataset, keep_days: float | None = None) -> None:
    """Add each commit that is not yet in the Delta table as a version, oldest first.

    :param keep_days: days for which VACUUM must spare files that are not in the newest version; None for
        ever.
    :raises DeltaError: this failed. The next run tries again.
    """
    failed_at, tries = -1, 0
    while True:
        table = _Table(dataset, keep_days)
        try:
            table.load()
            for commit in table.missing():
                table.add(commit)
            table.set_properties()
            return
        except Exception as error:  # deltalake raises its own errors, system errors and Arrow errors
            # Another run may have been faster, or the version was written without a confirmation.
            tries = tries + 1 if table.version == failed_at else 1
            failed_at = table.version
            if tries == _TRIES:
                raise DeltaError(
                    "The export is committed, but could not be added to the Delta table at "
                    f"{dataset.location}: {type(error).__name__}: {str(error).strip()}. "
                    f"Check that {DELTA_LOG} there is writable. The next run adds what is missing."
                ) from error


def warn_if_stale(dataset: Dataset) -> None:
    """Log a warning if there is a Delta table that this export does not update."""
    try:
        if dataset.location.list(DELTA_LOG):
            log.warning(
                "The Delta table does not include this export, and its files will be removed when they are "
                "replaced. Set table_format='delta', or remove the folder %s.\n%s",
                DELTA_LOG,
                dataset.location,
            )
    except Exception as error:
        log.debug("Could not look for a Delta table: %s", type(error).__name__)


class _Table:
    """The Delta table of a dataset at the time it was loaded."""

    def __init__(self, dataset: Dataset, keep_days: float | None) -> None:
        self._location = dataset.location
        self._properties = _properties(keep_days)
        self._uri = ""
        self._store: dict[str, str] = {}
        self._table: DeltaTable | None = None

    @property
    def version(self) -> int:
        """The newest version read; -1 if there is none."""
        return -1 if self._table is None else self._table.version()

    def load(self) -> None:
        """Read the log of the table."""
        from deltalake import DeltaTable

        if self._location.is_local:
            self._uri = Path(self._location.root).as_uri()
        else:
            self._uri, self._store = f"s3://{quote(self._location.root)}", _s3_options(self._location)
        if self._log():
            self._table = DeltaTable(self._uri, storage_options=self._store)

    def missing(self) -> list[Manifest]:
        """Return the commits that have no version yet, oldest first."""
        numbers = list_numbers(self._location)
        newest = 0
        for sequence, run in self._versions():
            # If a user deleted a manifest, another commit may have its number, but not a version.
            if sequence in numbers.retired or self._is_living(sequence, run):
                newest = sequence
                break
        found = read_manifests(self._location, [number for number in numbers.living if number > newest])
        return [commit for commit in found if not isinstance(commit, DamagedManifestError)]

    def _log(self) -> list[str]:
        """Return the names of the log's entries, newest first."""
        names = self._location.list(DELTA_LOG)
        return sorted((name for name in names if _VERSION.fullmatch(name)), reverse=True)

    def _versions(self) -> Iterator[tuple[int, str]]:
        """Yield the sequence and run of commits that are versions, newest first."""
        for name in self._log():
            for line in self._location.read(name).splitlines():
                note = json.loads(line).get("commitInfo", {})
                if "sequence" in note and "run" in note:  # not a version that another engine wrote
                    yield int(note["sequence"]), note["run"]

    def add(self, commit: Manifest) -> None:
        """Add a commit as the next version, unless it cannot be one.

        :raises Exception: it could not be written, or there is a newer version by now.
        """
        from deltalake import CommitProperties, DeltaTable, Schema
        from deltalake.transaction import create_table_with_add_actions

        try:
            columns, actions = describe(self._location, commit)
        except FileNotFoundError:
            if self._is_living(commit.sequence, commit.run):  # or it was replaced or removed meanwhile
                self._warn(commit, "some of its files are missing")
            return
        if wrong := _not_for_delta(columns.names):
            self._warn(commit, f"Delta does not allow the column names {', '.join(wrong)}")
            return
        schema = Schema.from_arrow(columns)
        # No retries: on top of a version that was not read, the commit might be there twice.
        note = CommitProperties(custom_metadata=_note(commit), max_commit_retries=0)
        if self._table is None:
            create_table_with_add_actions(
                self._uri,
                schema,
                actions,
                partition_by=[PARTITION],
                configuration=self._properties,
                storage_options=self._store,
                commit_properties=note,
            )
            # Not the newest version, because another run may have written versions that were not read.
            self._table = DeltaTable(self._uri, 0, self._store)
        else:
            self._table.create_write_transaction(
                actions, "overwrite", schema, [PARTITION], commit_properties=note
            )
            self._table.load_as_version(self._table.version() + 1)
        log.info(
            "Delta version %d: commit %d, %s\n%s",
            self.version,
            commit.sequence,
            count(commit.rows, "row"),
            self._location,
        )

    def set_properties(self) -> None:
        """Set how long other engines must keep files, if that changed."""
        if self._table is None:
            return
        found = self._table.metadata().configuration
        if any(found.get(name) != value for name, value in self._properties.items()):
            self._table.alter.set_table_properties(self._properties)

    def _warn(self, commit: Manifest, problem: str) -> None:
        log.warning("%s was not added to the Delta table: %s.\n%s", commit.name, problem, self._location)

    def _is_living(self, sequence: int, run: str) -> bool:
        try:
            return read_manifest(self._location, sequence).run == run
        except (FileNotFoundError, DamagedManifestError):
            return False


def _note(commit: Manifest) -> dict[str, str]:
    return {
        "sequence": str(commit.sequence),
        "run": commit.run,
        "rows": str(commit.rows),
        "mode": commit.mode,
        "verdict": str(commit.certificate.get("verdict")),
    }


def _properties(keep_days: float | None) -> dict[str, str]:
    """Return how long other engines must keep older versions, and files that only those name."""
    # Files become old with the next day's commit, so one extra day is enough.
    span = _FOREVER if keep_days is None else f"interval {math.ceil(keep_days) + 1} days"
    return {"delta.deletedFileRetentionDuration": span, "delta.logRetentionDuration": span}


def _not_for_delta(names: Iterable[str]) -> list[str]:
    return [name for name in names if _NOT_IN_A_NAME.search(name)]


def _is_s3(fs: Any) -> bool:
    names = fs.protocol if isinstance(fs.protocol, tuple | list) else [fs.protocol]
    return "s3" in names and hasattr(fs, "call_s3")


def _s3_options(location: Location) -> dict[str, str]:
    """Return the options with which ``deltalake`` reaches the same S3 with the same credentials."""
    fs = location.fs
    client = fs.s3
    endpoint = client.meta.endpoint_url
    answer = fs.call_s3("head_bucket", Bucket=fs.split_path(location.root)[0])
    region = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region") or client.meta.region_name
    options = {"aws_region": region, "aws_conditional_put": "etag"}
    if not _OF_AWS.fullmatch(endpoint):
        options["aws_endpoint_url"] = endpoint
        options["aws_allow_http"] = "true" if endpoint.startswith("http://") else "false"
    if fs.anon:
        return {**options, "aws_skip_signature": "true"}
    key, secret, token = (fs.key, fs.secret, fs.token) if fs.key else sync(fs.loop, _credentials, fs.session)
    options |= {"aws_access_key_id": key, "aws_secret_access_key": secret}
    return {**options, "aws_session_token": token} if token else options


async def _credentials(session: Any) -> tuple[str, str, str | None]:
    found = await (await session.get_credentials()).get_frozen_credentials()
    return found.access_key, found.secret_key, found.token
