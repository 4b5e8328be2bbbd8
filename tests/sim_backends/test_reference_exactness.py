"""The reference against an independent accurate flow (SciPy, DOP853), and the certificate."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import root

from eqp_hw.sim_backends.relaxation.interface import Bonds, RelaxationOptions, RelaxationStatus
from eqp_hw.sim_backends.relaxation.phase_flow import NodeSums, PhaseFlow
from eqp_hw.sim_backends.relaxation.reference import ReferenceEngine
from eqp_hw.sim_backends.relaxation.reference.certificate import certify
from eqp_hw.sim_backends.relaxation.reference.linear_algebra import DenseCholesky
from eqp_hw.sim_backends.relaxation.reference.newton import polish

OPTIONS = RelaxationOptions()


def _all_to_all(n):
    return Bonds(n, np.array(np.triu_indices(n, 1)).T)


def _lattice(rows, cols):
    node = np.arange(rows * cols).reshape(rows, cols)
    right = np.stack([node[:, :-1].ravel(), node[:, 1:].ravel()], axis=1)
    down = np.stack([node[:-1].ravel(), node[1:].ravel()], axis=1)
    return Bonds(rows * cols, np.concatenate([right, down]))


def _layers(a, b):
    return Bonds(a + b, np.array([(i, a + j) for i in range(a) for j in range(b)]))


def _instance(bonds, batch, seed):
    rng = np.random.default_rng(seed)
    coupling = rng.normal(size=len(bonds.edges))
    field = 0.7 * (rng.normal(size=(batch, bonds.n)) + 1j * rng.normal(size=(batch, bonds.n)))
    return coupling, field, rng.uniform(-np.pi, np.pi, (batch, bonds.n))


def _force(bonds, coupling, field):
    """Written apart from the code under test: a sine for each bond."""
    matrix = np.zeros((bonds.n, bonds.n))
    matrix[bonds.edges[:, 0], bonds.edges[:, 1]] = coupling
    matrix += matrix.T

    def force(x):
        bond = (matrix * np.sin(x[None, :] - x[:, None])).sum(axis=1)
        return bond + np.abs(field) * np.sin(np.angle(field) - x)

    return force


def _flow_end(bonds, coupling, field, start):
    force = _force(bonds, coupling, field)

    def slow(_, x):
        return np.abs(force(x)).max() - 1e-5

    slow.terminal = True
    path = solve_ivp(
        lambda _, x: force(x), (0, 1e4), start, "DOP853", events=slow, rtol=1e-9, atol=1e-9
    )
    assert path.status == 1
    return root(force, path.y[:, -1], tol=1e-13).x


GRAPHS = {"dense": _all_to_all(8), "lattice": _lattice(4, 4), "layered": _layers(8, 3)}


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("method", ["rodas4", "rodas3"])
def test_the_equilibrium_of_the_physical_flow(graph, method):
    bonds = GRAPHS[graph]
    coupling, field, start = _instance(bonds, 12, seed=3)
    options = RelaxationOptions(method=method)
    result = ReferenceEngine(bonds).relax(coupling, field, start, options)
    assert (result.status == RelaxationStatus.EQUILIBRIUM).all()
    assert result.residual.max() <= 1e-12
    assert result.positive_definite.all()
    assert result.certified.all()
    for sample in range(12):
        end = _flow_end(bonds, coupling, field[sample], start[sample])
        # Unwrapped from the start: equal without taking anything modulo 2π.
        assert np.abs(result.phases[sample] - end).max() < 1e-7
        force = _force(bonds, coupling, field[sample])
        assert np.abs(force(result.phases[sample])).max() <= 1e-12


def test_without_the_certificate_the_same_points_after_more_steps():
    bonds = GRAPHS["lattice"]
    coupling, field, start = _instance(bonds, 10, seed=5)
    engine = ReferenceEngine(bonds)
    with_it = engine.relax(coupling, field, start, OPTIONS)
    without = engine.relax(coupling, field, start, RelaxationOptions(certificate=False))
    assert (without.status == RelaxationStatus.EQUILIBRIUM).all()
    assert not without.certified.any()
    assert (without.steps > with_it.steps).all()
    assert np.abs(with_it.phases - without.phases).max() < 1e-10


def test_certificate_is_sound():
    """Wherever it holds, an independent flow ends at the Newton point."""
    bonds = _all_to_all(6)
    flow, solver = None, DenseCholesky(bonds)
    held = refused_though_definite = 0
    for seed in range(12):
        coupling, field, start = _instance(bonds, 1, seed=seed)
        flow = PhaseFlow(bonds, coupling)
        target = ReferenceEngine(bonds).relax(coupling, field, start, OPTIONS).phases
        rng = np.random.default_rng(seed)
        # States around a minimum, from well inside its basin to outside.
        scale = np.geomspace(0.001, 1.0, 16)[:, None]
        states = target + scale * rng.normal(size=(16, bonds.n))
        fields = np.repeat(field, 16, axis=0)
        force, hessian = flow.force_and_jacobian(states, fields)
        proof = certify(solver, NodeSums(bonds), flow, fields, states, force, hessian, 0.5)
        refused_though_definite += int((proof.positive & ~proof.holds).sum())
        rows = np.flatnonzero(proof.holds)
        held += len(rows)
        ends = polish(solver, flow, fields[rows], states[rows], 30).phases
        # The widest certified states are the ones that could be wrong.
        for state, end in list(zip(states[rows], ends, strict=True))[-3:]:
            assert np.abs(_flow_end(bonds, coupling, field[0], state) - end).max() < 1e-7
    assert held > 40
    assert refused_though_definite > 20


def test_certificate_refuses_the_ghost_of_a_fold():
    """Three equal bonds in series turned to ψ = 1.51π: no equilibrium since ψ = 1.5π, and yet
    the force is tiny where it was."""
    bonds = Bonds(2, np.array([[0, 1]]))
    psi = 1.51 * np.pi
    field = np.array([[1.0, np.exp(1j * psi)]])
    flow = PhaseFlow(bonds, np.ones(1))
    ghost = np.array([[psi / 3, 2 * psi / 3]])
    states = ghost + 0.02 * np.random.default_rng(0).normal(size=(200, 2))
    fields = np.repeat(field, 200, axis=0)
    force, hessian = flow.force_and_jacobian(states, fields)
    assert np.abs(force).max() < 0.1
    proof = certify(
        DenseCholesky(bonds), NodeSums(bonds), flow, fields, states, force, hessian, 0.5
    )
    assert not proof.holds.any()


def test_certificate_refuses_near_a_saddle():
    bonds = Bonds(1, np.empty((0, 2), dtype=np.int64))
    flow = PhaseFlow(bonds, np.empty(0))
    states = np.array([[np.pi - 1e-3], [np.pi / 2 - 0.05], [0.1]])
    fields = np.ones((3, 1), dtype=complex)
    force, hessian = flow.force_and_jacobian(states, fields)
    proof = certify(
        DenseCholesky(bonds), NodeSums(bonds), flow, fields, states, force, hessian, 0.5
    )
    assert proof.positive.tolist() == [False, True, True]
    assert proof.holds.tolist() == [False, False, True]
