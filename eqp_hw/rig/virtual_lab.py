"""The simulated twin of a rig, whoever has installed one; the core knows no simulator."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, Protocol, Self

from eqp_hw.errors import UnavailableError

from .load import Rig

__all__ = ["ENTRY_POINT_GROUP", "VirtualLab", "make_virtual_lab"]

ENTRY_POINT_GROUP = "eqp_hw.virtual_labs"
"""Programs that simulate a whole bench; the entry names a class like `VirtualLab`."""


class VirtualLab(Protocol):
    """A simulated bench in a process of its own; a context manager that starts and ends it."""

    @property
    def addresses(self) -> dict[str, str]:
        """Address of each instrument, for `Rig.with_addresses`."""

    @property
    def visa(self) -> dict[str, str]:
        """VISA resource string of each instrument."""

    @property
    def truth_address(self) -> str:
        """Where the truths may be asked, ``"127.0.0.1:port"``."""

    @property
    def pid(self) -> int:
        """Process number."""

    @property
    def announced(self) -> dict[str, Any]:
        """All of it, as one JSON object."""

    def wait(self) -> int:
        """Wait until it ends; return its exit code."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


def make_virtual_lab(
    rig: Rig, *, truth_seed: int = 0, clock: str | None = None, speed: float | None = None
) -> VirtualLab:
    """Return the simulated twin of a rig, not yet started.

    Raises
    ------
    UnavailableError
        The simulators are not installed.
    """
    entries = entry_points(group=ENTRY_POINT_GROUP)
    if "instruments" not in entries.names:
        raise UnavailableError(
            "no virtual lab is installed (entry point 'instruments' of the group "
            f"{ENTRY_POINT_GROUP!r}): reinstall eqp_hw"
        )
    lab: VirtualLab = entries["instruments"].load()(
        rig, truth_seed=truth_seed, clock=clock, speed=speed
    )
    return lab
