"""The flow under an oscillating nudge, against linear response, SciPy and static nudges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from eqp_hw.errors import ConfigurationError, SubstrateError
from eqp_hw.network.builders import all_to_all, layered, square_lattice
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.network.initial import initial_parameters
from eqp_hw.physics.energy import coupling_matrix, jacobian
from eqp_hw.physics.parameters import ComplexArray, Parameters
from eqp_hw.sim_backends.emulator import XYEmulator
from eqp_hw.sim_backends.relaxation import driven
from eqp_hw.sim_backends.relaxation.driven import follow_oscillation
from eqp_hw.sim_backends.relaxation.interface import Bonds
from eqp_hw.sim_backends.relaxation.oscillation import drive, read_times
from eqp_hw.sim_backends.relaxation.phase_flow import PhaseFlow
from eqp_hw.substrate import Oscillation, StateToken

NETWORK = square_lattice(4, 4, inputs=2, outputs=[15])


def _free(
    network: Network = NETWORK, seed: int = 1, *, asymmetry: float = 0.0
) -> tuple[XYEmulator, Parameters, StateToken, FloatArray]:
    rng = np.random.default_rng(seed)
    parameters = initial_parameters(network, rng, coupling="normal", bias="normal")
    if asymmetry:
        reverse = parameters.coupling + asymmetry * rng.normal(size=network.n_couplings)
        parameters = Parameters(parameters.coupling, parameters.bias, reverse)
    emulator = XYEmulator(network)
    emulator.write_parameters(parameters)
    emulator.set_inputs(rng.uniform(-1.5, 1.5, (3, len(network.inputs))))
    emulator.reset(seed)
    assert emulator.settle().settled.all()
    return emulator, parameters, emulator.store_state(), emulator.read_phases().phases


def _torque_field(network: Network, free: FloatArray, seed: int, size: float) -> ComplexArray:
    """A field in quadrature to the free phases: a pure torque to first order."""
    torque = np.random.default_rng(seed).normal(size=(len(free), len(network.free)))
    field: ComplexArray = size * torque * 1j * np.exp(1j * free[:, network.free])
    return field


def _harmonic(angles: FloatArray, phases: FloatArray, order: int) -> ComplexArray:
    """a + ib with a·cos + b·sin the component of that order."""
    waves = np.exp(1j * order * angles)
    result: ComplexArray = 2.0 / len(angles) * np.tensordot(waves, phases, axes=(0, 0))
    return result


@pytest.mark.parametrize("asymmetry", [0.0, 0.1])
@pytest.mark.parametrize("frequency", [0.03, 0.3, 3.0])
def test_linear_response(frequency: float, asymmetry: float) -> None:
    """δφ = Re[(A + iω)⁻¹ τ e^{iωt}]: for each mode 1/(λ + iω)."""
    emulator, parameters, token, free = _free(asymmetry=asymmetry)
    field = _torque_field(NETWORK, free, 2, 1e-5)
    torque = (field / (1j * np.exp(1j * free[:, NETWORK.free]))).real
    lead = int(np.ceil(frequency / 2 / np.pi * 400)) + 1  # long enough for the slowest mode
    oscillation = Oscillation(frequency, lead_periods=lead, periods=2, reads_per_period=16)
    reading = emulator.measure_oscillating(token, field, oscillation)
    assert reading.settled.all()
    assert reading.phases.shape == (32, 3, NETWORK.n_nodes)
    np.testing.assert_allclose(reading.angles[[0, 8]], [0.0, np.pi])
    moved = np.angle(np.exp(1j * (reading.phases - free)))[..., NETWORK.free]
    first = _harmonic(reading.angles, moved, 1)
    for sample in range(3):
        a = jacobian(NETWORK, parameters, free[sample]).toarray()
        expected = np.linalg.solve(a + 1j * frequency * np.eye(len(a)), torque[sample])
        # Re[x e^{iωt}] has the cosine part Re x and the sine part −Im x.
        error = np.abs(first[sample] - expected.conj()).max()
        assert error <= 1e-6 * np.abs(expected).max()
    np.testing.assert_array_equal(emulator.read_phases().phases, free)


def test_the_in_phase_error_is_of_second_order_in_the_frequency() -> None:
    emulator, parameters, token, free = _free()
    field = _torque_field(NETWORK, free, 3, 1e-6)
    torque = (field / (1j * np.exp(1j * free[:, NETWORK.free]))).real
    hessians = [jacobian(NETWORK, parameters, row).toarray() for row in free]
    static = np.array([np.linalg.solve(h, t) for h, t in zip(hessians, torque, strict=True)])
    slowest = min(np.linalg.eigvalsh(h)[0] for h in hessians)
    errors = []
    for fraction in (0.2, 0.1, 0.05):
        reading = emulator.measure_oscillating(
            token, field, Oscillation(fraction * slowest, lead_periods=3)
        )
        moved = np.angle(np.exp(1j * (reading.phases - free)))[..., NETWORK.free]
        in_phase = _harmonic(reading.angles, moved, 1).real
        errors.append(np.abs(in_phase - static).max() / np.abs(static).max())
        assert errors[-1] <= 1.1 * fraction**2
    np.testing.assert_allclose(np.log2(errors[:-1]) - np.log2(errors[1:]), 2.0, atol=0.1)


def test_the_work_does_not_depend_on_how_slow_the_nudge_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In long windows the rounding of dφ/dt must not pass for a path that bends."""
    windows = []
    original = driven._Part._window

    def counted(part: driven._Part, time: float, step: float) -> object:
        windows.append(step)
        assert len(windows) < 500
        return original(part, time, step)

    monkeypatch.setattr(driven._Part, "_window", counted)
    emulator, _, token, free = _free()
    field = _torque_field(NETWORK, free, 2, 0.01)
    for frequency in (1e-5, 1e-12):
        windows.clear()
        reading = emulator.measure_oscillating(token, field, Oscillation(frequency))
        assert reading.settled.all()
    static = emulator.measure_nudged(token, [(field, float(np.cos(reading.angles[3])))])[0]
    np.testing.assert_allclose(reading.phases[3], static.reading.phases, atol=1e-8)


def test_the_slow_limit_is_the_static_nudge() -> None:
    """Far beyond linear response: every read is the equilibrium at β·cos(ωt)."""
    emulator, _, token, free = _free()
    field = np.zeros((3, len(NETWORK.free)), complex)
    field[:, NETWORK.free_index[15]] = 0.4 * np.exp(1j * (free[:, 15] + 1.0))
    errors = []
    for frequency in (1e-4, 1e-5):
        reading = emulator.measure_oscillating(
            token, field, Oscillation(frequency, lead_periods=1, periods=1, reads_per_period=8)
        )
        assert reading.settled.all()
        amplitudes = [(field, float(np.cos(angle))) for angle in reading.angles]
        static = np.array([m.reading.phases for m in emulator.measure_nudged(token, amplitudes)])
        turn = np.abs(np.angle(np.exp(1j * (reading.phases - static))))
        # At the turning points, cos = ±1, the lag is of second order.
        errors.append(turn[[0, 4]].max())
        assert np.abs(np.angle(np.exp(1j * (static[0] - free)))).max() > 0.1
    assert errors[1] < 1e-6
    np.testing.assert_allclose(errors[0] / errors[1], 100.0, rtol=0.05)


@pytest.mark.parametrize("kind", ["lattice", "all-to-all", "directed", "lag"])
@pytest.mark.parametrize(
    "oscillation",
    [Oscillation(0.5, 0, 2, 5), Oscillation(0.5, 1, 2, 5), Oscillation(0.05, 0, 1, 20)],
    ids=["jump", "rise", "slow jump"],
)
def test_against_an_independent_integrator(kind: str, oscillation: Oscillation) -> None:
    """Strong nudges; without lead the onset is a jump, and its transient is read."""
    network = all_to_all(12, 2, 2) if kind == "all-to-all" else NETWORK
    emulator, parameters, token, free = _free(network, asymmetry=0.2 * (kind == "directed"))
    matrix = coupling_matrix(network, parameters).toarray().astype(complex)
    if kind == "lag":
        lag = np.random.default_rng(3).uniform(-0.3, 0.3, (network.n_edges, 2))
        emulator.set_coupling_lag(lag)
        emulator.settle()
        token, free = emulator.store_state(), emulator.read_phases().phases
        i, j = network.edges.T
        matrix[i, j] *= np.exp(1j * lag[:, 0])
        matrix[j, i] *= np.exp(1j * lag[:, 1])
    field = 2.0 * np.exp(1j * np.random.default_rng(4).uniform(-3, 3, (3, len(network.free))))
    reading = emulator.measure_oscillating(token, field, oscillation)
    frequency, lead = oscillation.angular_frequency, oscillation.lead_periods
    times = (reading.angles + 2 * np.pi * lead) / frequency
    for sample in (0, 2):

        def rate(t: float, x: FloatArray, sample: int = sample) -> FloatArray:
            y = free[sample].copy()
            y[network.free] = x
            rise = min(t * frequency / 2 / np.pi, 1.0) if lead else 1.0
            swing = (10 * rise**3 - 15 * rise**4 + 6 * rise**5) * np.cos(frequency * t)
            pull = (matrix @ np.exp(1j * y) + parameters.bias)[network.free]
            torque: FloatArray = (np.exp(-1j * x) * (pull + swing * field[sample])).imag
            return torque

        x0 = free[sample, network.free]
        path = solve_ivp(rate, (0, times[-1]), x0, "DOP853", t_eval=times, rtol=1e-12, atol=1e-13)
        turn = np.exp(1j * (path.y.T - reading.phases[:, sample][:, network.free]))
        assert np.abs(np.angle(turn)).max() <= 2e-9


def test_a_state_that_does_not_come_back_is_not_settled() -> None:
    """A strong nudge carries some samples into other basins; SciPy says which."""
    network = all_to_all(12, 2, 2)
    emulator, parameters, token, free = _free(network, seed=6)
    matrix = coupling_matrix(network, parameters).toarray()
    field = np.exp(1j * np.random.default_rng(4).uniform(-3, 3, (3, len(network.free))))
    field *= np.array([[0.02], [5.0], [5.0]])
    reading = emulator.measure_oscillating(token, field, Oscillation(0.2, 1, 1, 4))
    assert np.isfinite(reading.phases).all()
    end = (2 * np.pi + reading.angles[-1]) / 0.2
    for sample in range(3):

        def rate(t: float, x: FloatArray, sample: int = sample) -> FloatArray:
            y = free[sample].copy()
            y[network.free] = x
            swing = float(drive(Oscillation(0.2, 1), np.array(t))) * (t <= end)
            pull = (matrix @ np.exp(1j * y) + parameters.bias)[network.free]
            torque: FloatArray = (np.exp(-1j * x) * (pull + swing * field[sample])).imag
            return torque

        x = free[sample, network.free]
        for span in ((0, end), (end * (1 + 1e-12), 300)):
            x = solve_ivp(rate, span, x, "DOP853", rtol=1e-9, atol=1e-10).y[:, -1]
        same = np.abs(x - free[sample, network.free]).max() < 1e-3
        assert reading.settled[sample] == same
    assert 0 < reading.settled.sum() < 3
    emulator.reset(1)  # not settled before
    reading = emulator.measure_oscillating(emulator.store_state(), field, Oscillation(0.1))
    assert not reading.settled.any()


def test_not_finite_samples_do_not_spoil_the_others() -> None:
    bonds = Bonds(2, np.array([[0, 1]]))
    flow = PhaseFlow(bonds, np.ones(1))
    field, nudge = np.ones((2, 2), complex), np.full((2, 2), 0.1j)
    nudge[1, 0] = np.nan
    path = follow_oscillation(flow, field, nudge, np.zeros((2, 2)), Oscillation(0.1))
    assert path.finished.tolist() == [True, False]
    assert np.isfinite(path.phases).all()
    alone = follow_oscillation(flow, field[:1], nudge[:1], np.zeros((1, 2)), Oscillation(0.1))
    np.testing.assert_allclose(path.phases[:, :1], alone.phases, atol=1e-11)


def test_the_drive_rises_smoothly_and_reads_begin_at_a_crest() -> None:
    oscillation = Oscillation(2.0, lead_periods=3, periods=2, reads_per_period=4)
    times = read_times(oscillation)
    np.testing.assert_allclose(times[0], 3 * np.pi)
    np.testing.assert_allclose(drive(oscillation, times), [1, 0, -1, 0] * 2, atol=1e-14)
    early = np.linspace(0, np.pi, 1000)
    rise = drive(oscillation, early)
    assert rise[0] == 0.0
    assert np.abs(np.diff(rise)).max() < 0.01
    assert np.abs(np.diff(rise, 2)[:3]).max() < 1e-6
    at_once = Oscillation(2.0, lead_periods=0)
    assert drive(at_once, np.zeros(1)).tolist() == [1.0]


def test_bad_oscillations_are_refused() -> None:
    emulator, _, token, _ = _free(layered([2, 2]))
    field = np.zeros((3, 2), complex)
    for bad in (
        Oscillation(0.0),
        Oscillation(np.nan),
        Oscillation(1.0, lead_periods=-1),
        Oscillation(1.0, periods=0),
        Oscillation(1.0, reads_per_period=0),
    ):
        with pytest.raises(ConfigurationError, match="oscillation"):
            emulator.measure_oscillating(token, field, bad)
    with pytest.raises(SubstrateError, match="shape"):
        emulator.measure_oscillating(token, field[:2], Oscillation(1.0))
