"""The stationary law, its independence of the time step, and the dynamics behind it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import solve_discrete_lyapunov
from scipy.special import ive

from eqp_hw.network.builders import layered, square_lattice
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.network.initial import initial_parameters
from eqp_hw.physics.energy import coupling_matrix, energy, jacobian
from eqp_hw.physics.parameters import Parameters
from eqp_hw.sim_backends.clamping import InputCoupling
from eqp_hw.sim_backends.emulator import XYEmulator
from eqp_hw.sim_backends.langevin.bound import ProgrammedNetwork
from eqp_hw.sim_backends.langevin.options import LangevinOptions
from eqp_hw.sim_backends.langevin.scheme import Motion
from eqp_hw.sim_backends.langevin.substrate import LangevinSubstrate
from eqp_hw.substrate import Oscillation

SPINS = 200
STAR = Network.create(
    SPINS + 1, [(0, k) for k in range(1, SPINS + 1)], inputs=[0], outputs=range(1, SPINS + 1)
)
"""Independent spins in the field of one clamped node."""
LATTICE = square_lattice(3, 3, inputs=2, outputs=[8])


def _substrate(
    network: Network, parameters: Parameters, inputs: FloatArray, seed: int = 1, **options: object
) -> LangevinSubstrate:
    substrate = LangevinSubstrate(network, LangevinOptions.model_validate(options))
    substrate.write_parameters(parameters)
    substrate.set_inputs(inputs)
    substrate.reset(seed)
    return substrate


def _star(field: float) -> Parameters:
    return Parameters(np.full(SPINS, field), np.zeros(SPINS + 1, complex))


def _lattice(seed: int) -> tuple[Parameters, FloatArray]:
    rng = np.random.default_rng(seed)
    parameters = initial_parameters(LATTICE, rng, coupling="normal", bias="normal")
    return parameters, rng.uniform(-1.5, 1.5, (1, len(LATTICE.inputs)))


def _turn(difference: FloatArray) -> FloatArray:
    return np.asarray(np.angle(np.exp(1j * difference)))


@pytest.mark.parametrize("ratio", [0.5, 2.0, 20.0])
def test_a_spin_in_a_field_obeys_the_von_mises_law(ratio: float) -> None:
    """<cos φ> = I₁(h/T)/I₀(h/T), and <cos 2φ> = I₂/I₀."""
    temperature = 1.0 / ratio
    substrate = _substrate(
        STAR, _star(1.0), np.zeros((40, 1)), temperature=temperature, settle_time=20.0
    )
    substrate.settle()
    phases = substrate.read_phases().phases[:, 1:]
    for order in (1, 2):
        wave = np.cos(order * phases)
        expected = ive(order, ratio) / ive(0, ratio)
        assert abs(wave.mean() - expected) <= 4.0 * wave.std() / np.sqrt(wave.size)
        assert wave.std() / np.sqrt(wave.size) < 0.01


def test_covariance_is_temperature_over_stiffness() -> None:
    parameters, inputs = _lattice(2)
    with XYEmulator(LATTICE) as emulator:
        emulator.write_parameters(parameters)
        emulator.set_inputs(inputs)
        emulator.reset(1)
        emulator.settle()
        free = emulator.read_phases().phases[0]
    hessian = jacobian(LATTICE, parameters, free).toarray()
    slowest = np.linalg.eigvalsh(hessian)[0]
    temperature, batch = 1e-5, 3000
    substrate = _substrate(
        LATTICE,
        parameters,
        np.repeat(inputs, batch, axis=0),
        temperature=temperature,
        settle_time=4.0 / slowest,
    )
    # From the equilibrium, where the emulator left the phases.
    substrate._phases = np.repeat(free[None, LATTICE.free], batch, axis=0)
    substrate.settle()
    moved = _turn(substrate.read_phases().phases - free)[:, LATTICE.free]
    expected = temperature * np.linalg.inv(hessian)
    found = moved.T @ moved / batch
    error = np.sqrt((expected**2 + np.outer(np.diag(expected), np.diag(expected))) / batch)
    assert np.abs((found - expected) / error).max() <= 4.5
    # Equipartition: the mean energy above the minimum is T/2 a mode.
    above = energy(LATTICE, parameters, substrate.read_phases().phases) - energy(
        LATTICE, parameters, free[None]
    )
    modes = len(LATTICE.free)
    assert abs(above.mean() - 0.5 * modes * temperature) <= 4 * above.std() / np.sqrt(batch)


def test_a_frustrated_triangle_against_gibbs_quadrature() -> None:
    """Three coupled spins at T = .6, far from harmonic: energy and correlators."""
    network = Network.create(4, [(0, 1), (1, 2), (2, 3), (1, 3)], inputs=[0], outputs=[3])
    bias = np.array([0, 0, 0.5j, -0.3 + 0.2j])
    parameters = Parameters(np.array([0.8, 1.0, -1.2, 0.9]), bias)
    temperature = 0.6
    grid = 2 * np.pi * np.arange(48) / 48  # spectrally exact for a smooth periodic density
    mesh = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), axis=-1).reshape(-1, 3)
    mesh = np.concatenate([np.full((len(mesh), 1), 0.3), mesh], axis=1)
    level = energy(network, parameters, mesh)
    weight = np.exp(-(level - level.min()) / temperature)
    weight /= weight.sum()
    substrate = _substrate(
        network, parameters, np.full((8_000, 1), 0.3), temperature=temperature, settle_time=20.0
    )
    substrate.settle()
    phases = substrate.read_phases().phases

    def statistics(x: FloatArray) -> FloatArray:
        i, j = network.edges.T
        parts = [energy(network, parameters, x)[:, None], np.cos(x[:, i] - x[:, j])]
        return np.concatenate([*parts, np.cos(x[:, 1:]), np.sin(x[:, 1:])], axis=1)

    found = statistics(phases)
    error = found.std(axis=0) / np.sqrt(len(found))
    assert np.abs((found.mean(axis=0) - weight @ statistics(mesh)) / error).max() <= 4.5


def _variance_error(share: float) -> float:
    """Relative error of the stationary covariance of the linearised scheme itself."""
    parameters, inputs = _lattice(2)
    with XYEmulator(LATTICE) as emulator:
        emulator.write_parameters(parameters)
        emulator.set_inputs(inputs)
        emulator.reset(1)
        emulator.settle()
        free = emulator.read_phases().phases[0]
    hessian = jacobian(LATTICE, parameters, free).toarray()
    step = share / np.linalg.eigvalsh(hessian)[-1]
    programmed = ProgrammedNetwork(LATTICE, InputCoupling(LATTICE), parameters, None)
    n, temperature = len(hessian), 1e-12
    rest = np.tile(free[LATTICE.free], (n, 1))
    field = np.tile(programmed.field(inputs), (n, 1))

    def after(start: FloatArray, warm: float) -> FloatArray:
        motion = Motion(programmed.force, warm, step, np.random.default_rng(3))
        return motion.advance(rest + start, field, step) - rest

    tiny = 1e-6 * np.eye(n)
    carried = (after(tiny, 0.0) - after(-tiny, 0.0)).T / 2e-6
    # What the scheme makes of n known draws gives the matrix that it multiplies draws with.
    draws = np.random.default_rng(3).standard_normal((n, n))
    kicked = np.linalg.solve(draws, after(0.0 * tiny, temperature)).T
    covariance = solve_discrete_lyapunov(carried, kicked @ kicked.T)
    exact = temperature * np.linalg.inv(hessian)
    return float(np.linalg.norm(hessian @ (covariance - exact), 2) / temperature)


def test_the_stationary_law_is_of_second_order_in_the_time_step() -> None:
    """The scheme's own stationary covariance, from a discrete Lyapunov equation."""
    errors = np.array([_variance_error(share) for share in (0.4, 0.2, 0.1)])
    np.testing.assert_allclose(np.log2(errors[:-1] / errors[1:]), 2.0, atol=0.25)
    # The leading error of the stiffest mode is (hλ)²/4.
    np.testing.assert_allclose(errors[-1], 0.1**2 / 4, rtol=0.15)


def test_noise_does_not_depend_on_the_time_step() -> None:
    """Far from harmonic, h = .4, .2, .1 over the rate: the same law within its error."""
    means, errors = [], []
    for step in (0.4, 0.2, 0.1):
        substrate = _substrate(
            STAR,
            _star(1.0),
            np.zeros((60, 1)),
            seed=int(100 * step),
            temperature=0.5,
            time_step=step,
            settle_time=12.0,
        )
        substrate.settle()
        cosine = np.cos(substrate.read_phases().phases[:, 1:])
        means.append(cosine.mean())
        errors.append(cosine.std() / np.sqrt(cosine.size))
    expected = ive(1, 2.0) / ive(0, 2.0)
    # Euler's method would be off by 2 % at h = .4, twenty times this error.
    assert max(errors) < 0.006
    assert np.abs(np.array(means) - expected).max() <= 4.0 * max(errors)


def test_correlations_decay_at_the_rate_of_the_stiffness() -> None:
    """<φ(t)φ(0)> = (T/λ)·exp(−λt) for a weak thermal motion of stiffness 1."""
    temperature = 1e-4
    substrate = _substrate(
        STAR,
        _star(1.0),
        np.zeros((60, 1)),
        temperature=temperature,
        settle_time=15.0,
        read_interval=0.7,
    )
    substrate.settle()
    reads = np.array([substrate.read_phases().phases[:, 1:] for _ in range(4)])
    for lag in (1, 2, 3):
        found = (reads[0] * reads[lag]).mean() / temperature
        assert abs(found - np.exp(-0.7 * lag)) <= 4.0 / np.sqrt(reads[0].size)
    started = substrate.read_phases().started_s
    assert abs(started - (15.0 + 3 * 0.7)) < 1e-9


def test_averaging_over_time_narrows_a_read() -> None:
    """Over a window w the variance of a mode is (T/λ)·2(λw − 1 + e^{−λw})/(λw)²."""
    temperature, window = 1e-4, 4.0
    substrate = _substrate(
        STAR,
        _star(1.0),
        np.zeros((60, 1)),
        temperature=temperature,
        settle_time=15.0,
        read_interval=6.0,
        read_time=window,
    )
    substrate.settle()
    reading = substrate.read_phases()
    assert reading.ended_s - reading.started_s == pytest.approx(window)
    variance = reading.phases[:, 1:].var() / temperature
    expected = 2.0 * (window - 1.0 + np.exp(-window)) / window**2
    assert abs(variance / expected - 1.0) <= 4.0 * np.sqrt(2.0 / reading.phases[:, 1:].size)
    assert np.isnan(reading.standard_error[:, 1:]).all()
    many = substrate.read_phases(5)
    assert many.ended_s - many.started_s == pytest.approx(5 * 6.0)
    ratio = (many.standard_error[:, 1:] ** 2).mean() / (temperature * expected / 5)
    assert abs(ratio - 1.0) < 0.1


def test_without_noise_the_ends_are_those_of_the_emulator() -> None:
    for network, seed in ((layered([4, 6, 3]), 1), (square_lattice(4, 4), 2)):
        rng = np.random.default_rng(seed)
        parameters = initial_parameters(network, rng, coupling="normal", bias="normal")
        inputs = rng.uniform(-1.5, 1.5, (10, len(network.inputs)))
        with XYEmulator(network) as emulator:
            emulator.write_parameters(parameters)
            emulator.set_inputs(inputs)
            emulator.reset(9)
            assert emulator.settle().settled.all()
            exact = emulator.read_phases().phases
        substrate = _substrate(
            network, parameters, inputs, seed=9, temperature=0.0, settle_time=400.0
        )
        outcome = substrate.settle()
        assert np.abs(_turn(substrate.read_phases().phases - exact)).max() < 1e-4
        assert outcome.residual.max() < 1e-4


@pytest.mark.parametrize("kind", ["reciprocal", "directed", "lag", "clamped"])
def test_a_short_settling_is_the_flow_cut_off(kind: str) -> None:
    """T = 0: SciPy's flow at the settle time, to second order in the step."""
    parameters, inputs = _lattice(3)
    rng = np.random.default_rng(4)
    if kind == "directed":
        reverse = parameters.coupling + 0.3 * rng.normal(size=LATTICE.n_couplings)
        parameters = Parameters(parameters.coupling, parameters.bias, reverse)
    matrix = coupling_matrix(LATTICE, parameters).toarray().astype(complex)
    errors = []
    for step in (0.02, 0.01):
        substrate = _substrate(
            LATTICE, parameters, inputs, temperature=0.0, settle_time=3.0, time_step=step
        )
        still = np.zeros(LATTICE.n_nodes, dtype=bool)
        still[LATTICE.inputs] = True
        if kind == "lag":
            lag = np.random.default_rng(5).uniform(-0.5, 0.5, (LATTICE.n_edges, 2))
            substrate.set_coupling_lag(lag)
            if not errors:
                i, j = LATTICE.edges.T
                matrix[i, j] *= np.exp(1j * lag[:, 0])
                matrix[j, i] *= np.exp(1j * lag[:, 1])
        if kind == "clamped":
            substrate.clamp_outputs(np.array([[0.4]]))
            still[LATTICE.outputs] = True
        start = substrate.read_phases().phases[0]

        def rate(_: float, x: FloatArray, still: FloatArray = still) -> FloatArray:
            pull = matrix @ np.exp(1j * x) + parameters.bias
            torque: FloatArray = np.where(still, 0.0, (np.exp(-1j * x) * pull).imag)
            return torque

        end = solve_ivp(rate, (0, 3.0), start, "DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
        substrate.settle()
        errors.append(np.abs(_turn(substrate.read_phases().phases[0] - end)).max())
    assert errors[1] < 1e-3
    assert 3.5 < errors[0] / errors[1] < 4.6


def test_thermal_motion_of_a_directed_pair() -> None:
    """Without energy: A·Σ + Σ·Aᵀ = 2T, here A = [[1 + k, −k], [0, 1]]."""
    chain = Network.create(3, [(0, 1), (1, 2), (0, 2)], inputs=[0], outputs=[2])
    # Edges sorted: (0,1), (0,2), (1,2): node 1 is driven by 2 with k, node 2 not by 1.
    k, temperature, batch = 2.0, 1e-5, 20_000
    by_pair = {(0, 1): (1.0, 1.0), (0, 2): (1.0, 1.0), (1, 2): (k, 0.0)}
    values = np.array([by_pair[tuple(edge)] for edge in chain.edges.tolist()])
    parameters = Parameters(values[:, 0], np.zeros(3, complex), values[:, 1])
    substrate = _substrate(
        chain, parameters, np.zeros((batch, 1)), temperature=temperature, settle_time=12.0
    )
    substrate._phases = np.zeros((batch, 2))
    substrate.settle()
    moved = substrate.read_phases().phases[:, 1:]
    found = moved.T @ moved / batch / temperature
    # From the Lyapunov equation by hand.
    s22 = 1.0
    s12 = k * s22 / (2.0 + k)
    s11 = (1.0 + k * s12) / (1.0 + k)
    np.testing.assert_allclose(found, [[s11, s12], [s12, s22]], atol=4.5 * 1.5 / np.sqrt(batch))


def test_an_oscillating_nudge_without_noise_is_that_of_the_emulator() -> None:
    parameters, inputs = _lattice(6)
    oscillation = Oscillation(0.3, lead_periods=1, periods=1, reads_per_period=6)
    field = np.full((1, len(LATTICE.free)), 0.3j)
    paths = []
    with XYEmulator(LATTICE) as emulator:
        emulator.write_parameters(parameters)
        emulator.set_inputs(inputs)
        emulator.reset(1)
        emulator.settle()
        paths.append(emulator.measure_oscillating(emulator.store_state(), field, oscillation))
    substrate = _substrate(LATTICE, parameters, inputs, temperature=0.0, settle_time=500.0)
    substrate.settle()
    before = substrate.read_phases().phases
    paths.append(substrate.measure_oscillating(substrate.store_state(), field, oscillation))
    np.testing.assert_allclose(paths[0].angles, paths[1].angles)
    assert np.abs(_turn(paths[0].phases - paths[1].phases)).max() < 2e-4
    assert np.abs(_turn(paths[0].phases - before)).max() > 0.05
    assert paths[1].settled.all()
    assert paths[1].standard_error.max() == 0.0
    np.testing.assert_array_equal(substrate.read_phases().phases, before)


def test_noise_averages_out_of_a_lock_in() -> None:
    """Stiffness 1, torque τ cos ωt: the mean over samples follows 1/(1 + iω)."""
    temperature, frequency = 1e-4, 0.5
    substrate = _substrate(
        STAR, _star(1.0), np.zeros((50, 1)), temperature=temperature, settle_time=10.0
    )
    substrate._phases = np.zeros((50, SPINS))
    substrate.settle()
    field = np.full((50, SPINS), 0.01j)
    reading = substrate.measure_oscillating(
        substrate.store_state(), field, Oscillation(frequency, 1, 1, 8)
    )
    assert np.isnan(reading.standard_error[..., 1:]).all()
    mean = reading.phases[..., 1:].mean(axis=(1, 2))
    expected = 0.01 * (np.exp(1j * reading.angles) / (1 + 1j * frequency)).real
    # The smooth onset leaves a trace of e^{−2π/ω} only.
    assert np.abs(mean - expected).max() <= 4 * np.sqrt(temperature / (50 * SPINS)) + 1e-5
