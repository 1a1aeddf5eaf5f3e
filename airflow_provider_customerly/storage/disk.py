"""Write and list files on a local disk: they survive a power failure and what other runs do meanwhile.

A file is complete and synced before it gets its name, and then the folder is synced, too. Other runs remove
folders that are empty, so a folder may vanish between its creation and that of a file in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_customerly.storage.refused import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_TRIES = 3
_PRIVATE_FILE, _PRIVATE_FOLDER = 0o600, 0o700

_T = TypeVar("_T")


def list_files(folder: str) -> dict[str, os.stat_result]:
    """Return the files below a folder, at any depth, by path."""
    # fsspec's find() silently skips a whole folder when one of its files is deleted meanwhile.
    files: dict[str, os.stat_result] = {}
    folders = [folder]
    try:
        while folders:
            with contextlib.suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        with contextlib.suppress(FileNotFoundError):
                            files[entry.path] = entry.stat()
    except NotADirectoryError as error:
        raise _not_a_folder(error) from None
    return files


def in_folder_of(path: str, act: Callable[[], _T], *, private: bool, tries: int = _TRIES) -> _T:
    """Create the folder of a file, then do ``act``: again if another run removed the folder meanwhile."""
    try:
        _make_folder(os.path.dirname(path), private=private)
        return act()
    except FileNotFoundError:
        if tries == 1:
            raise
        return in_folder_of(path, act, private=private, tries=tries - 1)


def write(path: str, content: bytes, temporary: str, *, private: bool, exclusive: bool = False) -> None:
    """Write a file under a temporary name, then put it in place.

    :param exclusive: raise ``FileExistsError`` if there is such a file, instead of replacing it.
    """

    def write_and_put() -> None:
        try:
            _write_synced(temporary, "wb", content, private=private)
            if not exclusive:
                os.replace(temporary, path)
                return
            try:
                os.link(temporary, path)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                # A reader may meet half of it, and then reports it as damaged.
                _write_synced(path, "xb", content, private=private)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    in_folder_of(path, write_and_put, private=private)
    _sync_folder(os.path.dirname(path))


def copy(source: str, target: str, *, private: bool) -> None:
    """Copy a file. The name of the copy may be lost in a power failure."""
    in_folder_of(target, lambda: shutil.copyfile(source, target), private=private)
    with open(target, "rb+") as stream:
        if private:
            os.fchmod(stream.fileno(), _PRIVATE_FILE)
        os.fsync(stream.fileno())


def move(source: str, target: str, *, private: bool) -> None:
    """Rename a file."""
    in_folder_of(target, lambda: os.replace(source, target), private=private)
    _sync_folder(os.path.dirname(target))


def _write_synced(path: str, mode: str, content: bytes, *, private: bool) -> None:
    rights = _PRIVATE_FILE if private else 0o666
    with open(path, mode, opener=lambda path, flags: os.open(path, flags, rights)) as stream:
        try:
            stream.write(content)
            stream.flush()
        except OSError:  # half a file is nobody's, and its name would stay taken
            os.unlink(path)
            raise
        os.fsync(stream.fileno())


def _make_folder(path: str, *, private: bool) -> None:
    try:
        os.makedirs(path, mode=_PRIVATE_FOLDER if private else 0o777, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise _not_a_folder(error) from None


def _not_a_folder(error: OSError) -> RefusedError:
    path = str(error.filename)
    while not os.path.lexists(path):  # the system names what it looked for, and not what stood in its way
        path = os.path.dirname(path)
    return RefusedError(
        f"{path} is a file, where a folder is needed. Check the path; or move the file away or delete it."
    )


def _sync_folder(folder: str) -> None:
    """Make the names in a local folder survive a power failure, if the system supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
