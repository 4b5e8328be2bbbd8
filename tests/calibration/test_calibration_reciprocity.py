"""Reciprocity by probe torques against the hidden network; dead and exchanged bonds by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from memory_session import SPREADS, MemorySession, rig_of

from eqp_hw.calibration.fits.probes import join_probes
from eqp_hw.calibration.rig_session import open_session
from eqp_hw.calibration.step import StepFit
from eqp_hw.calibration.steps.network import NetworkStep
from eqp_hw.calibration.steps.probes import patterns_for
from eqp_hw.calibration.steps.readout import ReadoutStep
from eqp_hw.calibration.steps.resistance import ResistanceStep
from eqp_hw.calibration.steps.tomography import TomographyStep
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.energy import jacobian
from eqp_hw.physics.parameters import Parameters
from eqp_hw.physics.reciprocity import (
    index_of_square,
    random_torques,
    reciprocity_of,
    squared_index,
)
from eqp_hw.sim_backends.virtual_lab.plant.plant import Plant
from eqp_hw.sim_backends.virtual_lab.plant.truths import Truths, draw_truths
from eqp_hw.sim_backends.virtual_lab.twin import Twin

SEEDS = range(1, 11)


def response_of(plant: Plant) -> FloatArray:
    """Return χ of the network as it is, hidden couplings and all."""
    network = plant.rig.network
    forward, reverse = plant.couplings()
    assert network.n_couplings == network.n_edges
    made: FloatArray = np.linalg.inv(
        jacobian(network, Parameters(forward, plant.bias(), reverse), plant.phases()).toarray()
        + np.diag(_nudged(plant))
    )
    return made


def _nudged(plant: Plant) -> FloatArray:
    network = plant.rig.network
    pull = np.zeros(len(network.free))
    turned = np.exp(-1j * plant.phases()[network.outputs])
    pull[network.free_index[network.outputs]] = (turned * plant.nudge()).real
    return pull


def square_of(chi: FloatArray) -> float:
    return float((np.linalg.norm(chi - chi.T) / 2 / np.linalg.norm(chi)) ** 2)


class Watched(MemorySession):
    """Keeps what the network was really like at each equilibrium that is probed."""

    def record(self, name: str, values: object, unit: str = "", description: str = "") -> None:
        super().record(name, values, unit, description)
        if name == "probe_free_V":
            self.hidden = [*getattr(self, "hidden", []), square_of(response_of(self.plant))]


def probed(seed: int, spread: float, *, name: str = "xor_array") -> tuple[StepFit, float]:
    session = Watched(rig_of(name, reciprocity_error=spread), seed)
    session.known = session.plant.truths.figures
    fit = session.take(TomographyStep(least=24, probed=3))
    stayed = np.isfinite(fit.figures["probed_index_each"])
    assert stayed.sum() >= 2
    return fit, float(np.sqrt(np.array(session.hidden)[stayed].mean()))


@pytest.mark.parametrize("spread", [0.05, 0.3])
def test_the_probed_index_is_that_of_the_hidden_network(spread: float) -> None:
    found, errors, hidden = [], [], []
    for seed in SEEDS:
        fit, exact = probed(seed, spread)
        found.append(float(fit.figures["probed_index"]))
        errors.append(float(fit.uncertainties["probed_index"]))
        hidden.append(exact)
    away = np.array(found) - hidden
    assert np.median(np.abs(away) / hidden) < 0.08
    assert np.abs(away).max() < max(0.003, 0.04 * max(hidden))
    # The error of the fields as made comes on top of the reads'.
    assert (np.abs(away) < errors).sum() >= 5
    assert np.sqrt(((away / errors) ** 2).mean()) < 2.0
    assert np.median(hidden) > 8 * np.median(errors)  # far from nothing


def test_a_reciprocal_rig_has_none_within_its_error() -> None:
    inside = []
    for seed in SEEDS:
        fit, exact = probed(seed, 0.0)
        assert exact < 1e-9
        index, error = fit.figures["probed_index"], fit.uncertainties["probed_index"]
        inside.append(float(index) < 2 * float(error))
        assert float(index) < 0.005
        assert float(error) < 0.005
        assert float(fit.figures["response_mismatch"]) < 0.02
        assert not [one for one in fit.findings if one.subject == "network"]
    assert sum(inside) >= 8


def test_a_larger_rig() -> None:
    fit, exact = probed(2, 0.1, name="heater_array")
    assert float(fit.figures["probed_index"]) == pytest.approx(exact, rel=0.05)
    told = [one for one in fit.findings if one.subject == "network"]
    assert bool(told) == (exact > 0.05)


def test_one_sided_bonds_since_the_calibration_show_in_the_probes() -> None:
    session = MemorySession(rig_of(), 1)
    for step in (ResistanceStep(), ReadoutStep(), NetworkStep(equations_per_figure=6, samples=16)):
        session.take(step)
    ratio = np.random.default_rng(1).normal(0, 0.5, 10)
    later = Watched(rig_of(), 1, truths=replace(draw_truths(rig_of(), 1), reciprocity=ratio))
    later.known = session.known
    fit = later.take(TomographyStep(least=24))
    exact = float(np.sqrt(np.mean(later.hidden)))
    assert exact > 0.05
    assert float(fit.figures["probed_index"]) == pytest.approx(exact, rel=0.05)
    (told,) = [one for one in fit.findings if one.subject == "network"]
    assert told.level == "warning"
    assert "plain nudges are off by about" in told.text


def test_through_real_wires() -> None:
    known = {name: 0.0 for name in SPREADS if name != "detector_noise_V"}
    rig = rig_of(**known, reciprocity_error=0.3)  # nominal figures are true but for the bonds
    step, hidden = TomographyStep(least=24, probed=3), []
    with Twin(rig, truth_seed=3) as twin, open_session(twin.rig, guarded=False) as session:
        plain = session.record

        def record(name: str, values: object, unit: str = "", description: str = "") -> None:
            plain(name, values, unit, description)
            if name == "probe_free_V":
                hidden.append(square_of(response_of(twin.plant)))

        session.begin_step(np.random.default_rng(1))
        session.record = record  # type: ignore[method-assign]
        fit = step.fit(step.measure(session), session.known, twin.rig)
    stayed = np.isfinite(fit.figures["probed_index_each"])
    exact = float(np.sqrt(np.array(hidden)[stayed].mean()))
    assert stayed.sum() >= 2
    assert exact > 0.03
    assert float(fit.figures["probed_index"]) == pytest.approx(exact, rel=0.05)


def planted(seed: int, truths: Truths) -> StepFit:
    session = MemorySession(rig_of(), seed, truths=truths)
    session.known = draw_truths(rig_of(), seed).figures
    return session.take(TomographyStep(probed=2))


def test_dead_bonds_are_named() -> None:
    for seed in SEEDS:
        truths = draw_truths(rig_of(), seed)
        bond = int(np.random.default_rng(seed).integers(1, 10))  # bond 0 is between inputs
        maximum = truths.figures.coupling_maximum.copy()
        maximum[bond] = 1e-6
        figures = replace(truths.figures, coupling_maximum=maximum)
        fit = planted(seed, replace(truths, figures=figures))
        told = [one for one in fit.findings if one.level == "fault"]
        if abs(fit.figures["coupling_commanded"][bond]) > 0.3:
            assert [one.subject.split(" (")[0] for one in told] == [f"bond {bond}"]
            assert told[0].text.startswith("dead")


def test_exchanged_bonds_are_named_and_no_others() -> None:
    named = 0
    for seed in SEEDS:
        truths = draw_truths(rig_of(), seed)
        one, two = np.sort(np.random.default_rng(seed).choice(np.arange(1, 10), 2, replace=False))
        order = np.arange(20)
        order[[one, two]] = two, one
        of = truths.figures
        figures = replace(
            of,
            half_wave_power_W=of.half_wave_power_W[order],
            phase_offset=of.phase_offset[order],
            crosstalk=of.crosstalk[order],
            coupling_maximum=of.coupling_maximum[order[:10]],
        )
        fit = planted(seed, replace(truths, figures=figures))
        told = [found for found in fit.findings if "swapped" in found.text]
        if told:
            assert [found.subject.split(" (")[0] for found in told] == [f"bond {one}"]
            assert f"bond {two} (" in told[0].text
            named += 1
    # Those told much the same at these settings cannot be: the network step finds them.
    assert named >= 8


# --- the formulas


def test_both_formulas_agree_and_errors_are_right_at_zero() -> None:
    rng = np.random.default_rng(3)
    for n in (3, 8, 13):
        chi = rng.normal(size=(n, n)) + 3 * np.eye(n)
        signs = random_torques(patterns_for(n), n, rng)
        assert signs.T @ signs == pytest.approx(len(signs) * np.eye(n))
        by_pairs, _ = reciprocity_of(signs, signs @ chi.T)
        square, error = squared_index(chi, np.zeros((n, n)))
        assert np.sqrt(square) == pytest.approx(by_pairs)
        assert error == 0.0
    for chi in (np.eye(6) + np.ones((6, 6)) / 3, rng.normal(size=(6, 6)) + 3 * np.eye(6)):
        noise, exact = np.full((6, 6), 0.05), square_of(chi)
        found = np.array(
            [squared_index(chi + noise * rng.normal(size=(6, 6)), noise) for _ in range(600)]
        )
        scatter = found[:, 0].std()
        assert found[:, 0].mean() == pytest.approx(exact, abs=4 * scatter / np.sqrt(600))
        assert np.median(found[:, 1]) == pytest.approx(scatter, rel=0.15)


def test_index_of_square() -> None:
    assert index_of_square(0.04, 1e-4) == pytest.approx((0.2, 1e-4 / 0.4), rel=1e-3)
    assert index_of_square(-1e-5, 1e-4) == pytest.approx((0.0, 0.01))


def test_equilibria_that_hopped_are_left_out() -> None:
    session = MemorySession(rig_of(), 1)
    session.known = session.plant.truths.figures
    step = TomographyStep(least=24)
    data = session.measure(step)
    good = step.fit(data, session.known, session.rig)
    seen = data["probe_V"].copy()
    seen[1, 0, 0] = np.roll(seen[1, 0, 0], 3)  # one read far away
    raw = {**data.arrays, "probe_V": replace(data.arrays["probe_V"], values=seen)}
    fit = step.fit(replace(data, arrays=raw), session.known, session.rig)
    each = fit.figures["probed_index_each"]
    assert np.isnan(each).tolist() == [False, True, False, False]
    assert each[[0, 2, 3]] == pytest.approx(good.figures["probed_index_each"][[0, 2, 3]])
    assert [str(one) for one in fit.findings] == [
        "probe torques: 1 of 4 equilibria left their basin under torques"
    ]
    assert np.isnan(join_probes([]).index)
