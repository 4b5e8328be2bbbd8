"""Drift of the read-out, of couplings or of bias fields against the simulated clock.

Every process is advanced by its exact law over any interval, so that it does not matter in how
many steps time passes. Its draws are addressed by how often it was advanced, which goes into
the memory of the substrate: a resumed run drifts on as if it had not been interrupted.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field
from typing_extensions import override

from eqp_hw.errors import ConfigurationError
from eqp_hw.network.graph import FloatArray

from .interface import (
    Draws,
    Imperfection,
    ImperfectionOptions,
    Magnitude,
    RawReads,
    Setup,
    Signal,
    option,
)

__all__ = ["DriftOptions"]

Shape = Literal["linear", "random-walk", "one-over-f"]
Target = Literal["readout", "coupling", "bias"]
Time = Annotated[float, Field(gt=0)]

_SHORTEST_S, _LONGEST_S = 1.0, 1e4
_TIMES_A_DECADE = 3


@final
class DriftOptions(ImperfectionOptions):
    """``kind = "drift"``: something that moves while the clock runs."""

    description = "drift of the read-out, couplings or bias fields, hidden"

    target: Target = option("readout", "what drifts")
    shape: Shape = option(
        "linear",
        "linear: a slope drawn for each; random-walk: Wiener; one-over-f: sum of "
        "Ornstein-Uhlenbeck processes",
    )
    rate: Magnitude = option(
        0.0,
        "unit = rad (readout) or coupling, bias: standard deviation of the slope in unit/s "
        "(linear), of the change in unit/√s (random-walk), at any time in unit (one-over-f)",
    )
    common: bool = option(False, "all drift together instead of each on its own")
    shortest_s: Time | None = option(
        None, f"one-over-f: shortest correlation time, s (default {_SHORTEST_S:g})"
    )
    longest_s: Time | None = option(
        None, f"one-over-f: longest correlation time, s (default {_LONGEST_S:g})"
    )

    @property
    @override
    def per_bond(self) -> bool:
        return self.target == "coupling" and not self.common and self.rate > 0

    @property
    def times_s(self) -> tuple[float, float]:
        """Shortest and longest correlation time, defaults filled in."""
        return self.shortest_s or _SHORTEST_S, self.longest_s or _LONGEST_S

    @override
    def check(self, field: str) -> None:
        for name in ("shortest_s", "longest_s"):
            if getattr(self, name) is not None and self.shape != "one-over-f":
                raise ConfigurationError(
                    f"a {self.shape} drift has no correlation times",
                    field=f"{field}.{name}",
                    value=getattr(self, name),
                    allowed='left out, or shape = "one-over-f"',
                )
        shortest, longest = self.times_s
        if shortest >= longest:
            raise ConfigurationError(
                "no correlation time is left",
                field=f"{field}.shortest_s",
                value=shortest,
                allowed=f"< longest_s = {longest:g}",
            )

    @override
    def make(self, setup: Setup) -> Imperfection:
        if self.target == "bias" and setup.capabilities.bias_control == "none":
            raise setup.refuse(
                "this substrate makes no bias fields that could drift",
                "target",
                self.target,
                "readout, coupling",
            )
        if self.target == "readout":
            return _ReadoutDrift(setup, self)
        return _ParameterDrift(setup, self)


class _Process(ABC):
    """n numbers that move in time."""

    state: FloatArray

    @abstractmethod
    def advance(self, elapsed_s: float, draw: Callable[[], np.random.Generator]) -> None:
        """Move on by a time > 0."""

    @abstractmethod
    def value(self, time_s: float) -> FloatArray:
        """Return (n,) where they are."""


@final
class _Linear(_Process):
    def __init__(self, slope: FloatArray) -> None:
        self._slope = slope
        self.state = np.empty(0)

    @override
    def advance(self, elapsed_s: float, draw: Callable[[], np.random.Generator]) -> None:
        pass

    @override
    def value(self, time_s: float) -> FloatArray:
        return self._slope * time_s


@final
class _RandomWalk(_Process):
    def __init__(self, n: int, rate: float) -> None:
        self._rate = rate
        self.state = np.zeros(n)

    @override
    def advance(self, elapsed_s: float, draw: Callable[[], np.random.Generator]) -> None:
        step = self._rate * math.sqrt(elapsed_s)
        self.state = self.state + step * draw().standard_normal(len(self.state))

    @override
    def value(self, time_s: float) -> FloatArray:
        return self.state


@final
class _OneOverF(_Process):
    """Equal variances at log-spaced correlation times: a spectrum 1/f between them.

    Source: van der Ziel, Physica 16, 359 (1950).
    """

    def __init__(
        self, n: int, rate: float, times_s: tuple[float, float], rng: np.random.Generator
    ) -> None:
        shortest, longest = times_s
        count = 1 + math.ceil(_TIMES_A_DECADE * math.log10(longest / shortest))
        self._times_s = np.geomspace(shortest, longest, count)[:, None]
        self._part = rate / math.sqrt(count)
        self.state = self._part * rng.standard_normal((count, n))

    @override
    def advance(self, elapsed_s: float, draw: Callable[[], np.random.Generator]) -> None:
        kept = np.exp(-elapsed_s / self._times_s)
        fresh = self._part * np.sqrt(-np.expm1(-2 * elapsed_s / self._times_s))
        self.state = kept * self.state + fresh * draw().standard_normal(self.state.shape)

    @override
    def value(self, time_s: float) -> FloatArray:
        total: FloatArray = self.state.sum(axis=0)
        return total


@final
class _Walker:
    """A process with its clock and the address of its draws."""

    def __init__(self, setup: Setup, options: DriftOptions, n: int) -> None:
        self._setup = setup
        rng = setup.generator("static")
        self._process: _Process
        if options.shape == "linear":
            self._process = _Linear(options.rate * rng.standard_normal(n))
        elif options.shape == "random-walk":
            self._process = _RandomWalk(n, options.rate)
        else:
            self._process = _OneOverF(n, options.rate, options.times_s, rng)
        self._time_s = 0.0
        self._advances = 0

    def value(self, time_s: float) -> FloatArray:
        """Return (n,) the drift at a time not before the last one asked for."""
        elapsed = time_s - self._time_s
        if elapsed > 0:
            self._process.advance(elapsed, self._draw)
            self._time_s = time_s
        return self._process.value(self._time_s)

    def _draw(self) -> np.random.Generator:
        self._advances += 1
        return self._setup.generator("walk", self._advances)

    def memory(self) -> Mapping[str, FloatArray]:
        return {
            "state": self._process.state,
            "clock": np.array([self._time_s, float(self._advances)]),
        }

    def remember(self, memory: Mapping[str, FloatArray]) -> None:
        self._process.state = np.array(memory["state"]).reshape(self._process.state.shape)
        self._time_s, self._advances = float(memory["clock"][0]), int(memory["clock"][1])

    @property
    def now(self) -> FloatArray:
        return self._process.value(self._time_s)


@final
class _ReadoutDrift(Imperfection):
    """Acts on every raw read at its own time."""

    def __init__(self, setup: Setup, options: DriftOptions) -> None:
        super().__init__(setup)
        self._walker = _Walker(setup, options, 1 if options.common else setup.network.n_nodes)

    @property
    @override
    def imaginary_noise(self) -> float | None:
        return 0.0

    @override
    def read(self, phases: FloatArray, reads: RawReads) -> FloatArray:
        for number, time_s in enumerate(reads.times_s):
            phases[number] += self._walker.value(float(time_s))
        return phases

    @override
    def memory(self) -> Mapping[str, FloatArray]:
        return self._walker.memory()

    @override
    def remember(self, memory: Mapping[str, FloatArray]) -> None:
        self._walker.remember(memory)

    @override
    def truth(self) -> Draws:
        return {"drift": self._walker.now}


@final
class _ParameterDrift(Imperfection):
    """Adds to couplings, or to the bias fields of free nodes; acts whenever they are written."""

    def __init__(self, setup: Setup, options: DriftOptions) -> None:
        super().__init__(setup)
        self._target = options.target
        network = setup.network
        self._parts = 1 if setup.capabilities.bias_control == "amplitude" else 2
        size = network.n_edges if options.target == "coupling" else len(network.free)
        size = 1 if options.common else size
        self._walker = _Walker(
            setup, options, size if options.target == "coupling" else self._parts * size
        )

    @property
    @override
    def programs_in_time(self) -> bool:
        return True

    @override
    def program(self, signal: Signal, time_s: float, *, asked: bool) -> Signal:
        drift = self._walker.value(time_s)
        if self._target == "coupling":
            return signal.with_couplings(signal.forward + drift, signal.reverse + drift)
        parts = drift.reshape(self._parts, -1)
        bias = signal.bias.copy()
        bias[self._setup.network.free] += parts[0] + (1j * parts[1] if len(parts) > 1 else 0)
        return signal.with_bias(bias)

    @override
    def memory(self) -> Mapping[str, FloatArray]:
        return self._walker.memory()

    @override
    def remember(self, memory: Mapping[str, FloatArray]) -> None:
        self._walker.remember(memory)

    @override
    def truth(self) -> Draws:
        return {"drift": self._walker.now}
