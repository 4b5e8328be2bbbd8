"""What an imperfection is: options of a table, and hooks on the way of a signal.

Signals pass the imperfections in the order of the list: on the write path (couplings and bias
fields, input phases, nudge fields) from the controller to the network, on the read path (one
raw read of all phases) from the network to the controller.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

import numpy as np
from pydantic import BaseModel, Field

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import FloatArray, IntArray, Network
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.randomness import RandomStreams
from eqp_hw.validation import STRICT

__all__ = [
    "Count",
    "Damage",
    "Draws",
    "Fraction",
    "Imperfection",
    "ImperfectionOptions",
    "Magnitude",
    "RawReads",
    "Setup",
    "Signal",
    "option",
]

Magnitude = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=32)]
Draws = Mapping[str, FloatArray | IntArray | ComplexArray]
"""Hidden random draws, by name."""


@final
@dataclass(frozen=True, eq=False)
class Signal:
    """Couplings of every bond and bias fields, somewhere on the write path.

    Attributes
    ----------
    forward, reverse
        (n_edges,) J_ij and J_ji.
    bias
        (N,) complex; zero at inputs.
    lag
        (n_edges, 2) phase lags of the couplings, or None; they do not change on the way.
    """

    forward: FloatArray
    reverse: FloatArray
    bias: ComplexArray
    lag: FloatArray | None = None

    def with_couplings(self, forward: FloatArray, reverse: FloatArray) -> Signal:
        """Return the signal with other couplings."""
        return dataclasses.replace(self, forward=forward, reverse=reverse)

    def with_bias(self, bias: ComplexArray) -> Signal:
        """Return the signal with other bias fields."""
        return dataclasses.replace(self, bias=bias)


@final
@dataclass(frozen=True, eq=False)
class RawReads:
    """When and on which channel raw reads are made.

    Attributes
    ----------
    times_s
        (reads,) simulated clock, ascending.
    channel
        0 for a free read; +1 and −1 for the two channels that nudged reads alternate between;
        (batch, 1) where replicas are read side by side.
    """

    times_s: FloatArray
    channel: int | IntArray


@final
@dataclass(eq=False)
class Damage:
    """Bonds and nodes that work no more, collected from all imperfections of a substrate.

    Attributes
    ----------
    dead_bonds, stuck_bonds, dead_nodes, stuck_nodes
        By number.
    cut
        Bonds that transmit nothing: dead, stuck at 0, or at a dead node.
    """

    dead_bonds: set[int] = dataclasses.field(default_factory=set)
    stuck_bonds: set[int] = dataclasses.field(default_factory=set)
    dead_nodes: set[int] = dataclasses.field(default_factory=set)
    stuck_nodes: set[int] = dataclasses.field(default_factory=set)
    cut: set[int] = dataclasses.field(default_factory=set)


@final
@dataclass(frozen=True, eq=False)
class Setup:
    """What an imperfection is made for.

    Attributes
    ----------
    field
        Name of its table in messages, e.g. ``substrate.imperfections[2]``.
    network
        The graph.
    capabilities
        Those of the substrate inside.
    streams
        Random streams of the run, or of the table's own seed.
    address
        Names its draws among those of all imperfections: kind, and number among its kind.
    damage
        Dead and stuck parts so far; an imperfection adds its own.
    """

    field: str
    network: Network
    capabilities: Capabilities
    streams: RandomStreams
    address: tuple[str, int]
    damage: Damage

    def generator(self, purpose: str, *counters: int) -> np.random.Generator:
        """Return the generator of one address below this imperfection."""
        kind, number = self.address
        return self.streams.generator(f"imperfection {kind} {purpose}", number, *counters)

    def refuse(
        self, problem: str, name: str, value: object = ..., allowed: str | None = None
    ) -> ConfigurationError:
        """Return an error about the option ``name`` of this table."""
        return ConfigurationError(
            problem, field=f"{self.field}.{name}", value=value, allowed=allowed
        )

    def bias_noise(self, rng: np.random.Generator, name: str, value: object) -> ComplexArray:
        """Draw (N,) errors of bias fields of unit size, of the kind the substrate can make.

        Complex control: Re and Im each N(0, 1); amplitude control: real; zero at inputs.

        Raises
        ------
        ConfigurationError
            The substrate makes no bias fields; blames the option ``name``.
        """
        control = self.capabilities.bias_control
        if control == "none":
            raise self.refuse(
                "this substrate makes no bias fields that could be wrong", name, value, "0"
            )
        parts = rng.standard_normal((2, self.network.n_nodes))
        if control == "amplitude":
            parts[1] = 0.0
        parts[:, self.network.inputs] = 0.0
        noise: ComplexArray = parts[0] + 1j * parts[1]
        return noise


class ImperfectionOptions(BaseModel, ABC):
    """One table of ``[[substrate.imperfections]]``; ``kind`` names the class."""

    model_config = STRICT

    description: ClassVar[str]
    """One line for ``eqp-hw list``."""

    kind: str = Field(description="kind of imperfection: eqp-hw list imperfections")
    seed: Annotated[int, Field(ge=0)] | None = Field(
        None, description="seed of its own draws; by default they follow the run's seed"
    )

    @property
    def per_bond(self) -> bool:
        """Whether bonds that share a coupling get different ones."""
        return False

    @property
    def only_one_of(self) -> str | None:
        """What there can be only one of; tables with the same answer contradict each other."""
        return None

    def check(self, field: str) -> None:
        """Refuse options that contradict each other; ``field`` names the table.

        Raises
        ------
        ConfigurationError
            Names the option.
        """

    @abstractmethod
    def make(self, setup: Setup) -> Imperfection:
        """Draw what is static, and return the imperfection at work.

        Raises
        ------
        ConfigurationError
            The network has no such bond or node, or the substrate inside cannot do it.
        """


class Imperfection(ABC):
    """One imperfection at work; hooks that a kind does not need change nothing.

    Parameters
    ----------
    setup
        What it is made for.
    """

    known: ClassVar[bool] = False
    """Whether a lab can know what it does to couplings and inputs (a converter's grid)."""
    at_network: ClassVar[bool] = False
    """Whether it sits in the network itself: last on the write path and first on the read path,
    wherever it stands in the list."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._reset_seed: tuple[int, ...] = ()
        self._drawn: np.random.Generator | None = None

    @property
    def setup(self) -> Setup:
        """What it was made for."""
        return self._setup

    @property
    def rng(self) -> np.random.Generator:
        """Generator of its noise, as seeded by the last `reseed`."""
        if self._drawn is None:
            self._drawn = self._setup.generator("noise", *self._reset_seed)
        return self._drawn

    def reseed(self, seed: int) -> None:
        """Start the noise anew, at the address of a `Substrate.reset`."""
        self._reset_seed, self._drawn = (seed,), None

    @property
    def draws_reads(self) -> bool:
        """Whether two raw reads of the same phases differ."""
        return False

    @property
    def changes_reads(self) -> bool:
        """Whether `read` does anything."""
        return type(self).read is not Imperfection.read

    @property
    def programs_in_time(self) -> bool:
        """Whether `program` changes with the clock."""
        return False

    @property
    def imaginary_noise(self) -> float | None:
        """Noise on the imaginary part of a complex phase, rad; None: it cannot be read so."""
        return None if self.changes_reads else 0.0

    def capabilities(self, inner: Capabilities) -> Capabilities:
        """Return what the substrate can do, from what it could without this imperfection."""
        return inner

    def program(self, signal: Signal, time_s: float, *, asked: bool) -> Signal:
        """Pass couplings and bias fields on.

        Parameters
        ----------
        signal
            As it arrives.
        time_s
            Simulated clock.
        asked
            Whether this is what the controller knows of the signal: then values out of range
            are refused; the hidden truth beside it saturates.

        Raises
        ------
        ParameterError
            A value out of range; names the coupling.
        """
        del time_s, asked
        return signal

    def hold(self, signal: Signal) -> Signal:
        """Hold nodes that follow nothing; comes after all couplings are what they are."""
        return signal

    def inputs(self, phases: FloatArray) -> FloatArray:
        """Pass (batch, n_inputs) input phases on."""
        return phases

    def nudge(self, field: ComplexArray) -> ComplexArray:
        """Pass a (batch, n_nudge_nodes) nudge field on."""
        return field

    def settled(self, before: FloatArray, equilibrium: FloatArray) -> FloatArray:
        """Return where (batch, N) phases are when settling is over."""
        del before
        return equilibrium

    def read(self, phases: FloatArray, reads: RawReads) -> FloatArray:
        """Pass (reads, batch, N) raw phases on; may write into them."""
        del reads
        return phases

    def coupling_lag(self) -> FloatArray | None:
        """Return (n_edges, 2) phase lags, or None for none."""
        return None

    def memory(self) -> Mapping[str, FloatArray]:
        """Return what a resumed run must know."""
        return {}

    def remember(self, memory: Mapping[str, FloatArray]) -> None:
        """Take up what `memory` returned."""
        del memory

    @abstractmethod
    def truth(self) -> Draws:
        """Return the hidden draws, for tests; empty where there are none."""


def option(default: Any, description: str) -> Any:
    """Return a pydantic field with a default and what `eqp-hw list` says of it."""
    return Field(default, description=description)
