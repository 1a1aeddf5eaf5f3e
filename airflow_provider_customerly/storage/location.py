"""A folder on a disk or in an object store."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import inspect
import os
import re
import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

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
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_AT_ONCE = 16
_GLOB = frozenset("*?[")
"""Signs that fsspec takes for a pattern where it is given several paths."""


class RefusedError(ValueError):
    """The request cannot work with the existing files or settings. A retry would not help."""


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
        _refuse_connection(text)
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
            found = _local_files(start or "/")
        else:
            # A folder of which the first file appears during the listing is told as if it were one itself.
            infos = {
                path: info
                for path, info in self.fs.find(start, detail=True).items()
                if info["type"] != "directory"
            }
            found = {path: Found(info["size"] or 0, _modified(info)) for path, info in infos.items()}
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
        if self.is_local:
            return [self._read_if_there(name) for name in names]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="customerly-storage") as pool:
            return list(pool.map(self._read_if_there, names))

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
        self._make_parent(name)
        try:
            stream = self.fs.open(self.path(name), "wb")
        except FileNotFoundError:  # another run removed the folder because it was empty
            self._make_parent(name)
            stream = self.fs.open(self.path(name), "wb")
        if self.private and self.is_local:
            os.chmod(self.path(name), 0o600)
        return Sink(stream, durable=self.is_local)

    def write_atomic(self, name: str, content: bytes) -> None:
        """Write a small file so that readers see either the old content or the new, never a mix.

        On a local disk the file survives a power failure. In an object store it is a single PUT.
        """
        if self.is_local:
            _replace(self.path(name), content, private=self.private)
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
            _link(path, content, private=self.private)
        elif "mode" in inspect.signature(getattr(self.fs, "_pipe_file", self.fs.pipe_file)).parameters:
            self.fs.pipe_file(path, content, mode="create")
        elif self.exists(name):
            raise FileExistsError(path)
        else:
            self.fs.pipe_file(path, content)

    def copy(self, name: str, to: str) -> None:
        """Copy a file, inside the store if possible."""
        self._make_parent(to)
        if self.is_local:
            shutil.copyfile(self.path(name), self.path(to))
            _sync_file(self.path(to))
        else:
            self.fs.cp_file(self.path(name), self.path(to))

    def move(self, name: str, to: Location, to_name: str) -> None:
        """Move a file to a location in the same store: a rename on a disk, a copy in an object store."""
        source, target = self.path(name), to.path(to_name)
        if self.is_local:
            _rename(source, target)
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
        if self.is_local:
            failures = list(map(self._failure_to_delete, names))
        else:
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="customerly-storage") as pool:
                failures = list(pool.map(self._failure_to_delete, names))
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

    def _make_parent(self, name: str) -> None:
        # Object stores have no folders, and creating one may try to create a bucket.
        if self.is_local:
            _make_folder(os.path.dirname(self.path(name)), private=self.private)


def _refuse_connection(text: str) -> None:
    if named := _CONNECTION.match(text):
        raise ValueError(
            f"The path names the Airflow connection {named[1]!r}, but a string cannot use a connection. Pass "
            "ObjectStoragePath(path) from airflow.sdk instead. Or remove the connection from the path and "
            "set the credentials of the object store in the environment."
        )


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


def _local_files(folder: str) -> dict[str, Found]:
    # fsspec's find() silently skips a whole folder when one of its files is deleted meanwhile.
    files: dict[str, Found] = {}
    folders = [folder]
    try:
        while folders:
            with contextlib.suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        with contextlib.suppress(FileNotFoundError):
                            stat = entry.stat()
                            files[entry.path] = Found(stat.st_size, stat.st_mtime)
    except NotADirectoryError as error:
        raise _not_a_folder(error) from None
    return files


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


def _make_folder(path: str, *, private: bool) -> None:
    try:
        os.makedirs(path, mode=0o700 if private else 0o777, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise _not_a_folder(error) from None


def _not_a_folder(error: OSError) -> RefusedError:
    path = str(error.filename)
    while not os.path.lexists(path):  # the system names what it looked for, and not what stood in its way
        path = os.path.dirname(path)
    return RefusedError(
        f"{path} is a file, where a folder is needed. Check the path; or move the file away or delete it."
    )


def _replace(path: str, content: bytes, *, private: bool) -> None:
    _write_then(path, content, os.replace, private=private)


def _link(path: str, content: bytes, *, private: bool) -> None:
    def link(temporary: str, path: str) -> None:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # A reader may briefly see half of it, takes it for damaged and reads it again.
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if private else 0o666)
            with open(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        os.unlink(temporary)

    _write_then(path, content, link, private=private)


def _write_then(
    path: str, content: bytes, put: Callable[[str, str], None], *, private: bool, tries: int = 3
) -> None:
    """Write a file that survives a power failure, then put it in place."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f"{TEMPORARY}{secrets.token_hex(4)}-{name}")
    try:
        _make_folder(folder, private=private)
        mode = 0o600 if private else 0o666
        with open(temporary, "wb", opener=lambda path, flags: os.open(path, flags, mode)) as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        put(temporary, path)
    except FileNotFoundError:  # another run's clean-up removed the folder, or the file as a leftover
        if tries == 1:
            raise
        return _write_then(path, content, put, private=private, tries=tries - 1)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return _sync_folder(folder)


def _rename(source: str, target: str, tries: int = 3) -> None:
    folder = os.path.dirname(target)
    _make_folder(folder, private=False)
    try:
        os.replace(source, target)
    except FileNotFoundError:  # another run removed the folder because it was empty
        if tries == 1:
            raise
        return _rename(source, target, tries - 1)
    return _sync_folder(folder)


def _sync_file(path: str) -> None:
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())


def _sync_folder(folder: str) -> None:
    """Make the names in a local folder survive a power failure, if the system supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
