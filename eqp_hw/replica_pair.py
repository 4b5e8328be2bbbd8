"""Two substrates of the same network as one that has two replicas, for dual propagation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import CapabilityError, ConfigurationError, EqpError
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.parameters import ComplexArray, Parameters
from eqp_hw.randomness import RandomStreams
from eqp_hw.registry import SubstrateFactory, make_substrate
from eqp_hw.substrate import (
    BoolArray,
    Measurement,
    OscillatingReading,
    Oscillation,
    Reading,
    SelfTestStep,
    SettleOutcome,
    StateToken,
    Substrate,
)
from eqp_hw.substrate_parts import StoredStates

__all__ = ["ReplicaPair", "ReplicaPairFactory", "common_capabilities"]

_BIAS_CONTROL = ("none", "amplitude", "complex")


@final
class ReplicaPair(Substrate):
    """Writes to both replicas and reads the first; `measure_together` nudges them apart.

    An outcome is the worse of the two. What was written is what the first replica holds.

    Parameters
    ----------
    first, second
        Of the same network and the same nudge nodes; closed with the pair.

    Raises
    ------
    ConfigurationError
        Their networks or nudge nodes differ, or nothing can be programmed into both.
    """

    def __init__(self, first: Substrate, second: Substrate) -> None:
        _require_same(first, second)
        self._first, self._second = first, second
        self._capabilities = common_capabilities(first.capabilities, second.capabilities)
        self._asked: Parameters | None = None
        self._stored = StoredStates[tuple[StateToken, StateToken]]()

    @property
    def first(self) -> Substrate:
        """The replica that is read."""
        return self._first

    @property
    def second(self) -> Substrate:
        """The other replica."""
        return self._second

    @property
    @override
    def network(self) -> Network:
        return self._first.network

    @property
    @override
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def engine_name(self) -> str:
        """What relaxes the phases, for records."""
        names = [
            str(getattr(one, "engine_name", type(one).__name__))
            for one in (self._first, self._second)
        ]
        return " beside ".join(names)

    @override
    def write_parameters(self, parameters: Parameters) -> Parameters:
        held = self._first.write_parameters(parameters)
        try:
            self._second.write_parameters(parameters)
        except EqpError:
            # Refused whole: the first goes back to what both held.
            if self._asked is not None:
                self._first.write_parameters(self._asked)
            raise
        self._asked = parameters.map(np.copy)
        return held

    @override
    def set_inputs(self, phases: FloatArray) -> None:
        self._stored.clear()
        self._first.set_inputs(phases)
        self._second.set_inputs(phases)

    @override
    def apply_nudge(self, field: ComplexArray | None, beta: complex = 1.0) -> None:
        self._first.apply_nudge(field, beta)
        self._second.apply_nudge(field, beta)

    @override
    def reset(self, seed: int) -> None:
        """Kick both by the same seed: equal replicas then settle into the same basin.

        Noise that this seeds must not be the same in both, or it cancels as no noise does:
        substrates with noise take a seed of their own, which `ReplicaPairFactory` gives.
        """
        self._first.reset(seed)
        self._second.reset(seed)

    @override
    def settle(self) -> SettleOutcome:
        return self._first.settle().with_worse(self._second.settle())

    @override
    def store_state(self) -> StateToken:
        return self._stored.store((self._first.store_state(), self._second.store_state()))

    @override
    def restore_state(self, token: StateToken) -> BoolArray:
        one, other = self._stored.recall(token)
        returned = self._first.restore_state(one)
        return np.asarray(returned & self._second.restore_state(other))

    @override
    def read_phases(self, repeats: int = 1) -> Reading:
        return self._first.read_phases(repeats)

    @override
    def measure_together(
        self,
        free: StateToken,
        fields: Sequence[tuple[ComplexArray, complex]],
        repeats: int = 1,
    ) -> tuple[list[Measurement], list[Reading]]:
        if not 1 <= len(fields) <= 2:
            raise CapabilityError(
                "a pair of replicas takes one nudge or two",
                field="capabilities.replicas",
                value=len(fields),
                allowed="1, 2",
            )
        replicas = (self._first, self._second)[: len(fields)]
        self.restore_state(free)
        resting = [replica.read_phases(repeats) for replica in replicas]
        for replica, (field, beta) in zip(replicas, fields, strict=True):
            replica.apply_nudge(field, beta)
        outcomes = [replica.settle() for replica in replicas]
        readings = [replica.read_phases(repeats) for replica in replicas]
        measured = []
        for replica, token, outcome, reading in zip(
            replicas, self._stored.recall(free), outcomes, readings, strict=False
        ):
            hop = outcome.hop | ~replica.restore_state(token)
            measured.append(Measurement(dataclasses.replace(outcome, hop=hop), reading))
        return measured, resting

    @override
    def measure_oscillating(
        self, free: StateToken, field: ComplexArray, oscillation: Oscillation
    ) -> OscillatingReading:
        """Nudge and read the first replica; the second returns to its free state."""
        self.restore_state(free)
        return self._first.measure_oscillating(self._stored.recall(free)[0], field, oscillation)

    @override
    def clamp_outputs(self, phases: FloatArray | None) -> None:
        self._first.clamp_outputs(phases)
        self._second.clamp_outputs(phases)

    @override
    def set_coupling_lag(self, lag: FloatArray | None) -> None:
        self._first.set_coupling_lag(lag)
        self._second.set_coupling_lag(lag)

    @override
    def store_memory(self) -> Mapping[str, FloatArray]:
        return {
            f"{name} {key}": value
            for name, replica in self._named()
            for key, value in replica.store_memory().items()
        }

    @override
    def restore_memory(self, memory: Mapping[str, FloatArray]) -> None:
        super().restore_memory(
            {k: v for k, v in memory.items() if not k.startswith(("first ", "second "))}
        )
        for name, replica in self._named():
            start = f"{name} "
            own = {k.removeprefix(start): v for k, v in memory.items() if k.startswith(start)}
            replica.restore_memory(own)

    @override
    def self_test(self) -> list[SelfTestStep]:
        return [
            dataclasses.replace(step, name=f"{name} replica: {step.name}")
            for name, replica in self._named()
            for step in replica.self_test()
        ]

    @override
    def safe(self) -> None:
        try:
            self._first.safe()
        finally:
            self._second.safe()

    @override
    def close(self) -> None:
        self._stored.clear()
        try:
            self._first.close()
        finally:
            self._second.close()

    def _named(self) -> tuple[tuple[str, Substrate], ...]:
        return ("first", self._first), ("second", self._second)


def _require_same(first: Substrate, second: Substrate) -> None:
    one, other = first.network, second.network
    same = one.n_nodes == other.n_nodes and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("edges", "inputs", "outputs", "coupling_group")
    )
    if not same:
        raise ConfigurationError(
            "the two replicas have different networks",
            field="substrate.second",
            value=other.name,
            allowed=one.name,
        )
    nodes, others = first.capabilities.nudge_nodes, second.capabilities.nudge_nodes
    if nodes != others:
        raise ConfigurationError(
            "the two replicas are nudged at different nodes",
            field="substrate.second",
            value=list(others),
            allowed=f"{list(nodes)}, in this order",
        )


def common_capabilities(one: Capabilities, other: Capabilities) -> Capabilities:
    """Return what both can do; the poorer of both figures."""
    low, high = zip(one.coupling_range, other.coupling_range, strict=True)
    if not max(low) < min(high):
        raise ConfigurationError(
            "no coupling can be programmed into both replicas",
            field="substrate.second",
            value=other.coupling_range,
            allowed=f"a range that overlaps {one.coupling_range}",
        )
    control = min(one.bias_control, other.bias_control, key=_BIAS_CONTROL.index)
    settle = (one.settle_s, other.settle_s)
    return dataclasses.replace(
        one,
        batch_limit=_least(one.batch_limit, other.batch_limit),
        nudge_maximum=min(one.nudge_maximum, other.nudge_maximum),
        nudge_levels=_common_levels(one.nudge_levels, other.nudge_levels),
        replicas=2,
        coupling_range=(max(low), min(high)),
        bias_maximum=min(one.bias_maximum, other.bias_maximum),
        coupling_bits=_least(one.coupling_bits, other.coupling_bits),
        bias_control=control,
        readout_bits=_least(one.readout_bits, other.readout_bits),
        readout_noise=max(one.readout_noise, other.readout_noise),
        settle_s=None if None in settle else max(s for s in settle if s is not None),
        **{
            name: getattr(one, name) and getattr(other, name)
            for name in (
                "signed_nudge",
                "hidden_nudge",
                "complex_nudge",
                "state_restore",
                "directed_couplings",
                "fast_reprogramming",
                "phase_clamp",
                "coupling_lag",
                "readout_quadratures",
            )
        },
    )


def _least(one: int | None, other: int | None) -> int | None:
    known = [value for value in (one, other) if value is not None]
    return min(known, default=None)


def _common_levels(
    one: tuple[float, ...] | None, other: tuple[float, ...] | None
) -> tuple[float, ...] | None:
    if one is None or other is None:
        return other if one is None else one
    return tuple(a for a in one if any(math.isclose(a, b, rel_tol=1e-6) for b in other))


@final
class ReplicaPairFactory(SubstrateFactory):
    """Makes `ReplicaPair` from the tables ``first`` and ``second`` of ``[substrate]``."""

    description = "two substrates of the same network side by side, for dual propagation"

    @override
    def options(self) -> Mapping[str, str]:
        return {
            "first": 'required; a [substrate] table, e.g. {kind = "emulator"}',
            "second": "default: as first; noise and imperfections are drawn apart, save those "
            "whose table has a seed",
        }

    @override
    def create(self, network: Network, options: Mapping[str, object]) -> ReplicaPair:
        return self.create_seeded(network, options, 0)

    @override
    def create_seeded(
        self, network: Network, options: Mapping[str, object], seed: int
    ) -> ReplicaPair:
        unknown = sorted(set(options) - {"first", "second"})
        if unknown:
            raise ConfigurationError(
                "unknown key",
                field=f"substrate.{unknown[0]}",
                value=options[unknown[0]],
                allowed="first, second",
            )
        first = _table(options.get("first", ...), "first")
        second = _table(options["second"], "second") if "second" in options else first
        streams = RandomStreams(seed)
        one = _make(network, first, "first", streams.number("replica", 0))
        try:
            return ReplicaPair(one, _make(network, second, "second", streams.number("replica", 1)))
        except BaseException:
            one.close()
            raise


def _make(
    network: Network, table: tuple[str, Mapping[str, object]], name: str, seed: int
) -> Substrate:
    kind, rest = table
    try:
        return make_substrate(kind, network, rest, seed=seed)
    except ConfigurationError as error:
        if error.field is not None and error.field.startswith("substrate"):
            error.field = f"substrate.{name}{error.field.removeprefix('substrate')}"
        raise


def _table(value: object, name: str) -> tuple[str, dict[str, object]]:
    """Return kind and options of one replica's table."""
    field, allowed = f"substrate.{name}", 'a table with a kind, e.g. {kind = "emulator"}'
    if value is ...:
        raise ConfigurationError("is missing", field=field, allowed=allowed)
    if not isinstance(value, Mapping):
        raise ConfigurationError("not a table", field=field, value=value, allowed=allowed)
    rest = {str(key): item for key, item in value.items()}
    kind = rest.pop("kind", None)
    if not isinstance(kind, str):
        raise ConfigurationError("is missing", field=f"{field}.kind", allowed=allowed)
    if kind == "replica-pair":
        raise ConfigurationError(
            "a pair within a pair", field=f"{field}.kind", value=kind, allowed="a single substrate"
        )
    return kind, rest
