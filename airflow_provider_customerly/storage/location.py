"""A folder on a disk or in an object store."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import inspect
import os
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_customerly.storage import disk
from airflow_provider_customerly.storage.refused import RefusedError
from airflow_provider_customerly.storage.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TEMPORARY = ".tmp-"
"""Marks a file that is still being written."""

_CONNECTION = re.compile(r"(?:s3[an]?|gs|gcs)://([^/@]+)@", re.IGNORECASE)
"""Only stores where ``@`` has no other meaning, unlike in ``abfs://container@account/``."""
_LOCAL_SCHEME = re.compile(r"(?:file|local)://(?:[^/@]*@)?", re.IGNORECASE)

_FOR_GOOD = (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError)
_FOR_GOOD_NUMBERS = (errno.EROFS, errno.ENAMETOOLONG, errno.EINVAL)
_AT_ONCE = 16
_GLOB = frozenset("*?[")
"""Signs that fsspec takes for a pattern where it is given several paths."""

_T = TypeVar("_T")


class Found(NamedTuple):
    """A file in a listing."""

    size: int
    modified: float | None
    """Modification time in seconds since 1970, by the store's clock; None if the store does not report it."""


@dataclasses.dataclass(frozen=True)
class Location:
    """A folder. The files below it go by names relative to it.

    Nothing is cached: each call sees what other processes have written. All methods are thread-safe.
    """

    fs: Any
    """An fsspec file system."""
    root: str
    """The folder's path in the file system, without a trailing slash."""
    private: bool = False
    """Whether only this user may read what is written: modes 0600 and 0700 on a local disk."""

    def __post_init__(self) -> None:
        # Other processes write there, too, and the cache of listings is not thread-safe.
        self.fs.dircache.use_listings_cache = False
        self.fs.invalidate_cache()

    @classmethod
    def of(cls, path: Any) -> Location:
        """Resolve a path.

        :param path: text (``/data/crm``, ``s3://bucket/crm``), an ``os.PathLike``, or an object with ``fs``
            and ``path`` such as Airflow's ``ObjectStoragePath``, whose connection is then used.
        :raises ValueError: the path is blank, or is text that names an Airflow connection.
        """
        if isinstance(path, Location):
            return path
        if hasattr(path, "fs") and hasattr(path, "path"):
            inner, fs = str(path.path), path.fs
            _refuse_blank(inner)
            return cls(fs, fs._strip_protocol(inner).rstrip("/"))
        text = os.fspath(path)
        _refuse_blank(text)
        if named := _CONNECTION.match(text):
            raise ValueError(
                f"The path names the Airflow connection {named[1]!r}, but a string cannot use a connection. "
                "Pass ObjectStoragePath(path) from airflow.sdk instead. Or remove the connection from the "
                "path and set the credentials of the object store in the environment."
            )
        fs, inner = url_to_fs(text)
        return cls(fs, inner.rstrip("/"))

    def __str__(self) -> str:
        return self.root if self.is_local else str(self.fs.unstrip_protocol(self.root))

    @property
    def is_local(self) -> bool:
        """Whether this is a folder on a local disk."""
        return isinstance(self.fs, LocalFileSystem)

    def join(self, name: str) -> Location:
        """Return the folder ``name`` below this one."""
        return dataclasses.replace(self, root=self.path(name))

    def path(self, name: str) -> str:
        """Return the path of ``name`` in the file system."""
        return f"{self.root}/{name.strip('/')}"

    def list(self, folder: str = "") -> dict[str, int]:
        """Return the size in bytes of each file below ``folder``, at any depth, by relative name."""
        return {name: found.size for name, found in self.scan(folder).items()}

    def scan(self, folder: str = "") -> dict[str, Found]:
        """Return the files below ``folder``, at any depth, by name relative to this location."""
        start = self.path(folder) if folder else self.root
        if self.is_local:
            stats = disk.list_files(start or "/")
            found = {path: Found(stat.st_size, stat.st_mtime) for path, stat in stats.items()}
        else:
            found = {
                path: Found(info["size"] or 0, _modified(info))
                for path, info in self.fs.find(start, detail=True).items()
                # A folder whose first file appears during the listing is told as if it were a file.
                if info["type"] != "directory"
            }
        return {self.fs._strip_protocol(path)[len(self.root) + 1 :]: one for path, one in found.items()}

    def exists(self, name: str) -> bool:
        """Return whether there is a file ``name``."""
        return bool(self.fs.exists(self.path(name)))

    def read(self, name: str) -> bytes:
        """Read a whole, small file.

        :raises FileNotFoundError: there is no such file.
        """
        content: bytes = self.fs.cat_file(self.path(name))
        return content

    def read_many(self, names: Sequence[str]) -> Sequence[bytes | None]:
        """Read several small files; return None for each that does not exist."""
        return self._for_each(names, self._read_if_there)

    def _read_if_there(self, name: str) -> bytes | None:
        try:
            return self.read(name)
        except FileNotFoundError:
            return None

    def open(self, name: str) -> IO[bytes]:
        """Open a file for random reads."""
        stream: IO[bytes] = self.fs.open(self.path(name), "rb")
        return stream

    def create(self, name: str) -> Sink:
        """Open a file for writing, creating folders as needed.

        A file that is not closed properly may stay behind, truncated.
        """
        path = self.path(name)
        if not self.is_local:
            return Sink(self.fs.open(path, "wb"), durable=False)
        stream = disk.in_folder_of(path, lambda: self.fs.open(path, "wb"), private=self.private)
        if self.private:
            os.chmod(path, 0o600)
        return Sink(stream, durable=True)

    def write_atomic(self, name: str, content: bytes) -> None:
        """Write a small file so that readers see either the old content or the new, never a mix.

        On a local disk the file survives a power failure. In an object store it is a single PUT.
        """
        if self.is_local:
            disk.write(self.path(name), content, self._temporary(name), private=self.private)
        else:
            self.fs.pipe_file(self.path(name), content)

    def create_exclusive(self, name: str, content: bytes) -> None:
        """Create a small file unless it exists.

        On a local disk this links a finished file to the name. S3, and other stores for which fsspec supports
        ``mode="create"``, check it themselves. In any other store two writers may both succeed if they create
        the file at the same moment.

        :raises FileExistsError: the file exists.
        """
        path = self.path(name)
        if self.is_local:
            disk.write(path, content, self._temporary(name), private=self.private, exclusive=True)
        elif "mode" in inspect.signature(getattr(self.fs, "_pipe_file", self.fs.pipe_file)).parameters:
            self.fs.pipe_file(path, content, mode="create")
        elif self.exists(name):
            raise FileExistsError(path)
        else:
            self.fs.pipe_file(path, content)

    def copy(self, name: str, to: str) -> None:
        """Copy a file, inside the store if possible."""
        if self.is_local:
            disk.copy(self.path(name), self.path(to), private=self.private)
        else:
            self.fs.cp_file(self.path(name), self.path(to))

    def move(self, name: str, to: Location, to_name: str) -> None:
        """Move a file to a location in the same store: a rename on a disk, a copy in an object store."""
        source, target = self.path(name), to.path(to_name)
        if self.is_local:
            disk.move(source, target, private=to.private)
        else:
            self.fs.cp_file(source, target)
            with contextlib.suppress(Exception):  # old leftovers in the staging folder are removed later
                self.delete(name)

    def delete(self, name: str) -> None:
        """Delete a file if it exists."""
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self.path(name))

    def folders(self, folder: str) -> Sequence[str]:
        """Return the names of the folders right below ``folder``; object stores have none."""
        if not self.is_local or not os.path.isdir(self.path(folder)):
            return ()
        with os.scandir(self.path(folder)) as entries:
            return [f"{folder}/{entry.name}".lstrip("/") for entry in entries if entry.is_dir()]

    def delete_many(self, names: Sequence[str]) -> dict[str, Exception]:
        """Delete files: on an object store many with one request, where it can.

        :return: what could not be deleted, and why.
        """
        if len(names) > 1 and not self.is_local and not _GLOB.intersection(self.root):
            with contextlib.suppress(Exception):  # one by one it may work, or tells why it does not
                self.fs.rm([self.path(name) for name in names])
                return {}
        failures = self._for_each(names, self._failure_to_delete)
        return {name: error for name, error in zip(names, failures, strict=True) if error is not None}

    def _failure_to_delete(self, name: str) -> Exception | None:
        try:
            self.delete(name)
        except Exception as error:
            return error
        return None

    def remove_folder(self, name: str) -> None:
        """Remove a local folder if it is empty."""
        if self.is_local:
            with contextlib.suppress(OSError):
                os.rmdir(self.path(name))

    def check_writable(self) -> None:
        """Check that files can be written, by writing and deleting an empty one.

        :raises RefusedError: writing is not allowed or not possible.
        :raises Exception: the storage does not respond.
        """
        probe = f"{TEMPORARY}probe-{secrets.token_hex(4)}"
        try:
            self.write_atomic(probe, b"")
            self.delete(probe)
            if self.private and self.is_local:
                os.chmod(self.root, 0o700)
        except OSError as error:
            if not isinstance(error, _FOR_GOOD) and error.errno not in _FOR_GOOD_NUMBERS:
                raise
            raise RefusedError(
                f"Cannot write to {self} ({type(error).__name__}: {error}). Check that the folder or bucket "
                "exists and that the worker's user or the connection may write to it."
            ) from error

    def _for_each(self, names: Sequence[str], act: Callable[[str], _T]) -> Sequence[_T]:
        """Call ``act`` with each name: several at once where each call waits for the network."""
        if self.is_local:
            return list(map(act, names))
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="customerly-storage") as pool:
            return list(pool.map(act, names))

    def _temporary(self, name: str) -> str:
        """Return a path beside ``name`` for a file that is renamed to it once it is whole."""
        folder, file = os.path.split(self.path(name))
        return os.path.join(folder, f"{TEMPORARY}{secrets.token_hex(4)}-{file}")


def refuse_relative(text: str) -> None:
    """Raise ``ValueError`` if a local path is relative to the working directory."""
    local = _LOCAL_SCHEME.sub("", text)
    if "://" not in local and "::" not in local and not os.path.isabs(os.path.expanduser(local)):
        raise ValueError(
            f"The path {text!r} is relative, so it would depend on the worker's working directory. "
            "Use an absolute path such as /data/customerly, or s3://bucket/customerly."
        )


def _refuse_blank(text: str) -> None:
    if not text.strip():
        raise ValueError(
            "The path is blank. Set it to a folder such as /data/customerly or s3://bucket/customerly. "
            "If it is a template, check the variable it is rendered from."
        )


def _modified(info: Mapping[str, Any]) -> float | None:
    """Read the modification time from fsspec's info, where each store uses a name of its own."""
    for key in ("LastModified", "mtime", "last_modified", "updated", "created"):
        value = info.get(key)
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return None
