"""The measured reciprocity index against the exact response."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from nonreciprocal_networks import STRENGTHS, Setting, settings

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import CapabilityError, ConfigurationError
from eqp_hw.learning.controller import Controller, ControllerOptions
from eqp_hw.learning.costs import Cosine
from eqp_hw.learning.estimators import ESTIMATORS, OneSided
from eqp_hw.learning.reciprocity import measure_reciprocity, reciprocity_of, remedy_for
from eqp_hw.physics.exact_gradient import response
from eqp_hw.physics.parameters import Parameters
from eqp_hw.randomness import RandomStreams
from eqp_hw.sim_backends.emulator import XYEmulator
from eqp_hw.sim_backends.emulator_options import EmulatorOptions


def _truth(one: Setting) -> float:
    """Return the exact index where the first sample of address (0, 0) rests."""
    network = one.network
    purpose = "reciprocity"
    free = one.controller.free_round(one.inputs, one.targets, (0, 0), purpose).free.phases
    chi = response(network, one.parameters, free, network.free)[0][network.free]
    return float(np.linalg.norm(chi - chi.T) / 2 / np.linalg.norm(chi))


@pytest.mark.parametrize("strength", [STRENGTHS[0.03], STRENGTHS[0.13]])
def test_within_ten_percent_at_64_probes(strength: float) -> None:
    for one in settings(strength, 2):
        truth = _truth(one)
        exact = measure_reciprocity(one.controller, one.inputs)  # 64 orthogonal torques
        assert exact.index == pytest.approx(truth, rel=2e-3)
        assert exact.probes == 64
        assert exact.plain_error == pytest.approx(2 * exact.index)
        # Independent torques, as where there are more nodes than probes.
        independent = measure_reciprocity(one.controller, one.inputs, probes=63)
        assert independent.index == pytest.approx(truth, rel=0.1)
        assert abs(independent.index - truth) < 3 * independent.standard_error
        assert "plain nudges are off by about" in str(exact)


def _random_index(rng: np.random.Generator, probes: int) -> tuple[float, float]:
    """Return estimate and standard error for one fixed 30 × 30 response of index truth."""
    signs = rng.choice([-1.0, 1.0], (probes, 30))
    return reciprocity_of(signs, signs @ _CHI.T)


_CHI = np.random.default_rng(5).normal(size=(30, 30)) + 3 * np.eye(30)
_TRUTH = float(np.linalg.norm(_CHI - _CHI.T) / 2 / np.linalg.norm(_CHI))


def test_unbiased_over_torques_with_an_honest_standard_error() -> None:
    rng = np.random.default_rng(6)
    found = np.array([_random_index(rng, 16) for _ in range(300)])
    assert found[:, 0].mean() == pytest.approx(_TRUTH, rel=0.02)
    # A jackknife over torques, each of which enters many pairs, errs on the large side.
    assert 0.9 < found[:, 1].mean() / found[:, 0].std() < 1.4


def test_the_index_predicts_the_error_of_plain_nudges() -> None:
    """For torques of random direction: |q − δ| is 2r of |δ|, and ⟨q·δ⟩/⟨|δ|²⟩ = 1 − 2r²."""
    torques = np.random.default_rng(7).normal(size=(20_000, 30))
    q, delta = torques @ _CHI.T, torques @ _CHI
    size = (delta**2).sum(axis=1).mean()
    off = np.sqrt(((q - delta) ** 2).sum(axis=1).mean() / size)
    assert off == pytest.approx(2 * _TRUTH, rel=0.02)
    assert (q * delta).sum(axis=1).mean() / size == pytest.approx(1 - 2 * _TRUTH**2, abs=0.02)


def test_read_noise_is_taken_off() -> None:
    rng = np.random.default_rng(8)
    symmetric = _CHI + _CHI.T
    found, raw = [], []
    for _ in range(40):
        signs = rng.choice([-1.0, 1.0], (64, 30))
        turned = signs @ symmetric + rng.normal(0, 2.0, (64, 30))
        found.append(reciprocity_of(signs, turned, np.full((64, 30), 2.0))[0])
        raw.append(reciprocity_of(signs, turned)[0])
    assert np.mean(raw) > 3 * np.mean(found)


def test_reciprocal_networks_have_none_and_samples_astray_are_left_out() -> None:
    one = settings(0.0, 1)[0]
    one.controller.program(Parameters(one.parameters.coupling, one.parameters.bias))
    assert measure_reciprocity(one.controller, one.inputs, probes=32).index < 1e-3
    violent = measure_reciprocity(one.controller, one.inputs, probes=4, torque=50.0)
    assert np.isnan(violent.index)
    assert np.isnan(violent.per_sample).all()


def test_bad_input() -> None:
    one = settings(0.1, 1)[0]
    with pytest.raises(ConfigurationError, match="probes"):
        measure_reciprocity(one.controller, one.inputs, probes=1)
    with pytest.raises(ConfigurationError, match="torque"):
        measure_reciprocity(one.controller, one.inputs, torque=0.0)
    blind = XYEmulator(one.network, EmulatorOptions(nudge_sites="outputs"))
    controller = Controller(blind, Cosine(), OneSided(), ControllerOptions(), RandomStreams(0))
    with pytest.raises(CapabilityError, match="nudges at hidden nodes"):
        measure_reciprocity(controller, one.inputs)


def test_remedies_follow_from_index_and_capabilities() -> None:
    able = Capabilities(
        nudge_nodes=(0,), hidden_nudge=True, directed_couplings=True, fast_reprogramming=True
    )
    assert remedy_for(0.01, able)[0] == "centred"
    assert remedy_for(0.2, able)[0] == "transposed"
    slow = dataclasses.replace(able, fast_reprogramming=False)
    assert remedy_for(0.2, slow)[0] == "asymmetric"
    blind = dataclasses.replace(able, hidden_nudge=False)
    kind, reason = remedy_for(0.2, blind)
    assert kind == "alternative"
    assert "homeostasis" in reason
    assert "no remedy" in remedy_for(0.2, Capabilities(nudge_nodes=(0,)))[1]
    assert {"centred", "transposed", "asymmetric", "alternative"} <= set(ESTIMATORS)
