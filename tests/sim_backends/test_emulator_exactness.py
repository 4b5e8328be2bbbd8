"""The emulator against an independent flow (SciPy, DOP853) on random networks of four kinds.

The same in large, with the cost of each setting: benchmarks/exactness.py.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from eqp_hw.network.builders import all_to_all, layered, square_lattice
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.network.initial import initial_parameters
from eqp_hw.physics.parameters import ComplexArray, Parameters
from eqp_hw.sim_backends.emulator import EmulatorOptions, XYEmulator
from eqp_hw.sim_backends.engines import EngineName, choose_engine, compiled_unavailable_because
from eqp_hw.sim_backends.relaxation.interface import Bonds, Relaxation, RelaxationOptions
from eqp_hw.substrate import SettleOutcome, SettleStatus

NORMAL = {"coupling": "normal", "bias": "normal"}
KINDS: dict[str, tuple[Network, dict[str, Any]]] = {
    "lattice": (square_lattice(10, 10), NORMAL),
    "skips": (square_lattice(5, 5, inputs=2, outputs=[24], skips=[2, 3]), NORMAL),
    "layered": (layered([8, 20, 5]), {"coupling": "fan"}),
    "all-to-all": (all_to_all(20, 2, 1), {"coupling": "symmetrised-normal", "bias": "uniform"}),
}
ENGINES: list[EngineName] = ["reference"]
if compiled_unavailable_because() is None:
    ENGINES += ["native", "krylov"]

SEED = 7


@dataclasses.dataclass(frozen=True)
class _Problem:
    """Random parameters, and inputs of a batch; force and Hessian written apart from eqp_hw."""

    network: Network
    parameters: Parameters
    inputs: FloatArray

    @property
    def start(self) -> FloatArray:
        shape = (len(self.inputs), len(self.network.free))
        return np.random.default_rng(SEED).uniform(-np.pi, np.pi, shape)

    @property
    def matrix(self) -> FloatArray:
        network = self.network
        matrix = np.zeros((network.n_nodes, network.n_nodes))
        i, j = network.edges.T
        matrix[i, j] = matrix[j, i] = self.parameters.coupling[network.coupling_group]
        return matrix

    @property
    def field(self) -> ComplexArray:
        network = self.network
        driven = self.matrix[np.ix_(network.inputs, network.free)]
        field: ComplexArray = np.exp(1j * self.inputs) @ driven + self.parameters.bias[network.free]
        return field

    @property
    def inner(self) -> FloatArray:
        return self.matrix[np.ix_(self.network.free, self.network.free)]

    def hessian(self, x: FloatArray, sample: int) -> FloatArray:
        weight = self.inner * np.cos(x[:, None] - x[None, :])
        field = self.field[sample]
        own = np.abs(field) * np.cos(x - np.angle(field))
        return np.diag(weight.sum(axis=1) + own) - weight

    def radius(self, x: FloatArray, sample: int) -> float:
        """Within this distance of the equilibrium x, H keeps half its smallest eigenvalue λ.

        ‖H(x+δ) − H(x)‖ ≤ L‖δ‖ with L = max_i(2√2·Σ_j|J_ij| + |b_i|). So the distance falls along
        the flow, and whoever enters the ball of radius λ/2L ends in x.
        """
        lowest = float(np.linalg.eigvalsh(self.hessian(x, sample))[0])
        change = 2 * np.sqrt(2) * np.abs(self.inner).sum(axis=1) + np.abs(self.field[sample])
        return lowest / (2 * float(change.max()))

    def emulator(self, batch: int | None = None, **options: Any) -> XYEmulator:
        emulator = XYEmulator(self.network, EmulatorOptions(**options))
        emulator.write_parameters(self.parameters)
        emulator.set_inputs(self.inputs[:batch])
        emulator.reset(SEED)
        return emulator

    def settled(self, batch: int | None = None, **options: Any) -> tuple[FloatArray, SettleOutcome]:
        emulator = self.emulator(batch, **options)
        outcome = emulator.settle()
        return emulator.read_phases().phases[:, self.network.free], outcome


def _problem(kind: str, batch: int, seed: int) -> _Problem:
    network, scheme = KINDS[kind]
    rng = np.random.default_rng(seed)
    parameters = initial_parameters(network, rng, **scheme)
    inputs = rng.uniform(-np.pi / 2, np.pi / 2, (batch, len(network.inputs)))
    return _Problem(network, parameters, inputs)


def _turn(difference: FloatArray) -> FloatArray:
    turn: FloatArray = np.angle(np.exp(1j * difference))
    return turn


def _flow_arrives(problem: _Problem, ends: FloatArray, t_max: float = 1e5) -> list[bool]:
    """Whether the flow of each sample enters the ball around ``ends`` that it cannot leave."""
    start, inner, field = problem.start, problem.inner, problem.field
    radius = np.array([problem.radius(end, k) for k, end in enumerate(ends)])
    arrived = np.zeros(len(ends), dtype=bool)
    rows, state, t, span = np.arange(len(ends)), start, 0.0, 10.0
    while len(rows) and t < t_max:

        def force(_: float, flat: FloatArray, rows: Any = rows) -> FloatArray:
            x = flat.reshape(len(rows), -1)
            pull = np.exp(1j * x) @ inner + field[rows]
            torque: FloatArray = (np.exp(-1j * x) * pull).imag.ravel()
            return torque

        path = solve_ivp(
            force, (t, t + span), state.ravel(), "DOP853", t_eval=[t + span], rtol=1e-11, atol=1e-12
        )
        t, span = t + span, 1.3 * span
        state = path.y[:, -1].reshape(len(rows), -1)
        inside = np.linalg.norm(_turn(state - ends[rows]), axis=1) < radius[rows]
        arrived[rows[inside]] = True
        rows, state = rows[~inside], state[~inside]
    return arrived.tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_equilibrium_is_where_an_independent_flow_ends(kind: str, seed: int) -> None:
    problem = _problem(kind, 10, seed)
    ends, outcome = problem.settled(eigenvalues=True)
    assert (outcome.status == SettleStatus.EQUILIBRIUM).all()
    assert outcome.certified.all()
    pull = np.exp(1j * ends) @ problem.inner + problem.field
    assert np.abs((np.exp(-1j * ends) * pull).imag).max() <= 1e-10
    lowest = [np.linalg.eigvalsh(problem.hessian(end, k))[0] for k, end in enumerate(ends)]
    assert min(lowest) > 0
    np.testing.assert_allclose(outcome.smallest_eigenvalue, lowest, rtol=1e-6)
    # Other basins are rarer than one in a thousand at this tolerance: none among these 80.
    assert all(_flow_arrives(problem, ends))


def test_the_judge_can_tell_another_basin() -> None:
    """A stable equilibrium that another start leads to is refused."""
    problem = _problem("lattice", 8, 3)
    same_inputs = dataclasses.replace(problem, inputs=problem.inputs[:1].repeat(8, axis=0))
    ends, _ = same_inputs.settled()
    others = np.roll(ends, 1, axis=0)
    assert (np.abs(_turn(ends - others)).max(axis=1) > 0.1).all()
    first = dataclasses.replace(same_inputs, inputs=same_inputs.inputs[:1])
    assert _flow_arrives(first, ends[:1], 300) == [True]
    assert _flow_arrives(first, others[:1], 300) == [False]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", KINDS)
def test_batched_and_single_results_are_the_same(kind: str, engine: EngineName) -> None:
    """To the last bit in the engines; through the door to rounding of the input field."""
    problem = _problem(kind, 5, 4)
    network = problem.network
    bonds = Bonds(len(network.free), network.free_index[network.edges[network.internal_edges]])
    coupling = problem.parameters.bond_coupling(network)[0][network.internal_edges]
    relaxer, options = choose_engine(bonds, engine), RelaxationOptions()
    field, start = problem.field, problem.start
    together = relaxer.relax(coupling, field, start, options)
    nudged = relaxer.follow(coupling, field + 0.1, together.phases, options, field)
    for k in range(5):
        one = slice(k, k + 1)
        alone = relaxer.relax(coupling, field[one], start[one], options)
        _assert_same(alone, together, k)
        after = relaxer.follow(coupling, field[one] + 0.1, alone.phases, options, field[one])
        _assert_same(after, nudged, k)
    few, _ = problem.settled(1, engine=engine)
    many, _ = problem.settled(engine=engine)
    assert np.abs(few[0] - many[0]).max() <= 1e-12


def _assert_same(alone: Relaxation, together: Relaxation, k: int) -> None:
    for item in dataclasses.fields(Relaxation):
        np.testing.assert_array_equal(
            getattr(alone, item.name)[0], getattr(together, item.name)[k], err_msg=item.name
        )


@pytest.mark.parametrize("kind", KINDS)
def test_engines_agree(kind: str) -> None:
    problem = _problem(kind, 4, 5)
    reference, _ = problem.settled(engine="reference")
    for engine in ENGINES[1:]:
        ends, _ = problem.settled(engine=engine)
        assert np.abs(_turn(ends - reference)).max() <= 1e-10


def test_paranoid_mode_corrects_a_loose_tolerance() -> None:
    """Where the loosest tolerance allowed is known to err, the second opinion notices."""
    wrong = 0
    for seed in (5, 11, 13, 18):
        problem = _problem("all-to-all", 50, seed)
        exact, _ = problem.settled(tolerance=1e-6)
        loose, _ = problem.settled(tolerance=0.1)
        careful, outcome = problem.settled(tolerance=0.1, paranoid=True)
        assert (outcome.status == SettleStatus.EQUILIBRIUM).all()
        wrong += int((np.abs(_turn(loose - exact)).max(axis=1) > 1e-6).sum())
        assert np.abs(_turn(careful - exact)).max() <= 1e-10
    assert wrong >= 2


@pytest.mark.parametrize("kind", KINDS)
def test_paranoid_mode_agrees_with_the_default(kind: str) -> None:
    problem = _problem(kind, 20, 6)
    plain, _ = problem.settled()
    careful, outcome = problem.settled(paranoid=True)
    assert (outcome.status == SettleStatus.EQUILIBRIUM).all()
    assert np.abs(_turn(careful - plain)).max() <= 1e-10
