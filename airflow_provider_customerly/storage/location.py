"""A folder on a disk or in an object store."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import secrets
from typing import IO, Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_customerly.storage.sink import Sink

TEMPORARY = ".tmp-"
"""Marks a file that is being written and has no meaning yet."""


_CONNECTION = re.compile(r"(?:s3[an]?|gs|gcs)://([^/@]+)@", re.IGNORECASE)
"""Only of stores whose addresses have no other use of the @, as `abfs://container@account/` has."""

_FOR_GOOD = (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError)
_FOR_GOOD_NUMBERS = (errno.EROFS, errno.ENAMETOOLONG, errno.EINVAL)


@dataclasses.dataclass(frozen=True)
class Location:
    """A folder, and the files below it under names relative to it.

    Nothing is cached: what another process wrote is seen by the next call. All of it may be called from
    several threads.
    """

    fs: Any
    """An fsspec file system."""
    root: str
    """The folder's path within it, without a slash at the end."""

    def __post_init__(self) -> None:
        # Others write there too; and a cache of listings is not safe with several threads.
        self.fs.dircache.use_listings_cache = False
        self.fs.invalidate_cache()

    @classmethod
    def of(cls, path: Any) -> Location:
        """Resolve a path.

        :param path: text (`/data/crm`, `s3://bucket/crm`), an `os.PathLike`, or an object with `fs` and
            `path` such as Airflow's `ObjectStoragePath`, whose connection is then used.
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
        """Tell whether this is a folder of the local machine."""
        return isinstance(self.fs, LocalFileSystem)

    def join(self, name: str) -> Location:
        """Give the folder `name` below this one."""
        return Location(self.fs, self.path(name))

    def path(self, name: str) -> str:
        """Give the path of `name` as the file system knows it."""
        return f"{self.root}/{name.strip('/')}"

    def list(self, folder: str = "") -> dict[str, int]:
        """Give the files below `folder`, at any depth: relative name to size in bytes."""
        start = self.path(folder) if folder else self.root
        if self.is_local:
            found = _local_files(start or "/")
        else:
            found = {path: info["size"] or 0 for path, info in self.fs.find(start, detail=True).items()}
        return {self.fs._strip_protocol(path)[len(self.root) + 1 :]: size for path, size in found.items()}

    def exists(self, name: str) -> bool:
        """Tell whether there is a file `name`."""
        return bool(self.fs.exists(self.path(name)))

    def read(self, name: str) -> bytes:
        """Read a small file whole.

        :raises FileNotFoundError: there is none.
        """
        content: bytes = self.fs.cat_file(self.path(name))
        return content

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading at any position."""
        stream: IO[bytes] = self.fs.open(self.path(name), "rb")
        return stream

    def create(self, name: str) -> Sink:
        """Open a file for writing; folders are made as needed.

        A file that is not closed properly may stay under its name, cut short.
        """
        self._make_parent(name)
        try:
            stream = self.fs.open(self.path(name), "wb")
        except FileNotFoundError:  # the folder was empty, and removed as such by another run
            self._make_parent(name)
            stream = self.fs.open(self.path(name), "wb")
        return Sink(stream, durable=self.is_local)

    def write_atomic(self, name: str, content: bytes) -> None:
        """Write a small file so that a reader sees the old content or the new one, never a part of it.

        On a local disk it outlives a power failure; on an object store it is one PUT.
        """
        if self.is_local:
            _replace(self.path(name), content)
        else:
            self.fs.pipe_file(self.path(name), content)

    def delete(self, name: str) -> None:
        """Delete a file; one that is gone already is no error."""
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self.path(name))

    def remove_folder(self, name: str) -> None:
        """Remove a folder if it is empty; object stores have none."""
        if self.is_local:
            with contextlib.suppress(OSError):
                os.rmdir(self.path(name))

    def check_writable(self) -> None:
        """Write and delete a tiny file.

        :raises ValueError: that is not allowed or not possible; the message says where and what to do.
        :raises Exception: the storage does not answer.
        """
        probe = f"_leases/{TEMPORARY}probe-{secrets.token_hex(4)}"
        try:
            self.write_atomic(probe, b"")
            self.delete(probe)
        except OSError as error:
            if not isinstance(error, _FOR_GOOD) and error.errno not in _FOR_GOOD_NUMBERS:
                raise
            raise ValueError(
                f"Cannot write to {self} ({type(error).__name__}: {error}). "
                "Check that the folder or bucket exists and that this worker's user or connection may write."
            ) from error

    def _make_parent(self, name: str) -> None:
        # Object stores have no folders; asking for one may try to create a bucket.
        if self.is_local:
            os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)


def _refuse_connection(text: str) -> None:
    if named := _CONNECTION.match(text):
        raise ValueError(
            f"The path names the Airflow connection {named[1]!r}, which text alone cannot use. Give "
            "ObjectStoragePath(path), from airflow.sdk, instead of the text; or leave the connection out, "
            "and set the credentials of the object store in the environment."
        )


def _refuse_blank(text: str) -> None:
    if not text.strip():
        raise ValueError(
            "The path is blank. Give a folder such as /data/customerly or s3://bucket/customerly; "
            "if it is a template, check the variable it is rendered from."
        )


def _local_files(folder: str) -> dict[str, int]:
    # fsspec's own find() leaves out a whole folder, in silence, when one of its files is deleted meanwhile.
    files: dict[str, int] = {}
    folders = [folder]
    while folders:
        with contextlib.suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    with contextlib.suppress(FileNotFoundError):
                        files[entry.path] = entry.stat().st_size
    return files


def _replace(path: str, content: bytes, tries: int = 3) -> None:
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f"{TEMPORARY}{secrets.token_hex(4)}-{name}")
    try:
        os.makedirs(folder, exist_ok=True)
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except FileNotFoundError:  # a clean-up by another run took the folder, or the file for a leftover
        if tries == 1:
            raise
        return _replace(path, content, tries - 1)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    """Make the names in a local folder outlive a power failure, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
