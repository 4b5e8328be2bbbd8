"""Bonds and nodes that work no more. They sit in the network: nothing written reaches them."""

from __future__ import annotations

from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field
from typing_extensions import override

from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray

from .damage import refuse_unknown, removable_bonds, removable_nodes, would_float
from .interface import (
    Draws,
    Fraction,
    Imperfection,
    ImperfectionOptions,
    RawReads,
    Setup,
    Signal,
    option,
)

__all__ = ["DeadOptions", "StuckOptions"]

Numbers = list[Annotated[int, Field(ge=0)]]


class _DamageOptions(ImperfectionOptions):
    """Which parts are damaged: chosen at random, listed, or both."""

    bond_fraction: Fraction = option(
        0.0, "share of all bonds, chosen at random; none without which a free node floats"
    )
    node_fraction: Fraction = option(
        0.0, "share of the hidden nodes, chosen at random; never inputs or outputs"
    )
    bonds: Numbers = option([], "further bonds, by number")
    nodes: Numbers = option([], "further nodes, by number; may be inputs or outputs")


@final
class DeadOptions(_DamageOptions):
    """``kind = "dead"``: bonds that couple nothing, nodes that take part in nothing.

    A dead node has lost all its bonds; a field of its own holds it at an arbitrary phase, so
    that it does not float, and reading it gives noise, U(−π, π).
    """

    description = "bonds that couple nothing, and nodes without bonds that read noise"

    @override
    def make(self, setup: Setup) -> Imperfection:
        return _Dead(setup, self)


@final
class StuckOptions(_DamageOptions):
    """``kind = "stuck"``: bonds stuck at a coupling, nodes stuck at a phase."""

    description = "bonds stuck at a coupling, and nodes stuck at a phase"

    coupling: float | None = option(
        None, "coupling of the stuck bonds; left out: each drawn from N(0, 1/mean degree)"
    )
    phase: float | None = option(
        None, "phase of the stuck nodes, rad; left out: each drawn from U(−π, π)"
    )

    @override
    def make(self, setup: Setup) -> Imperfection:
        return _Stuck(setup, self)


def _chosen(
    setup: Setup, options: _DamageOptions, how: Literal["dead", "stuck"], transmits: bool
) -> tuple[IntArray, IntArray]:
    """Choose bonds and nodes, note them as damaged, and return their numbers, ascending.

    ``transmits`` says whether a damaged bond still holds its nodes together.
    """
    refuse_unknown(setup, options.bonds, options.nodes, how)
    rng, network, damage = setup.generator("static"), setup.network, setup.damage
    own_bonds = damage.dead_bonds if how == "dead" else damage.stuck_bonds
    own_nodes = damage.dead_nodes if how == "dead" else damage.stuck_nodes

    def take_nodes(nodes: list[int]) -> None:
        own_nodes.update(nodes)
        if how == "dead":
            at = np.isin(network.edges, nodes).any(axis=1)
            damage.cut.update(np.flatnonzero(at).tolist())

    def take_bonds(bonds: list[int]) -> None:
        own_bonds.update(bonds)
        if not transmits:
            damage.cut.update(bonds)

    take_nodes(options.nodes)
    take_bonds(options.bonds)
    floating = would_float(network, damage)
    if floating is not None:
        name = "nodes" if options.nodes and not options.bonds else "bonds"
        raise setup.refuse(
            f"free node {floating} would hang on no input any more, so that its phase may rotate "
            "freely",
            name,
            getattr(options, name),
            "a choice that leaves each free node a path to an input",
        )
    nodes = removable_nodes(setup, options.node_fraction, rng, cuts=how == "dead")
    take_nodes(nodes)
    bonds = removable_bonds(setup, options.bond_fraction, rng, cuts=not transmits)
    take_bonds(bonds)
    return (
        np.array(sorted({*options.bonds, *bonds}), dtype=np.int64),
        np.array(sorted({*options.nodes, *nodes}), dtype=np.int64),
    )


def _held_phases(
    setup: Setup, nodes: IntArray, phase: float | None, rng: np.random.Generator
) -> FloatArray:
    """Return the phase at which each node is held; refuse what bias fields cannot hold."""
    phases = rng.uniform(-np.pi, np.pi, len(nodes)) if phase is None else np.full(len(nodes), phase)
    free = np.isin(nodes, setup.network.free)
    if free.any() and setup.capabilities.bias_control != "complex":
        name = "nodes" if nodes.size and phase is not None else "node_fraction"
        raise setup.refuse(
            f"the substrate makes no complex bias field, without which node {nodes[free][0]} "
            "cannot be held",
            name,
            allowed="damaged bonds alone",
        )
    return phases


def _nudge_columns(setup: Setup, nodes: IntArray) -> IntArray:
    return np.flatnonzero(np.isin(setup.capabilities.nudge_nodes, nodes))


def _pin(bias: ComplexArray, signal: Signal, nodes: IntArray, phases: FloatArray) -> None:
    """Hold nodes that have no bonds left: any field does, one of the size of a coupling."""
    both = np.concatenate([signal.forward, signal.reverse])
    strength = float(np.sqrt((both**2).mean())) or 1.0
    bias[nodes] = strength * np.exp(1j * phases)


@final
class _Dead(Imperfection):
    at_network = True

    def __init__(self, setup: Setup, options: DeadOptions) -> None:
        super().__init__(setup)
        self._bonds, nodes = _chosen(setup, options, "dead", transmits=False)
        network = setup.network
        at = np.isin(network.edges, nodes).any(axis=1)
        self._cut = np.union1d(self._bonds, np.flatnonzero(at))
        self._nodes = nodes
        self._free = np.intersect1d(nodes, network.free)
        self._phases = _held_phases(setup, self._free, None, setup.generator("phases"))
        self._columns = _nudge_columns(setup, nodes)

    @property
    @override
    def draws_reads(self) -> bool:
        return len(self._free) > 0

    @property
    @override
    def changes_reads(self) -> bool:
        return len(self._free) > 0

    @override
    def program(self, signal: Signal, time_s: float, *, asked: bool) -> Signal:
        forward, reverse = signal.forward.copy(), signal.reverse.copy()
        forward[self._cut] = reverse[self._cut] = 0.0
        return signal.with_couplings(forward, reverse)

    @override
    def hold(self, signal: Signal) -> Signal:
        bias = signal.bias.copy()
        _pin(bias, signal, self._free, self._phases)
        return signal.with_bias(bias)

    @override
    def nudge(self, field: ComplexArray) -> ComplexArray:
        field = field.copy()
        field[:, self._columns] = 0.0
        return field

    @override
    def read(self, phases: FloatArray, reads: RawReads) -> FloatArray:
        if len(self._free):
            shape = (*phases.shape[:2], len(self._free))
            phases[:, :, self._free] = self.rng.uniform(-np.pi, np.pi, shape)
        return phases

    @override
    def truth(self) -> Draws:
        return {"bonds": self._bonds, "nodes": self._nodes}


@final
class _Stuck(Imperfection):
    """What a stuck node does to its neighbours is a constant field: the node itself is taken out.

    Its bonds become bias fields J_ij·exp(i(θ + α_ij)) of its neighbours, which is exact and
    needs no strong field.
    """

    at_network = True

    def __init__(self, setup: Setup, options: StuckOptions) -> None:
        super().__init__(setup)
        low, high = setup.capabilities.coupling_range
        if options.coupling is not None and not low <= options.coupling <= high:
            raise setup.refuse(
                "outside the substrate's range",
                "coupling",
                options.coupling,
                f"{low:g} to {high:g}",
            )
        self._bonds, self._nodes = _chosen(setup, options, "stuck", options.coupling != 0)
        network = setup.network
        rng = setup.generator("values")
        degree = 2 * network.n_edges / network.n_nodes
        drawn = rng.standard_normal(len(self._bonds)) / np.sqrt(degree)
        given = options.coupling
        self._coupling = np.clip(drawn, low, high) if given is None else np.full(drawn.shape, given)
        self._phases = _held_phases(setup, self._nodes, options.phase, rng)
        self._is_free = np.isin(self._nodes, network.free)
        self._columns = _nudge_columns(setup, self._nodes)
        self._at = np.flatnonzero(np.isin(network.edges, self._nodes[self._is_free]).any(axis=1))
        self._angle = np.full(network.n_nodes, np.nan)
        self._angle[self._nodes] = self._phases
        # An input that is stuck stays an input: `inputs` sets it.
        self._columns_in = np.flatnonzero(np.isin(network.inputs, self._nodes))

    @property
    @override
    def changes_reads(self) -> bool:
        return bool(self._is_free.any())

    @property
    @override
    def imaginary_noise(self) -> float | None:
        return 0.0

    @override
    def program(self, signal: Signal, time_s: float, *, asked: bool) -> Signal:
        forward, reverse = signal.forward.copy(), signal.reverse.copy()
        forward[self._bonds] = reverse[self._bonds] = self._coupling
        return signal.with_couplings(forward, reverse)

    @override
    def hold(self, signal: Signal) -> Signal:
        if not self._is_free.any():
            return signal
        forward, reverse, bias = signal.forward.copy(), signal.reverse.copy(), signal.bias.copy()
        network = self._setup.network
        i, j = network.edges[self._at].T
        lag = np.zeros((len(i), 2)) if signal.lag is None else signal.lag[self._at]
        for ends, others, coupling, turn in (
            (i, j, forward[self._at], lag[:, 0]),
            (j, i, reverse[self._at], lag[:, 1]),
        ):
            held = ~np.isnan(self._angle[others]) & (network.free_index[others] >= 0)
            drive = coupling[held] * np.exp(1j * (self._angle[others[held]] + turn[held]))
            np.add.at(bias, ends[held], drive)
        bias[network.inputs] = 0.0
        forward[self._at] = reverse[self._at] = 0.0
        _pin(bias, signal, self._nodes[self._is_free], self._phases[self._is_free])
        return signal.with_couplings(forward, reverse).with_bias(bias)

    @override
    def inputs(self, phases: FloatArray) -> FloatArray:
        if not len(self._columns_in):
            return phases
        phases = phases.copy()
        inputs = self._setup.network.inputs[self._columns_in]
        phases[:, self._columns_in] = self._angle[inputs]
        return phases

    @override
    def nudge(self, field: ComplexArray) -> ComplexArray:
        field = field.copy()
        field[:, self._columns] = 0.0
        return field

    @override
    def read(self, phases: FloatArray, reads: RawReads) -> FloatArray:
        free = self._nodes[self._is_free]
        phases[:, :, free] = self._angle[free]
        return phases

    @override
    def truth(self) -> Draws:
        return {
            "bonds": self._bonds,
            "coupling": self._coupling,
            "nodes": self._nodes,
            "phases": self._phases,
        }
