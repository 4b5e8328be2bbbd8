"""The automatic choice against the best that could have been chosen, on fifty random networks.

Constants of `eqp_hw.learning.tuning` were set on networks of seeds 100 and above.
"""

from __future__ import annotations

import numpy as np
import pytest
from random_networks import Sample, random_network, sample_of

from eqp_hw.learning.controller import Controller, ControllerOptions
from eqp_hw.learning.costs import LogCosine
from eqp_hw.learning.estimators import LinearContrast, OneSided, make_estimator
from eqp_hw.learning.nudge_plan import NudgePlan
from eqp_hw.learning.tuning.decision import Demands
from eqp_hw.learning.tuning.planner import AutoPlanner
from eqp_hw.randomness import RandomStreams
from eqp_hw.sim_backends.emulator import EmulatorOptions, XYEmulator
from eqp_hw.sim_backends.imperfections.registry import parse_imperfections, wrap_substrate

READS = 16
BETAS = np.geomspace(4e-3, 1.5, 24)
ALL = (
    ("one-sided", {}),
    ("random-sign", {}),
    ("centred", {}),
    ("alternative", {}),
    ("richardson", {}),
    ("chebyshev", {"nodes": 4}),
    ("chebyshev", {"nodes": 6}),
    ("chebyshev", {"nodes": 8}),
)


def _network(seed: int, sigma: float) -> tuple[Sample, NudgePlan, int]:
    """Return the exact sample, the plan made through noise, and the reads that took."""
    network, parameters, inputs, targets = random_network(seed)
    options = EmulatorOptions(threads=1)
    sample = sample_of(XYEmulator(network, options), parameters, inputs, targets)
    noise = parse_imperfections([{"kind": "readout-noise", "sigma": sigma}])
    noisy = wrap_substrate(lambda graph: XYEmulator(graph, options), network, noise, seed)
    controller = Controller(noisy, LogCosine(), OneSided(), ControllerOptions(), RandomStreams(1))
    controller.program(parameters)
    planner = AutoPlanner(Demands(read_budget=READS))
    plan = planner.plan(controller, inputs, targets, (0,), None)
    assert planner.figures is not None
    return sample, plan, planner.figures.reads


def _estimator(kind: str, options: dict[str, object]) -> LinearContrast:
    made = make_estimator(kind, options)
    assert isinstance(made, LinearContrast)
    return made


def _states(estimator: LinearContrast) -> int:
    contrast = estimator.contrast(1, np.random.default_rng(0))
    return len(contrast.factors) + int(contrast.free_weight.any())


def test_at_a_hundredth_of_a_radian_the_choice_is_near_the_best_on_fifty_networks() -> None:
    ratios = []
    for seed in range(50):
        sample, plan, _ = _network(seed, 1e-2)
        chosen = _estimator(plan.kind, dict(plan.options))
        spent = plan.repeats * _states(chosen)
        assert spent <= READS
        (error,) = sample.relative_errors(chosen, np.array([plan.beta]), 1e-2, spent)
        best = min(sample.best(_estimator(*each), BETAS, 1e-2, READS) for each in ALL)
        ratios.append(error / best)
    assert np.mean(ratios) < 1.05
    assert np.max(ratios) < 1.2


@pytest.mark.parametrize("sigma", [1e-4, 1e-5])
def test_at_low_noise_a_higher_order_is_chosen_and_as_good_as_it_can_be(sigma: float) -> None:
    ratios = []
    for seed in range(12):
        sample, plan, _ = _network(seed, sigma)
        assert plan.kind in ("richardson", "chebyshev")
        assert "higher order" in plan.reason
        chosen = _estimator(plan.kind, dict(plan.options))
        spent = plan.repeats * _states(chosen)
        (error,) = sample.relative_errors(chosen, np.array([plan.beta]), sigma, spent)
        could = [e for e in (_estimator(*each) for each in ALL) if _states(e) <= spent]
        ratios.append(error / min(sample.best(e, BETAS, sigma, spent) for e in could))
    assert np.median(ratios) < 1.25


def test_with_strong_noise_two_states_are_chosen() -> None:
    plans = [_network(seed, 3e-2)[1] for seed in range(8)]
    assert {plan.kind for plan in plans} <= {"centred", "alternative"}
    assert {plan.repeats for plan in plans} == {READS // 2}
