"""A new HDF5 file takes its name only when it is complete, and never by mistake."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py

from eqp_hw.errors import RecordError

from .failures import is_lock_refusal, replace_file, sync_folder

__all__ = ["Edit", "build_file", "is_locked", "publish_file", "refuse_existing"]

Edit = Callable[[Any], None]
"""Changes an open HDF5 file."""


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def build_file(path: Path, fill: Edit, *, owned: bool) -> Any:
    """Return a complete new file, open and locked, under a temporary name beside ``path``.

    Parameters
    ----------
    path
        Name that `publish_file` will give it.
    fill
        Writes its content.
    owned
        The caller holds the lock on ``path``, so nobody else can be at work beside it.

    Raises
    ------
    RecordError
        Another process is making the same file.
    OSError, RuntimeError
        It cannot be written; nothing is left behind.
    """
    temporary = _partial(path)
    if not owned and os.path.exists(temporary) and is_locked(temporary):
        raise RecordError(f"{path}: another process is creating this file")
    temporary.unlink(missing_ok=True)  # left by a writer that was killed
    image = _image(fill)
    try:
        with temporary.open("xb", buffering=0) as raw:
            rest = memoryview(image)
            while rest:  # an unbuffered write may take only a part
                rest = rest[raw.write(rest) :]
            os.fsync(raw.fileno())
        return h5py.File(temporary, "r+", libver="earliest", locking="best-effort")
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _image(fill: Edit) -> bytes:
    """Return the bytes of a new file.

    It is made in memory: when HDF5 cannot write its metadata, because the disk is full, it
    cannot close the file either, and the process crashes when the library is unloaded.
    """
    with h5py.File(
        "image", "w", driver="core", backing_store=False, libver="earliest", locking=False
    ) as file:
        fill(file)
        file.flush()
        image: bytes = file.id.get_file_image()
        return image


def publish_file(path: Path, file: Any, *, replace: bool) -> None:
    """Give the file made by `build_file` its name; without ``replace`` only if that is free.

    Raises
    ------
    RecordError
        The name is taken.
    OSError
        The file system refuses.
    """
    temporary = _partial(path)
    try:
        if not replace:
            try:
                os.link(temporary, path)  # unlike a rename, fails if the name is taken
                temporary.unlink()
                sync_folder(path)
                return
            except FileExistsError:
                raise _taken(path) from None
            except OSError:  # a file system without links
                if os.path.exists(path):
                    raise _taken(path) from None
        replace_file(temporary, path, fsync=True)
    except BaseException:
        with suppress(OSError, RuntimeError):
            file.close()
        temporary.unlink(missing_ok=True)
        raise


def refuse_existing(path: Path, force: bool) -> None:
    """Raise a `RecordError` if ``path`` exists and may not be replaced."""
    if not os.path.exists(path):
        return
    if not path.is_file():
        raise RecordError(f"{path}: a folder or device, not a file to write to; name a new file")
    if not force:
        raise _taken(path)
    if is_locked(path):
        raise RecordError(
            f"{path}: in use by another process, so it is not replaced; wait for it or stop it"
        )


def _taken(path: Path) -> RecordError:
    return RecordError(
        f"{path}: a file of this name exists and is not replaced; use --force, or another --output"
    )


def is_locked(path: Path) -> bool:
    """Whether some process, this one included, is writing the HDF5 file ``path``."""
    try:
        h5py.File(path, "r", locking=True).close()
    except OSError as error:
        # The second: this process itself has the file open, with other settings.
        return is_lock_refusal(error) or "flag values don't match" in str(error)
    return False
