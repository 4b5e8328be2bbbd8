"""The fast hop test against the certified one, and against a fold that is known exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.sim_backends.engines import compiled_unavailable_because
from eqp_hw.sim_backends.relaxation.branch import leaves_branch
from eqp_hw.sim_backends.relaxation.interface import Bonds, RelaxationEngine, RelaxationOptions
from eqp_hw.sim_backends.relaxation.phase_flow import PhaseFlow
from eqp_hw.sim_backends.relaxation.reference import ReferenceEngine

FAST = RelaxationOptions(hop_test="newton")
CERTIFIED = replace(FAST, hop_test="certified")


def _lattice(side: int) -> Bonds:
    nodes = np.arange(side * side).reshape(side, side)
    across = np.stack([nodes[:, :-1].ravel(), nodes[:, 1:].ravel()], axis=1)
    down = np.stack([nodes[:-1].ravel(), nodes[1:].ravel()], axis=1)
    return Bonds(side * side, np.concatenate([across, down]))


def _instances(
    bonds: Bonds, batch: int, seed: int
) -> tuple[FloatArray, ComplexArray, FloatArray, ComplexArray]:
    """Couplings, fields, starts, and nudges of very different strength."""
    rng = np.random.default_rng(seed)
    shape = (batch, bonds.n)
    coupling = rng.normal(size=len(bonds.edges))
    field = 0.5 * (rng.normal(size=shape) + 1j * rng.normal(size=shape))
    strength = np.geomspace(0.01, 1.0, batch)[:, None]
    nudge = np.zeros(shape, complex)
    sites = slice(0, 2)
    nudge[:, sites] = strength * np.exp(1j * rng.uniform(-np.pi, np.pi, (batch, 2)))
    return coupling, field, rng.uniform(-np.pi, np.pi, shape), nudge


def _engines() -> list[type[RelaxationEngine]]:
    if compiled_unavailable_because() is not None:
        return [ReferenceEngine]
    from eqp_hw.sim_backends.relaxation.native_engine import NativeEngine

    return [ReferenceEngine, NativeEngine]


@pytest.mark.parametrize("engine_type", _engines(), ids=lambda t: t.__name__)
def test_every_hop_that_the_proof_finds_is_found(engine_type: type[RelaxationEngine]) -> None:
    """At least 95 % recall is asked for (ep_methods §9); none is missed here."""
    bonds = _lattice(4)
    engine = engine_type(bonds)  # type: ignore[call-arg]
    coupling, field, start, nudge = _instances(bonds, 200, 1)
    free = engine.relax(coupling, field, start, FAST)
    assert (free.status == 0).all()
    fast = engine.follow(coupling, field + nudge, free.phases, FAST, field)
    proof = engine.follow(coupling, field + nudge, free.phases, CERTIFIED, field)
    np.testing.assert_array_equal(fast.phases, proof.phases)
    assert proof.hop.sum() >= 5
    assert not (proof.hop & ~fast.hop).any()
    assert (fast.hop & ~proof.hop).sum() <= 1


def test_a_single_node_never_hops_however_far_its_field_turns() -> None:
    """A field has one stable phase, its own angle: the branch is known in closed form."""
    bonds = Bonds(1, np.empty((0, 2), dtype=np.int64))
    flow = PhaseFlow(bonds, np.empty(0))
    engine = ReferenceEngine(bonds)
    for a in (0.1, 1.0, 5.0, 50.0):
        field = np.array([[2.0 + 1j * a]])
        end = np.array([[np.arctan2(a, 2.0)]])
        hop = leaves_branch(
            flow,
            lambda b, x, r: engine.solve(np.empty(0), b, x, r),
            np.array([[2.0 + 0j]]),
            field,
            np.zeros((1, 1)),
            end,
        )
        assert not hop[0]


def test_a_start_that_is_no_equilibrium_counts_as_a_hop() -> None:
    bonds = _lattice(3)
    engine = ReferenceEngine(bonds)
    coupling, field, start, nudge = _instances(bonds, 4, 6)
    result = engine.follow(coupling, field + nudge, start, FAST, field)
    assert result.hop.all()


@pytest.mark.skipif(compiled_unavailable_because() is not None, reason="no compiled engine")
@pytest.mark.parametrize("side", [2, 5, 8])
def test_the_compiled_form_decides_as_the_readable_one(side: int) -> None:
    """Also for ends that lie elsewhere, starts not at rest, and numbers that are not finite."""
    from eqp_hw.sim_backends.relaxation.native_engine import NativeEngine

    bonds = _lattice(side)
    engine = NativeEngine(bonds)
    coupling, field, start, nudge = _instances(bonds, 150, side)
    nudge *= 3.0
    free = engine.relax(coupling, field, start, FAST).phases
    end = engine.relax(coupling, field + nudge, free, FAST).phases
    free, nudge = free.copy(), nudge.copy()
    end[:5] += 2 * np.pi
    end[5:10] += 1e-4
    end[10, 0] = np.nan
    free[15:20, 0] += 1e-3
    free[20, 0], nudge[21, 0] = np.inf, np.nan
    free[25:30] += 400 * np.pi
    with np.errstate(invalid="ignore"):
        readable = leaves_branch(
            PhaseFlow(bonds, coupling),
            lambda b, x, r: engine.solve(coupling, b, x, r),
            field,
            field + nudge,
            free,
            end,
        )
    compiled = [
        engine.leaves_branch(coupling, field, field + nudge, free, end, threads=threads)
        for threads in (1, 3)
    ]
    np.testing.assert_array_equal(compiled[0], readable)
    np.testing.assert_array_equal(compiled[1], readable)
    assert 22 <= readable.sum() <= 120
    alone = [
        engine.leaves_branch(coupling, *(a[k : k + 1] for a in (field, field + nudge, free, end)))
        for k in range(30, 60)
    ]
    np.testing.assert_array_equal(np.concatenate(alone), compiled[0][30:60])
