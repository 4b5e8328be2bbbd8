"""The sparse normal equations against dense ones, from a plain model and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from memory_session import rig_of

from eqp_hw.calibration.fits.crosstalk import expected_crosstalk
from eqp_hw.calibration.fits.ellipse import Detection
from eqp_hw.calibration.fits.network_equations import Equations, Equilibria, Free, Point, Prior
from eqp_hw.calibration.fits.network_model import Elements, NetworkModel
from eqp_hw.calibration.fits.network_normal import NormalEquations, Summed
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.rig.load import Rig
from eqp_hw.sim_backends.virtual_lab.plant.truths import draw_truths

DRIVES = 5
PARTS = (slice(0, 3), slice(3, 5))
_HEATERS = (
    "couplings",
    "inputs",
    "bias_amplitude",
    "bias_phase",
    "nudge_amplitude",
    "nudge_phase",
)


def local_fields(
    rig: Rig, elements: Elements, theta: FloatArray, phase: FloatArray
) -> ComplexArray:
    """Return h (n_free,) of one equilibrium, term by term."""
    network, rows, end = rig.network, {}, 0
    for name in _HEATERS:
        rows[name] = slice(end, end + len(getattr(rig.wiring, name)))
        end = rows[name].stop
    n_couplings, free_index = len(rig.wiring.couplings), network.free_index.tolist()
    group = network.coupling_group.tolist()
    inputs = {int(node): theta[rows["inputs"]][k] for k, node in enumerate(network.inputs)}
    whole = [
        inputs[node] if node in inputs else phase[free_index[node]]
        for node in range(network.n_nodes)
    ]
    h = np.zeros(len(network.free), dtype=complex)
    for edge, (i, j) in enumerate(network.edges.tolist()):
        row = group[edge]
        strength = elements.maximum[row] * np.cos(theta[row])
        for here, there, sign in ((i, j, 0.5), (j, i, -0.5)):
            if free_index[here] >= 0:
                one = strength * np.exp(sign * elements.log_ratio[edge])
                h[free_index[here]] += one * np.exp(1j * (whole[there] - whole[here]))
    n_bias = len(network.free)
    for kind, nodes, first in (
        ("bias", network.free, n_couplings),
        ("nudge", network.outputs, n_couplings + n_bias),
    ):
        for k, node in enumerate(nodes):
            size = elements.maximum[first + k] * np.sin(theta[rows[f"{kind}_amplitude"]][k] / 2)
            turn = theta[rows[f"{kind}_phase"]][k] - whole[node]
            h[free_index[node]] += size * np.exp(1j * turn)
    return h


@dataclass
class Case:
    """Equations far from a solution: nothing may hold at an equilibrium only."""

    rig: Rig
    equations: Equations
    seen: Equilibria
    values: FloatArray

    def plain(self, values: FloatArray, k: int) -> tuple[ComplexArray, FloatArray]:
        """Return local fields and radii of equilibrium k."""
        elements, detection = self.equations.unpack(values)
        phase, radius = detection.phases(self.seen.voltage_V[[k]])
        assert self.seen.turns is not None
        phase = phase[0] - self.seen.turns[k] @ values[self.equations.layout["turn"]]
        theta = elements.theta(self.seen.power_W[[k]])[0]
        return local_fields(self.rig, elements, theta, phase), radius[0]

    def stiffness(self, k: int) -> FloatArray:
        elements, detection = self.equations.unpack(self.values)
        assert self.seen.turns is not None
        phase = detection.phases(self.seen.voltage_V[[k]])[0][0]
        phase = phase - self.seen.turns[k] @ self.values[self.equations.layout["turn"]]
        theta = elements.theta(self.seen.power_W[[k]])[0]
        every = np.eye(len(phase))
        return -along(lambda at: local_fields(self.rig, elements, theta, at).imag, phase, every)


def along(
    function: Callable[[FloatArray], FloatArray], at: FloatArray, directions: FloatArray
) -> FloatArray:
    """Return (n_out, n_directions) central differences."""
    made = []
    for direction in directions.T:
        step = 1e-5 / np.abs(direction / np.maximum(1.0, np.abs(at))).max() * direction
        change = function(at + step) - function(at - step)
        made.append(change * (np.abs(direction).max() / (2 * np.abs(step).max())))
    return np.stack(made, axis=1)


def case(name: str, local: bool, detectors: bool) -> Case:
    rig, rng = rig_of(name), np.random.default_rng(3)
    model, figures = NetworkModel(rig), draw_truths(rig, 3).figures
    elements = Elements.of(figures, model.n_edges)
    elements = replace(elements, log_ratio=0.2 * rng.normal(size=model.n_edges))
    phase = rng.uniform(-np.pi, np.pi, (DRIVES, model.n_free))
    amplitude = 1 + 0.05 * rng.normal(size=(DRIVES, 2 * model.n_free))
    seen = Equilibria(
        rng.uniform(0, 2, (DRIVES, model.n_heaters)) * figures.half_wave_power_W,
        amplitude * np.concatenate([np.cos(phase), np.sin(phase)], axis=1),
        rng.uniform(1e-3, 3e-3, model.n_free),
        rng.normal(size=(DRIVES, 2)),
    )
    inner = np.asarray((rig.network.free_index[rig.network.edges] >= 0).all(axis=1))
    slopes = np.eye(model.n_heaters, dtype=bool) | expected_crosstalk(rig)
    one = Equations(
        model, elements, Detection.of(figures), seen, Free(slopes, inner, detectors), Prior(), local
    )
    values = one.first.copy()
    values[one.layout["turn"]] = [0.3, -0.2]
    return Case(rig, one, seen, values)


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("detectors", [True, False])
def test_normal_equations_are_those_of_the_dense_jacobian(local: bool, detectors: bool) -> None:
    compare(case("xor_array", local, detectors))


@pytest.mark.parametrize("local", [True, False])
def test_normal_equations_of_a_larger_network_along_random_directions(local: bool) -> None:
    one = case("heater_array", local, detectors=True)
    scale = 1 / np.sqrt(np.diag(summed(one)[0].matrix))
    directions = scale[:, None] * np.random.default_rng(5).normal(size=(one.equations.n, 4))
    compare(one, directions)


def summed(one: Case) -> tuple[Summed, list[Point], list[FloatArray], list[FloatArray]]:
    points = [one.equations.at(one.values, part) for part in PARTS]
    rng = np.random.default_rng(4)
    weights = [rng.uniform(0.2, 1.0, point.angle.shape) for point in points]
    of_radius = [rng.uniform(0.2, 1.0, point.angle.shape) for point in points]
    found = NormalEquations(one.equations).sum_up(points, weights, of_radius)
    return found, points, weights, of_radius


def compare(one: Case, directions: FloatArray | None = None) -> None:
    """Compare with the dense ones, whole or along a few directions of the parameters."""
    directions = np.eye(one.equations.n) if directions is None else directions
    found, points, weights, of_radius = summed(one)
    square, gradients = np.zeros((directions.shape[1],) * 2), []
    for point, weight, weight_of_radius in zip(points, weights, of_radius, strict=True):
        for c, k in enumerate(range(point.part.start, point.part.stop)):
            left, dense = equations_of(one, point, c, k, directions)
            both = np.append(weight[c], weight_of_radius[c])[: len(left)]
            square += dense.T @ (both[:, None] * dense)
            gradients.append(dense.T @ (both * left))
    scale = np.sqrt(np.diag(square))
    matrix = directions.T @ found.matrix @ directions
    assert (scale > 0).all()
    assert np.abs((matrix - square) / np.outer(scale, scale)).max() < 1e-5
    assert np.allclose(found.matrix, found.matrix.T, rtol=1e-12, atol=0)
    size = scale[:, None] * max(float(np.abs(point.angle).max()) for point in points)
    each = directions.T @ found.gradients
    assert np.abs((each - np.stack(gradients, axis=1)) / size).max() < 1e-5


def equations_of(
    one: Case, point: Point, c: int, k: int, directions: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return residuals of equilibrium k (the c-th of its part), and their derivatives."""
    noise = one.seen.noise
    if one.equations.local:
        # The weight counts as a constant, as it does in any reweighted fit.
        start = one.plain(one.values, k)[0]

        def angle(values: FloatArray) -> FloatArray:
            return np.angle(one.plain(values, k)[0] / start) * point.weight[c]

        left = np.angle(start) * point.weight[c]
    else:
        # So does the stiffness: its derivative is multiplied with a residual.
        inverse = np.linalg.inv(one.stiffness(k))

        def angle(values: FloatArray) -> FloatArray:
            return inverse @ one.plain(values, k)[0].imag / noise

        left = angle(one.values)
    assert point.angle[c] == pytest.approx(left, rel=1e-5, abs=1e-6 * float(np.abs(left).max()))
    dense = along(angle, one.values, directions)
    if not one.equations.detectors.size:
        return left, dense
    radius = (one.plain(one.values, k)[1] - 1) / noise
    assert point.radius[c] == pytest.approx(radius)
    of_radius = along(lambda values: one.plain(values, k)[1] / noise, one.values, directions)
    return np.append(left, radius), np.concatenate([dense, of_radius])
