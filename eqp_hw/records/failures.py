"""From what HDF5 and the operating system say to what a user can act on."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eqp_hw.errors import RecordError

__all__ = [
    "error_number",
    "is_file_failure",
    "is_lock_refusal",
    "record_failures",
    "replace_file",
    "sync_folder",
]

_IN_USE = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EFBIG: "the file may not grow any further (file size limit)",
    errno.EDQUOT: "the disk quota is used up",
}


@contextmanager
def record_failures(path: Path, action: str, safe: str = "nothing was changed") -> Iterator[None]:
    """Turn failures of HDF5 and of the file system into a `RecordError`.

    Parameters
    ----------
    path
        File that is worked on.
    action
        What was being done, e.g. ``"cannot be created"``.
    safe
        What the user still has, for messages about a failed write.

    Raises
    ------
    RecordError
        In place of what `is_file_failure` finds.
    """
    try:
        yield
    except Exception as error:
        if not is_file_failure(error):
            raise
        raise RecordError(f"{path}: {action}: {_reason(path, error)}; {safe}") from error


def is_file_failure(error: BaseException) -> bool:
    """Whether the file failed, not the program.

    h5py raises OSError or RuntimeError for that, but where the file system refuses in the midst
    of something it raises whatever stands for that something, with the reason in the text.
    """
    return isinstance(error, OSError | RuntimeError) or error_number(error) is not None


def is_lock_refusal(error: BaseException) -> bool:
    """Whether another process holds the lock of an HDF5 file."""
    return error_number(error) in _IN_USE and "unable to lock file" in str(error)


def error_number(error: BaseException) -> int | None:
    """Return the system error number behind an exception of Python or h5py, if any."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    # h5py has no errno where HDF5 fails late (closing, flushing); its text has.
    found = re.search(r"errno = (\d+)", str(error))
    return int(found.group(1)) if found else None


def replace_file(temporary: Path, path: Path, *, fsync: bool) -> None:
    """Give ``temporary`` the name ``path``, at once; ``fsync`` makes that last."""
    os.replace(temporary, path)
    if fsync:
        sync_folder(path)


def sync_folder(path: Path) -> None:
    """Wait until the names in the folder of ``path`` are on the disk."""
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _reason(path: Path, error: BaseException) -> str:
    number = error_number(error)
    if number in _FULL:
        return _FULL[number]
    if is_lock_refusal(error):
        return "the file is in use by another process; wait for it or stop it"
    if number == errno.ENOENT and not path.parent.is_dir():
        return f"the folder {path.parent} does not exist"
    if number == errno.ENOTDIR or (number is None and path.is_dir()):
        return "a folder stands where a file is needed, or a file where a folder is"
    if number is not None:
        text = os.strerror(number)
        return text[:1].lower() + text[1:]
    return " ".join(str(error).split())
