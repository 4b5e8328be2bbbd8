"""Why a serial port cannot be opened, and what the user can do about it."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

from eqp_hw.drivers.errors import BusyError, LostError, TransportError

__all__ = ["busy_advice", "open_failure", "permission_advice"]

_DENIED = {errno.EACCES, errno.EPERM}
_BUSY = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EBUSY}
_ABSENT = {errno.ENOENT, errno.ENODEV, errno.ENXIO}


def open_failure(address: str, path: str, error: Exception) -> TransportError:
    """Return our error for what opening the port ``path`` raised.

    Parameters
    ----------
    address
        As in the rig file.
    path
        Device node or port name.
    error
        OSError of the system or of pyserial.
    """
    number = _errno(error)
    # Windows refuses a port that is open elsewhere with "access denied".
    if number in _BUSY or (number in _DENIED and sys.platform == "win32"):
        own = os.getpid()
        return BusyError(
            f"the port {path} is in use",
            instrument=address,
            advice=busy_advice(path),
            processes=tuple(holder for holder in _holders(path) if holder != own),
        )
    if number in _DENIED:
        return BusyError(
            f"no permission to open {path}", instrument=address, advice=permission_advice(path)
        )
    if number in _ABSENT:
        return LostError(
            f"there is no port {path}",
            instrument=address,
            advice="plugged in and powered? `eqp-hw list` shows the ports there are",
        )
    return LostError(f"{path} cannot be opened: {error}", instrument=address)


def permission_advice(path: str) -> str:
    """Say which group may open ``path``."""
    try:
        status = os.stat(path)
    except OSError:
        return "ask the administrator of this computer"
    group = _group_name(status.st_gid)
    if status.st_mode & (stat.S_IRGRP | stat.S_IWGRP) != stat.S_IRGRP | stat.S_IWGRP:
        return (
            f"its mode {stat.filemode(status.st_mode)} leaves it to its owner alone: "
            "add a udev rule that gives it to a group"
        )
    return (
        f"join the group {group}, which owns it: `sudo usermod -aG {group} $USER`, "
        "then log out and in again"
    )


def busy_advice(path: str) -> str:
    """Say which process has ``path`` open, where the system tells."""
    holders = _holders(path)
    if not holders:
        return "close the other program that uses it"
    return f"held by {', '.join(map(_named, holders))}: close it there first"


def _errno(error: BaseException) -> int | None:
    """Return the number of the system's error, which pyserial hides at times."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None:
            return seen.errno
        seen = seen.__cause__ or seen.__context__
    # On Windows pyserial gives the system's error as text only.
    text = str(error)
    if "PermissionError" in text:
        return errno.EACCES
    return errno.ENOENT if "FileNotFoundError" in text else None


def _group_name(number: int) -> str:
    try:
        import grp  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return str(number)
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _holders(path: str, system: Path = Path("/proc")) -> list[int]:
    """Return the processes that keep others out of ``path``; needs Linux.

    Where one has locked the file it is the one: the other end of a pseudo-terminal may have it
    open as well, and keeps nobody out.
    """
    locked = _lock_owners(path, system)
    if locked:
        return locked
    target = os.path.realpath(path)
    found = []
    for process in sorted(system.glob("[0-9]*"), key=lambda entry: int(entry.name)):
        try:
            if any(os.readlink(handle) == target for handle in (process / "fd").iterdir()):
                found.append(int(process.name))
        except OSError:  # gone meanwhile, or another user's
            continue
    return found


def _lock_owners(path: str, system: Path) -> list[int]:
    """Return who has locked the file, as pyserial does: ``1: FLOCK ADVISORY WRITE 42 00:1b:6``."""
    try:
        status = os.stat(path)
        lines = (system / "locks").read_text().splitlines()
    except OSError:
        return []
    wanted = (os.major(status.st_dev), os.minor(status.st_dev), status.st_ino)
    found = set()
    for line in lines:
        words = line.split()
        if len(words) < 6 or words[1] != "FLOCK" or int(words[4]) <= 0:  # waiting, or hidden
            continue
        major, minor, inode = words[5].split(":")
        if (int(major, 16), int(minor, 16), int(inode)) == wanted:
            found.add(int(words[4]))
    return sorted(found)


def _named(process: int, system: Path = Path("/proc")) -> str:
    """Return "this program" or "NAME (process N)"."""
    if process == os.getpid():
        return "this program"
    try:
        name = (system / str(process) / "comm").read_text().strip()
    except OSError:
        name = "a program"
    return f"{name} (process {process})"
