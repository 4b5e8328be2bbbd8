import numpy as np
import pytest
from scipy.integrate import solve_ivp

from eqp_hw.sim_backends.relaxation.interface import Bonds
from eqp_hw.sim_backends.relaxation.phase_flow import PhaseFlow
from eqp_hw.sim_backends.relaxation.reference.linear_algebra import DenseLU
from eqp_hw.sim_backends.relaxation.reference.rosenbrock import METHODS, rosenbrock_step


def _network(directed):
    rng = np.random.default_rng(7)
    edges = np.array([(i, j) for i in range(5) for j in range(i + 1, 5)])
    bonds = Bonds(5, edges)
    reverse = rng.normal(size=len(edges)) if directed else None
    flow = PhaseFlow(bonds, rng.normal(size=len(edges)), reverse)
    field = rng.normal(size=(1, 5)) + 1j * rng.normal(size=(1, 5))
    return flow, field, rng.uniform(-np.pi, np.pi, (1, 5))


def _integrate(method, flow, field, start, t_end, steps):
    """Fixed steps; returns the end and the estimated error of the first step."""
    solver, phases, first = DenseLU(flow.bonds), start, None
    h = np.array([t_end / steps])
    for _ in range(steps):
        force, jacobian = flow.force_and_jacobian(phases, field)
        factors = solver.factor(jacobian.shifted(1.0 / (method.gamma * h)))
        phases, error = rosenbrock_step(
            method, lambda x: flow.force(x, field), factors.solve, phases, force, h
        )
        first = error if first is None else first
    return phases, np.abs(first).max()


@pytest.mark.parametrize("name", ["rodas3", "rodas4"])
def test_algebraic_order_conditions(name):
    """Hairer & Wanner II, section IV.7, table 7.1: a wrong ninth digit would show."""
    method = METHODS[name]
    stages = len(method.m)
    a, c = np.zeros((stages, stages)), np.zeros((stages, stages))
    for s in range(stages):
        a[s, :s], c[s, :s] = method.a[s], method.c[s]
    gamma = np.linalg.inv(np.eye(stages) / method.gamma - c)
    alpha, b = a @ gamma, np.array(method.m) @ gamma
    beta = alpha + gamma
    alpha_i, beta_i = alpha.sum(axis=1), beta.sum(axis=1)
    conditions = [
        (b.sum(), 1.0),
        (b @ beta_i, 1 / 2),
        (b @ alpha_i**2, 1 / 3),
        (b @ beta @ beta_i, 1 / 6),
    ]
    if method.order == 4:
        conditions += [
            (b @ alpha_i**3, 1 / 4),
            ((b * alpha_i) @ alpha @ beta_i, 1 / 8),
            (b @ beta @ alpha_i**2, 1 / 12),
            (b @ beta @ beta @ beta_i, 1 / 24),
        ]
    for found, wanted in conditions:
        assert found == pytest.approx(wanted, abs=1e-13)


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize(("name", "order"), [("rodas3", 3), ("rodas4", 4)])
def test_orders_of_step_and_error_estimate(name, order, directed):
    method = METHODS[name]
    assert method.order == order
    flow, field, start = _network(directed)
    exact = solve_ivp(
        lambda _, x: flow.force(x[None], field)[0],
        (0.0, 1.0),
        start[0],
        method="DOP853",
        rtol=1e-13,
        atol=1e-13,
    ).y[:, -1]
    counts = np.array([64, 128, 256])
    ends = [_integrate(method, flow, field, start, 1.0, n) for n in counts]
    errors = [np.abs(end - exact).max() for end, _ in ends]
    slope = np.polyfit(np.log(1.0 / counts), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.2)
    # The estimate is the local error of the embedded method of order p − 1, so of order h^p.
    estimated = np.polyfit(np.log(1.0 / counts), np.log([e for _, e in ends]), 1)[0]
    assert estimated == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("name", ["rodas3", "rodas4"])
def test_one_huge_step_lands_on_the_newton_point(name):
    """L-stable and stiffly accurate: as h → ∞ the stiff part is gone after one step."""
    flow = PhaseFlow(Bonds(1, np.empty((0, 2), dtype=np.int64)), np.empty(0))
    field, start = np.array([[1.0 + 0.0j]]), np.array([[1e-3]])
    end, _ = _integrate(METHODS[name], flow, field, start, 1e9, 1)
    assert abs(end[0, 0]) < 1e-8
