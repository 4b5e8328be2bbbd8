"""An estimator that a substrate cannot serve is refused in one sentence that says what would do."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from bench_substrates import Around
from estimator_bench import (
    NETWORK,
    controller,
    emulator,
    exact,
    free_round,
    measured,
    relative,
    setting,
)

import eqp_hw
from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import CapabilityError, ConfigurationError
from eqp_hw.learning.costs import Cosine
from eqp_hw.learning.estimators import (
    ESTIMATORS,
    Alternative,
    Chebyshev,
    fitting_estimators,
    make_estimator,
)
from eqp_hw.physics.exact_gradient import exact_gradient
from eqp_hw.physics.parameters import Parameters

LACKS = [
    ("centred", {"signed_nudge": False}, "nudges of both signs"),
    ("random-sign", {"signed_nudge": False}, "nudges of both signs"),
    ("richardson", {"nudge_levels": (0.05,)}, "2 nudge amplitudes in the ratio 0.5 : 1"),
    ("alternative", {"state_restore": False}, "return to a stored free equilibrium"),
    ("chebyshev", {"nudge_levels": (0.05, 0.1)}, "4 nudge amplitudes in the ratio 0.19"),
    ("chebyshev", {"signed_nudge": False}, "nudges of both signs"),
    ("cauchy", {"complex_nudge": False}, "a complex nudge"),
    ("lock-in", {"oscillating_nudge": False}, "an oscillating nudge"),
    ("coupled", {"phase_clamp": False}, "clamped output phases"),
    ("dual", {"replicas": 1}, "2 replicas of the network side by side"),
]


@pytest.mark.parametrize(
    ("kind", "able", "missing"), LACKS, ids=[f"{k}-{m[:9]}" for k, _, m in LACKS]
)
def test_what_is_missing_is_named_with_what_would_do(kind, able, missing) -> None:
    poor = Around(emulator(), **able)
    with pytest.raises(CapabilityError) as info:
        controller(make_estimator(kind), 0.05, substrate=poor)
    assert info.value.problem.startswith("this substrate does not offer ")
    assert missing in info.value.problem
    assert (info.value.field, info.value.value) == ("estimator.kind", kind)
    alternatives = (info.value.allowed or "").split(", ")
    assert "one-sided" in alternatives
    assert kind not in alternatives
    for name in alternatives:
        ESTIMATORS[name]().requirements.check(poor.capabilities, name, ())


def test_every_estimator_can_be_made_without_options_and_served_by_the_emulator() -> None:
    assert fitting_estimators(emulator().capabilities) == list(ESTIMATORS)
    for name, cls in ESTIMATORS.items():
        assert cls().name == name
        assert cls.description
        assert len(cls.description) < 80


def test_coupled_learning_does_not_clamp_beyond_the_target() -> None:
    for eta, passes in ((1.0, True), (1.5, False)):
        made = controller(make_estimator("coupled"), eta)
        if passes:
            made.estimator.check(free_round(made))
            continue
        with pytest.raises(ConfigurationError, match=r"estimator\.beta = 1\.5"):
            made.estimator.check(free_round(made))


def test_levels_that_are_chebyshev_nodes_serve() -> None:
    """Four nodes need two amplitudes, in the ratio tan(π/8)."""
    factors = sorted(Chebyshev(4).requirements.amplitudes)
    assert factors[0] / factors[1] == pytest.approx(np.tan(np.pi / 8))
    able = Capabilities(nudge_nodes=(1,), nudge_levels=tuple(0.1 * f for f in factors))
    assert not Chebyshev(4).requirements.missing(able)
    assert Chebyshev(8).requirements.missing(able)


def test_a_lock_in_too_fast_for_the_network_is_refused_before_there_is_a_run(tmp_path) -> None:
    experiment = eqp_hw.Experiment.create(
        task="xor",
        network={"kind": "layered", "hidden": [3]},
        estimator={"kind": "lock-in", "angular_frequency": 20.0},
        run={"epochs": 1, "seed": 5},
    )
    with pytest.raises(CapabilityError, match=r"^estimator.angular_frequency = 20.0: too fast"):
        experiment.run(tmp_path / "run.h5")
    assert not list(tmp_path.iterdir())


def test_the_alternative_formula_tells_the_directions_of_a_bond_apart() -> None:
    """Held as directed, J_ij and J_ji of a reciprocal network have gradients of their own."""
    parameters, inputs, targets = setting()
    directed = dataclasses.replace(parameters, coupling_reverse=parameters.coupling.copy())
    made = controller(Alternative(), 2e-3)
    made.program(directed)
    found = made.gradient(inputs, targets, (0,)).gradient
    phases = measured(controller(Alternative(), 2e-3)).free_phases
    slope = np.zeros_like(phases)
    slope[:, NETWORK.outputs] = Cosine().gradient(phases[:, NETWORK.outputs], targets)
    truth = exact_gradient(NETWORK, directed, phases, slope, np.full(4, 0.25))
    assert found.coupling_reverse is not None
    assert truth.coupling_reverse is not None
    assert relative(found.flatten(), truth.flatten()) < 1e-4
    assert relative(found.coupling_reverse, found.coupling) > 0.1
    both = Parameters(found.coupling + found.coupling_reverse, found.bias)
    assert relative(both.flatten(), exact()) < 1e-4
