"""Imperfections by name: tables in an experiment file become a wrapped substrate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import final

from pydantic_core import PydanticUndefined
from typing_extensions import override

from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import Network
from eqp_hw.randomness import RandomStreams
from eqp_hw.registry import Listing, SubstrateWrapper
from eqp_hw.substrate import Substrate
from eqp_hw.validation import did_you_mean, validated

from .couplings import BiasBitsOptions, CouplingBitsOptions, CouplingDisorderOptions
from .crosstalk import CouplingCrosstalkOptions
from .dead_stuck import DeadOptions, StuckOptions
from .drift import DriftOptions
from .interface import Damage, Imperfection, ImperfectionOptions, Setup
from .nonreciprocal import NonreciprocityOptions
from .programming import untied
from .readout import PhaseBitsOptions, ReadoutNoiseOptions, ReadoutOffsetOptions
from .settling import Clock, ClockOptions, IncompleteSettlingOptions
from .substrate import ImperfectSubstrate
from .update_bias import UpdateBiasOptions

__all__ = [
    "KINDS",
    "ImperfectionWrapper",
    "list_imperfections",
    "parse_imperfections",
    "wrap_substrate",
]

FIELD = "substrate.imperfections"
DYNAMIC = frozenset({"langevin"})
"""Substrates whose phases move all the time, even without noise."""

KINDS: Mapping[str, type[ImperfectionOptions]] = {
    "readout-noise": ReadoutNoiseOptions,
    "readout-offset": ReadoutOffsetOptions,
    "phase-bits": PhaseBitsOptions,
    "coupling-bits": CouplingBitsOptions,
    "bias-bits": BiasBitsOptions,
    "coupling-disorder": CouplingDisorderOptions,
    "coupling-crosstalk": CouplingCrosstalkOptions,
    "nonreciprocity": NonreciprocityOptions,
    "drift": DriftOptions,
    "dead": DeadOptions,
    "stuck": StuckOptions,
    "incomplete-settling": IncompleteSettlingOptions,
    "update-bias": UpdateBiasOptions,
    "clock": ClockOptions,
}


def list_imperfections() -> list[Listing]:
    """Return all kinds with their options, for ``eqp-hw list imperfections``."""
    return [
        Listing(name, options.description, None, _option_lines(options))
        for name, options in KINDS.items()
    ]


def _option_lines(options: type[ImperfectionOptions]) -> dict[str, str]:
    lines = {}
    for name, info in options.model_fields.items():
        if name == "kind":
            continue
        default = "required" if info.default is PydanticUndefined else f"default {info.default!r}"
        if info.default is None:
            default = "optional"
        lines[name] = f"{info.description} ({default})"
    return lines


def parse_imperfections(tables: object, field: str = FIELD) -> list[ImperfectionOptions]:
    """Return the options that a list of tables describes.

    Raises
    ------
    ConfigurationError
        An unknown kind or option, a wrong value, or tables that contradict each other.
    """
    if not isinstance(tables, Sequence) or isinstance(tables, str | bytes):
        raise ConfigurationError(
            "not a list of tables",
            field=field,
            value=tables,
            allowed="[[substrate.imperfections]] tables, each with a kind",
        )
    parsed = [_parse(table, f"{field}[{number}]") for number, table in enumerate(tables)]
    _refuse_doubled(parsed, field)
    return parsed


def _parse(table: object, field: str) -> ImperfectionOptions:
    if not isinstance(table, Mapping):
        raise ConfigurationError(
            "not a table", field=field, value=table, allowed='a table, e.g. {kind = "dead"}'
        )
    kind = table.get("kind", ...)
    if not isinstance(kind, str) or kind not in KINDS:
        guess = did_you_mean(kind, KINDS) if isinstance(kind, str) else ""
        raise ConfigurationError(
            "is missing" if kind is ... else f"no such imperfection{guess}",
            field=f"{field}.kind",
            value=kind,
            allowed=", ".join(KINDS),
        )
    options: ImperfectionOptions = validated(KINDS[kind], table, field=field)
    options.check(field)
    return options


def _refuse_doubled(parsed: Sequence[ImperfectionOptions], field: str) -> None:
    first: dict[str, int] = {}
    for number, options in enumerate(parsed):
        what = options.only_one_of
        if what is None:
            continue
        if what in first:
            raise ConfigurationError(
                f"a second {what}, beside {field}[{first[what]}]",
                field=f"{field}[{number}].kind",
                value=options.kind,
                allowed="one",
            )
        first[what] = number


def wrap_substrate(
    make: Callable[[Network], Substrate],
    network: Network,
    options: Sequence[ImperfectionOptions],
    seed: int,
    field: str = FIELD,
    *,
    moving: bool = False,
) -> ImperfectSubstrate:
    """Make a substrate and put imperfections around it.

    Parameters
    ----------
    make
        Makes the substrate for a network: the one given, or, where bonds that share a
        coupling get errors of their own, its copy with one coupling a bond.
    network
        The graph that the controller sees.
    options
        As of `parse_imperfections`.
    seed
        The run's seed.
    field
        Name of the list in messages.
    moving
        As of `ImperfectSubstrate`.

    Raises
    ------
    ConfigurationError
        The substrate cannot do what an imperfection needs, or the network has no such part.
    """
    tied = network.n_couplings < network.n_edges
    apart = tied and any(one.per_bond for one in options)
    inner = make(untied(network) if apart else network)
    try:
        imperfections = _make_all(inner, network, options, seed, field)
        return ImperfectSubstrate(inner, imperfections, network, _clock(options), moving=moving)
    except BaseException:
        inner.close()
        raise


def _make_all(
    inner: Substrate,
    network: Network,
    options: Sequence[ImperfectionOptions],
    seed: int,
    field: str,
) -> list[Imperfection]:
    damage, counts = Damage(), dict.fromkeys(KINDS, 0)
    made = []
    for number, one in enumerate(options):
        setup = Setup(
            field=f"{field}[{number}]",
            network=network,
            capabilities=inner.capabilities,
            streams=RandomStreams(seed if one.seed is None else one.seed),
            address=(one.kind, counts[one.kind]),
            damage=damage,
        )
        counts[one.kind] += 1
        made.append(one.make(setup))
    return made


def _clock(options: Sequence[ImperfectionOptions]) -> Clock:
    for one in options:
        if isinstance(one, ClockOptions):
            return Clock(one.settle_s, one.read_s, known=True)
    return Clock()


@final
class ImperfectionWrapper(SubstrateWrapper):
    """Takes ``[[substrate.imperfections]]`` of any kind of substrate."""

    @override
    def wrap(
        self,
        kind: str,
        make: Callable[[Network], Substrate],
        network: Network,
        value: object,
        seed: int,
    ) -> Substrate:
        options = parse_imperfections(value)
        for number, one in enumerate(options):
            if kind in DYNAMIC and isinstance(one, IncompleteSettlingOptions):
                raise ConfigurationError(
                    "the langevin substrate follows the true dynamics: what its settling time "
                    "leaves is its own",
                    field=f"{FIELD}[{number}].kind",
                    value=one.kind,
                    allowed="a shorter settling time of the substrate",
                )
        if not options:
            return make(network)
        return wrap_substrate(make, network, options, seed, moving=kind in DYNAMIC)
