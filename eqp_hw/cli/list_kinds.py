"""``eqp-hw list``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import typer

from .terminal import print_json, terminal_of

__all__ = ["list_kinds"]


class Group(StrEnum):
    """What can be listed."""

    SUBSTRATES = "substrates"
    DATA_SETS = "data-sets"
    SPLITS = "splits"
    ENCODINGS = "encodings"
    NETWORKS = "networks"
    ESTIMATORS = "estimators"
    COSTS = "costs"
    OPTIMISERS = "optimisers"


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
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """List what an experiment file may name, and what is unavailable here and why."""
    from rich.markup import escape
    from rich.table import Table

    groups = list(Group) if group is None else [group]
    found = {one.value: _LISTERS[one]() for one in groups}
    if as_json:
        print_json({name: [asdict(entry) for entry in entries] for name, entries in found.items()})
        return
    console = terminal_of(context).out
    width = max(len(entry.name) for entries in found.values() for entry in entries)
    for name, entries in found.items():
        table = Table(title=name, title_justify="left", show_header=False, box=None)
        table.add_column(min_width=width, no_wrap=True)
        table.add_column()
        for entry in entries:
            about = escape(entry.description)
            if entry.unavailable_because is not None:
                about += f"  [yellow]unavailable because {escape(entry.unavailable_because)}[/]"
            table.add_row(escape(entry.name), about)
            if group is not None:
                for option, line in entry.options.items():
                    table.add_row(f"[dim]  {escape(option)}[/]", f"[dim]{escape(line)}[/]")
        console.print(table)


def _substrates() -> list[Entry]:
    from eqp_hw.registry import list_substrates

    return [
        Entry(one.name, one.description, one.unavailable_because, dict(one.options))
        for one in list_substrates()
    ]


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
    from eqp_hw.learning.estimators import ESTIMATORS

    return [Entry(name, cls.description) for name, cls in ESTIMATORS.items()]


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
    Group.DATA_SETS: _data_sets,
    Group.SPLITS: _splits,
    Group.ENCODINGS: _encodings,
    Group.NETWORKS: _networks,
    Group.ESTIMATORS: _estimators,
    Group.COSTS: _costs,
    Group.OPTIMISERS: _optimisers,
}
