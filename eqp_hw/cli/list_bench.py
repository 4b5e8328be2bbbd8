"""What ``eqp-hw list`` shows that the core does not know: drivers, ports, imperfections.

All three lists come through entry points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from eqp_hw.errors import UnavailableError

if TYPE_CHECKING:  # numpy comes with it: `eqp-hw --help` must not wait for that
    from eqp_hw.registry import Listing

    from .list_kinds import Entry

__all__ = ["ENTRY_POINT_GROUP", "imperfections", "instrument_drivers", "ports", "show_ports"]

ENTRY_POINT_GROUP = "eqp_hw.listings"
"""What drivers and simulators offer to ``eqp-hw list``: names → functions returning `Listing`s."""


def imperfections() -> list[Listing]:
    """Return the kinds of imperfections that ``[[substrate.imperfections]]`` may name.

    Raises
    ------
    UnavailableError
        None are installed.
    """
    return list(_lister("imperfections")())


def instrument_drivers() -> list[Listing]:
    """Return the kinds of instruments that a rig file may name.

    Raises
    ------
    UnavailableError
        No drivers are installed.
    """
    return list(_lister("instruments")())


def ports(*, probe: bool, addresses: Sequence[str]) -> list[Listing]:
    """Return ports as addresses for a rig file; only ``probe`` sends anything to anybody.

    Raises
    ------
    UnavailableError
        No drivers are installed.
    ConfigurationError
        One of ``addresses`` is none.
    """
    return list(_lister("ports")(probe=probe, addresses=addresses))


def show_ports(console: Console, found: Iterable[Entry], *, probed: bool) -> None:
    """Print ports: an address a line, what is known of it below."""
    console.print("[bold]ports[/]")
    n_usable = 0
    for port in found:
        n_usable += port.unavailable_because is None
        # Addresses are to be copied: never broken, never beside another column.
        console.print(f" {escape(port.name)}", soft_wrap=True)
        lines = [escape(port.description)]
        if port.options.get("visa") and not port.name.startswith("visa:"):
            lines.append(f"[dim]{escape(port.options['visa'])}[/]")
        if "answer" in port.options:
            lines.append(escape(port.options["answer"]))
        if port.unavailable_because is not None:
            lines.append(f"[yellow]unavailable because {escape(port.unavailable_because)}[/]")
        for line in lines:
            console.print(Padding(line, (0, 0, 0, 4)))
    if not n_usable:
        console.print("    no serial port and no VISA resource that could be used")
    if not probed:
        hint = "nothing was sent to any port; --probe asks each one who is there"
        console.print(f"[dim]    {hint}[/]")


def _lister(name: str) -> Callable[..., Iterable[Any]]:
    entries = entry_points(group=ENTRY_POINT_GROUP)
    if name not in entries.names:
        raise UnavailableError(
            f"no list of {name} is installed (entry point {name!r} of the group "
            f"{ENTRY_POINT_GROUP!r}): reinstall eqp_hw"
        )
    lister: Callable[..., Iterable[Any]] = entries[name].load()
    return lister
