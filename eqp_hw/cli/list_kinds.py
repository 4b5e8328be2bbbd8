"""``eqp-hw list``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eqp_hw.errors import ConfigurationError

from .terminal import print_json, terminal_of

if TYPE_CHECKING:  # loaded by the command itself, for a fast start of all others
    from rich.console import Console

    from eqp_hw.registry import Listing

__all__ = ["list_kinds"]


class Group(StrEnum):
    """What can be listed."""

    SUBSTRATES = "substrates"
    IMPERFECTIONS = "imperfections"
    INSTRUMENTS = "instruments"
    DATA_SETS = "data-sets"
    SPLITS = "splits"
    ENCODINGS = "encodings"
    NETWORKS = "networks"
    ESTIMATORS = "estimators"
    COSTS = "costs"
    OPTIMISERS = "optimisers"
    PORTS = "ports"


@dataclass(frozen=True)
class Entry:
    """One kind: its name, what it is, why it cannot be used (if so), and its options."""

    name: str
    description: str
    unavailable_because: str | None = None
    options: dict[str, str] = field(default_factory=dict)


def list_kinds(
    context: typer.Context,
    group: Annotated[
        Group | None, typer.Argument(help="One group, with the options of its kinds.")
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask at every port who is there (*IDN?, id?).")
    ] = False,
    address: Annotated[
        list[str] | None,
        typer.Option("--address", help="With --probe: ask there too, e.g. tcp:10.0.0.7:5025."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """List what files may name, what is plugged in, and what is unavailable here and why.

    Nothing is sent to any port without --probe.
    """
    from .list_bench import show_ports

    if address and not probe:
        raise ConfigurationError(
            "nothing is sent there without --probe",
            field="--address",
            value=address[0],
            allowed="together with --probe",
        )
    groups = list(Group) if group is None and not probe else [group or Group.PORTS]
    if probe and groups != [Group.PORTS]:
        raise ConfigurationError(
            "only ports can be probed", field="--probe", allowed="eqp-hw list ports --probe"
        )
    listers = _LISTERS | {Group.PORTS: lambda: _ports(probe, address or [])}
    found = {one.value: listers[one]() for one in groups}
    if as_json:
        print_json({name: [asdict(entry) for entry in entries] for name, entries in found.items()})
        return
    console = terminal_of(context).out
    plugged_in = found.pop(Group.PORTS.value, None)
    _show_kinds(console, found, with_options=group is not None)
    if plugged_in is not None:
        if found:
            console.print()
        show_ports(console, plugged_in, probed=probe)


def _show_kinds(console: Console, found: dict[str, list[Entry]], *, with_options: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    width = max((len(entry.name) for entries in found.values() for entry in entries), default=0)
    for number, (name, entries) in enumerate(found.items()):
        if number:
            console.print()
        table = Table(
            title=name, title_justify="left", title_style="bold", show_header=False, box=None
        )
        table.add_column(min_width=width, no_wrap=True)
        table.add_column()
        for entry in entries:
            about = escape(entry.description)
            if entry.unavailable_because is not None:
                about += f"  [yellow]unavailable because {escape(entry.unavailable_because)}[/]"
            table.add_row(escape(entry.name), about)
            if with_options:
                for option, line in entry.options.items():
                    table.add_row(f"[dim]  {escape(option)}[/]", f"[dim]{escape(line)}[/]")
        console.print(table)


def _substrates() -> list[Entry]:
    from eqp_hw.registry import list_substrates

    return [_entry(one) for one in list_substrates()]


def _imperfections() -> list[Entry]:
    from .list_bench import imperfections

    return [_entry(one) for one in imperfections()]


def _instruments() -> list[Entry]:
    from .list_bench import instrument_drivers

    return [_entry(one) for one in instrument_drivers()]


def _ports(probe: bool, addresses: list[str]) -> list[Entry]:
    from .list_bench import ports

    return [_entry(one) for one in ports(probe=probe, addresses=addresses)]


def _entry(one: Listing) -> Entry:
    return Entry(one.name, one.description, one.unavailable_because, dict(one.options))


def _data_sets() -> list[Entry]:
    from eqp_hw.data.registry import DATASETS

    return [
        Entry(kind.name, kind.description, kind.unavailable_because(), kind.options())
        for kind in DATASETS.values()
    ]


def _splits() -> list[Entry]:
    from eqp_hw.data.splits import SPLITS

    return [Entry(name, line) for name, line in SPLITS.items()]


def _encodings() -> list[Entry]:
    from eqp_hw.learning.encodings import INPUT_ENCODINGS, TARGET_ENCODINGS

    return [
        *(Entry(name, f"input: {line}") for name, line in INPUT_ENCODINGS.items()),
        *(Entry(name, f"target: {line}") for name, line in TARGET_ENCODINGS.items()),
    ]


def _networks() -> list[Entry]:
    from eqp_hw.network.registry import NETWORKS

    return [
        Entry(
            kind.name,
            kind.description,
            kind.unavailable_because,
            {
                name: "required" if name in kind.required else f"default {default!r}"
                for name, default in kind.options.items()
            },
        )
        for kind in NETWORKS.values()
    ]


def _estimators() -> list[Entry]:
    from eqp_hw.experiment.schema import EstimatorSettings
    from eqp_hw.learning.estimators import AUTO, ESTIMATORS

    fields = EstimatorSettings.model_fields
    limits = ("displacement", "read_budget", "retune_every")
    chosen = "measures displacement, noise and curvature, and chooses one that the substrate serves"
    return [
        Entry(AUTO, chosen, None, {name: f"default {fields[name].default!r}" for name in limits}),
        *(
            Entry(name, cls.description, None, _constructor(cls))
            for name, cls in ESTIMATORS.items()
        ),
    ]


def _costs() -> list[Entry]:
    from eqp_hw.experiment.choices import COSTS

    return [Entry(name, cls.description, None, _constructor(cls)) for name, cls in COSTS.items()]


def _optimisers() -> list[Entry]:
    from eqp_hw.experiment.choices import OPTIMISERS

    return [
        Entry(name, cls.description, None, _constructor(cls)) for name, cls in OPTIMISERS.items()
    ]


def _constructor(cls: type[Any]) -> dict[str, str]:
    if cls.__init__ is object.__init__:
        return {}
    parameters = inspect.signature(cls).parameters
    return {name: f"default {parameter.default!r}" for name, parameter in parameters.items()}


_LISTERS: dict[Group, Callable[[], list[Entry]]] = {
    Group.SUBSTRATES: _substrates,
    Group.IMPERFECTIONS: _imperfections,
    Group.INSTRUMENTS: _instruments,
    Group.DATA_SETS: _data_sets,
    Group.SPLITS: _splits,
    Group.ENCODINGS: _encodings,
    Group.NETWORKS: _networks,
    Group.ESTIMATORS: _estimators,
    Group.COSTS: _costs,
    Group.OPTIMISERS: _optimisers,
}
