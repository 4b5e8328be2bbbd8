"""Tomography on exact equilibria with noise of our own: weights, errors, and the index."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from memory_session import MemorySession, rig_of

from eqp_hw.calibration.fits.network_model import Elements, NetworkModel
from eqp_hw.calibration.fits.tomography import Tomography, reciprocity_index, tomography
from eqp_hw.network.graph import FloatArray

UNEVEN = np.array([2e-4, 1e-3, 3e-3])
"""Noise of the free nodes, rad: one balance hears that of its neighbours most."""
DRAWS = 300


@dataclass(frozen=True)
class Bench:
    """Exact equilibria, couplers held; ``elements`` know nothing of one-sided bonds."""

    model: NetworkModel
    elements: Elements
    power_W: FloatArray
    phases: FloatArray
    forward: FloatArray
    reverse: FloatArray

    def tomogram(
        self, noise: FloatArray, seed: int, elements: Elements | None = None
    ) -> Tomography:
        drawn = noise * np.random.default_rng(seed).normal(size=self.phases.shape)
        known = elements or self.elements
        return tomography(self.model, known, self.power_W, self.phases + drawn, noise)

    @property
    def truth(self) -> FloatArray:
        return np.stack([self.forward, self.reverse])

    def true_index(self) -> float:
        """By the Jacobian written out: bonds with both their couplings, injections."""
        terms, model = self.model.terms, self.model
        theta = self.elements.theta(self.power_W)
        matrix = np.zeros((len(self.phases), model.n_free, model.n_free))
        for k, node in enumerate(terms.node):
            other, edge = terms.other[k], terms.edge[k]
            if edge < 0:
                size = self.elements.maximum[terms.maximum[k]]
                size = size * np.sin(theta[:, terms.strength[k]] / 2)
            else:
                size = (self.forward if terms.side[k] > 0 else self.reverse)[edge]
            toward = self.phases[:, other] if other >= 0 else theta[:, terms.angle[k]]
            bond = size * np.cos(toward - self.phases[:, node])
            matrix[:, node, node] += bond
            if other >= 0:
                matrix[:, node, other] -= bond
        return reciprocity_index(matrix)


def bench(one_sided: float = 0.0, seed: int = 1, count: int = 60) -> Bench:
    """Return equilibria, couplers held; ln(J_ij/J_ji) of the bond 2-3 is ``one_sided``."""
    session, rng = MemorySession(rig_of(), seed), np.random.default_rng(seed)
    model = NetworkModel(session.rig)
    hidden = Elements.of(session.plant.truths.figures, model.n_edges)
    slope = np.diag(np.diag(hidden.slope))  # with crosstalk couplings would not be held
    elements = replace(hidden, slope=slope)
    ratio = np.zeros(model.n_edges)
    ratio[7] = one_sided
    truth = replace(elements, log_ratio=ratio)
    power = rng.uniform(0, 0.06, (count, model.n_heaters))
    power[:, : model.n_couplings] = power[0, : model.n_couplings]
    theta = elements.theta(power)
    phases = rng.uniform(-np.pi, np.pi, (count, model.n_free))
    for _ in range(4000):
        phases = phases + 0.03 * model.local_fields(truth, theta, phases).field.imag
    for _ in range(5):
        local = model.local_fields(truth, theta, phases)
        phases = phases + np.linalg.solve(local.stiffness, local.field.imag[..., None])[..., 0]
    assert np.abs(model.local_fields(truth, theta, phases).field.imag).max() < 1e-10
    coupling = elements.maximum[:10] * np.cos(theta[0, :10])
    forward, reverse = coupling * np.exp(ratio / 2), coupling * np.exp(-ratio / 2)
    return Bench(model, elements, power, phases, forward, reverse)


def test_balances_are_weighted_by_the_noise_of_all_phases_in_them() -> None:
    one = bench()
    made = [one.tomogram(UNEVEN, seed) for seed in range(DRAWS)]
    chi_square = np.mean([each.chi_square for each in made], axis=0)
    # 60 equations less 4 bonds a node, 300 times: known to 1.1 %.
    assert chi_square == pytest.approx(np.ones(3), abs=0.05)
    in_sigma = np.array([(each.found - one.truth) / each.error for each in made])
    for end in in_sigma.reshape(DRAWS, -1).T:
        if np.isfinite(end).all():
            assert np.sqrt((end**2).mean()) == pytest.approx(1.0, abs=0.2)
    known = in_sigma[np.isfinite(in_sigma)]
    assert (np.abs(known) < 1).mean() == pytest.approx(0.68, abs=0.05)


def test_the_fit_is_the_best_one_that_its_weights_allow() -> None:
    """Least squares with the right weights scatter less than those without any."""
    one = bench()
    flat = np.full(3, np.sqrt((UNEVEN**2).mean()))
    scatter = {}
    for name, told in (("right", UNEVEN), ("flat", flat)):
        found = []
        for seed in range(100):
            drawn = UNEVEN * np.random.default_rng(seed).normal(size=one.phases.shape)
            phases = one.phases + drawn
            found.append(tomography(one.model, one.elements, one.power_W, phases, told).found)
        spread = np.std(found, axis=0)
        scatter[name] = spread[np.isfinite(spread)]
    assert np.log(scatter["right"] / scatter["flat"]).mean() < -0.02


@pytest.mark.parametrize("one_sided", [0.0, 0.01, 0.05])
def test_noise_is_taken_off_the_index(one_sided: float) -> None:
    """The mean square of the index as drawn is that of the truth and of the floor together."""
    one = bench(one_sided)
    noise = np.full(3, 2e-3)
    made = [one.tomogram(noise, seed) for seed in range(DRAWS)]
    floor = np.mean([each.index_error for each in made])
    # Where it shows at all, index² has the noise taken off.
    raw = [reciprocity_of(one, each) ** 2 for each in made]
    wanted = one.true_index() ** 2 + floor**2
    assert np.mean(raw) == pytest.approx(wanted, rel=0.12)  # chance; a misfit raises errors only
    for each, square in zip(made, raw, strict=True):
        expected = np.sqrt(max(square - each.index_error**2, 0.0))
        assert each.index == pytest.approx(expected, rel=0.02, abs=1e-5)


def reciprocity_of(one: Bench, made: Tomography) -> float:
    """Return the index of the couplings as found, at the true phases, noise and all."""
    filled = np.where(np.isfinite(made.found), made.found, one.truth)
    return replace(one, forward=filled[0], reverse=filled[1]).true_index()


@pytest.mark.parametrize("bonds", ["inner", "all"])
def test_the_index_is_that_of_the_couplings_found_not_of_those_commanded(bonds: str) -> None:
    """Stiffness, diagonal included, follows what bonds really do."""
    one = bench(0.3)
    maximum = one.elements.maximum.copy()
    wrong = slice(7, 10) if bonds == "inner" else slice(1, 10)
    maximum[wrong] *= np.linspace(0.4, 1.8, 9)[slice(None) if bonds == "all" else slice(6, 9)]
    made = one.tomogram(np.full(3, 1e-6), 0, replace(one.elements, maximum=maximum))
    known = np.isfinite(made.found)
    assert made.found[known] == pytest.approx(one.truth[known], abs=1e-4)
    assert made.index == pytest.approx(one.true_index(), rel=2e-3)
