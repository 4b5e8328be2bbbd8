"""The decision table: pure, within what is served and affordable, and explained in a sentence."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqp_hw.capabilities import Capabilities
from eqp_hw.learning.estimators import Centred, LinearContrast, make_estimator
from eqp_hw.learning.nudge_plan import NudgePlan
from eqp_hw.learning.nudge_strength import NudgeStrength
from eqp_hw.learning.tuning.beta import Recipe, predicted_errors
from eqp_hw.learning.tuning.decision import TABLE, Demands, decide
from eqp_hw.learning.tuning.figures import Curvature, Figures, Noise

ABLE = Capabilities(nudge_nodes=(3,))


def figures(
    sigma: float = 1e-2,
    *,
    samples: int = 3,
    response: float = 3.0,
    curvature: float = 0.5,
    **more: object,
) -> Figures:
    """Return figures of a network whose G(β) is curved like (displacement)²·``curvature``."""
    ones = np.ones(samples)
    odd = curvature * response**2
    curve = Curvature(0.7 * response * ones, odd * ones, odd * ones)
    made = Figures(
        response=response * ones,
        amplitude=ones,
        tried_beta=0.35 / response * ones,
        slope=2 * ones,
        spread=10 * ones,
        curvature={"energy": curve, "displacement": curve},
        noise=Noise(sigma),
        hop_beta=np.inf * ones,
        samples=samples,
        hops=0,
        reads=100,
    )
    return dataclasses.replace(made, **more)


def _states(plan: NudgePlan) -> int:
    estimator = make_estimator(plan.kind, plan.options)
    assert isinstance(estimator, LinearContrast)
    return Recipe.of(estimator)[0].states


@pytest.mark.parametrize(
    ("kind", "options", "noise"),
    [
        ("one-sided", {}, 2.0),
        ("random-sign", {}, 2.0),
        ("centred", {}, 0.5),
        ("richardson", {}, 3.6),
        ("chebyshev", {"nodes": 4}, 5.0),
        ("chebyshev", {"nodes": 8}, 21.0),
    ],
)
def test_noise_of_an_estimator_is_that_of_all_its_states(
    kind: str, options: dict[str, int], noise: float
) -> None:
    """The free state's as well; figures of ep_methods §2."""
    estimator = make_estimator(kind, options)
    assert isinstance(estimator, LinearContrast)
    for recipe in Recipe.of(estimator):
        assert recipe.noise == pytest.approx(noise, abs=0.05)


@pytest.mark.parametrize(
    ("sigma", "kinds"),
    [
        (0.1, {"centred", "alternative"}),
        (1e-2, {"centred", "alternative"}),
        (1e-4, {"richardson", "chebyshev"}),
        (1e-6, {"chebyshev"}),
        (0.0, {"chebyshev"}),
    ],
)
def test_the_order_rises_as_noise_falls(sigma: float, kinds: set[str]) -> None:
    plan = decide(figures(sigma), ABLE, Demands())
    assert plan.kind in kinds
    assert plan.repeats * _states(plan) <= 16


def test_exact_reads_give_the_displacement_asked_for_and_one_read() -> None:
    for displacement in (0.1, 0.2):
        plan = decide(figures(0.0), ABLE, Demands(displacement=displacement))
        assert plan.beta * 3.0 == pytest.approx(displacement)
        assert plan.repeats == 1
        assert not plan.attenuation


def test_beta_of_the_centred_estimate_is_where_theory_puts_it() -> None:
    """β⁶ = σ²·spread·½/(2·N·‖a₃‖²·slope²), to the grid's few per cent."""
    for sigma in (3e-4, 1e-3, 3e-3):
        found = figures(sigma)
        plan = decide(found, ABLE, Demands(kind="centred", repeats=8))
        odd = found.curvature["energy"].odd[0]
        theory = (0.25 * sigma**2 * 10 / (8 * odd**2 * 4)) ** (1 / 6)
        assert plan.beta == pytest.approx(theory, rel=0.07)


def test_reads_are_as_many_as_the_displacement_needs_within_the_budget() -> None:
    many = decide(figures(1e-2), ABLE, Demands(kind="centred", read_budget=1000))
    assert many.repeats == 500  # of 2·(300·0.01/0.15)² = 800 wanted
    enough = decide(figures(5e-3), ABLE, Demands(kind="centred", read_budget=1000))
    assert enough.repeats == 200
    few = decide(figures(5e-4), ABLE, Demands(kind="centred", read_budget=1000))
    assert few.repeats == 2
    bound = decide(figures(1e-2), ABLE, Demands(kind="centred", read_budget=6))
    assert bound.repeats == 3


@pytest.mark.parametrize(
    ("able", "kinds"),
    [
        ({"signed_nudge": False}, {"one-sided"}),
        ({"state_restore": False}, {"one-sided", "random-sign"}),
        ({"nudge_levels": (0.05,)}, {"centred", "alternative"}),
        ({"nudge_levels": (0.03, 0.06, 0.12)}, {"richardson"}),
    ],
)
def test_only_what_the_substrate_serves_is_chosen(able: dict[str, object], kinds: set[str]) -> None:
    capabilities = dataclasses.replace(ABLE, **able)
    plan = decide(figures(1e-5), capabilities, Demands())
    assert plan.kind in kinds
    if capabilities.nudge_levels:
        assert min(abs(plan.beta - level) for level in capabilities.nudge_levels) < 1e-12


def test_directed_networks_get_an_estimator_that_is_made_for_them() -> None:
    made = figures(1e-2, directed=True)
    full = dataclasses.replace(
        ABLE, hidden_nudge=True, directed_couplings=True, fast_reprogramming=True
    )
    assert decide(made, full, Demands()).kind == "transposed"
    assert decide(made, dataclasses.replace(full, fast_reprogramming=False), Demands()).kind in (
        "asymmetric",
        "alternative",
        "centred",
    )


def test_drift_asks_for_to_and_fro_with_even_reads() -> None:
    drifting = figures(1e-2, noise=Noise(1e-2, 0.0, 0.03, 12))
    plan = decide(drifting, ABLE, Demands(read_budget=14))
    assert plan.interleave
    assert plan.repeats == 6
    assert "drifted by 0.03 rad" in plan.reason
    assert not decide(figures(1e-2), ABLE, Demands()).interleave
    assert decide(figures(1e-2), ABLE, Demands(interleave=True)).interleave


def test_attenuation_is_corrected_where_it_matters() -> None:
    assert decide(figures(0.5), ABLE, Demands()).attenuation
    assert not decide(figures(1e-2), ABLE, Demands()).attenuation
    assert decide(figures(1e-2), ABLE, Demands(attenuation=True)).attenuation


@pytest.mark.parametrize(("sigma", "corrected"), [(0.3, True), (0.15, False)])
def test_attenuation_is_that_of_states_as_averaged(sigma: float, corrected: bool) -> None:
    """1 − ⟨cos⟩ of bonds between averages of as many reads as are planned, drawn."""
    plan = decide(figures(sigma), ABLE, Demands(kind="centred", repeats=8))
    assert plan.repeats == 8
    rng = np.random.default_rng(3)
    averages = np.angle(np.exp(1j * sigma * rng.standard_normal((8, 2, 200_000))).sum(axis=0))
    lost = 1 - np.cos(averages[0] - averages[1]).mean()
    # What is told and corrected is what is lost, not what single reads would lose.
    assert plan.attenuation == corrected == (lost > 0.01)
    told = re.findall(r"attenuation by ([\d.e-]+) %", plan.reason)
    assert [float(one) / 100 for one in told] == pytest.approx([lost] * corrected, rel=0.06)


def test_noise_that_does_not_average_out_keeps_the_order_low() -> None:
    clean = decide(figures(1e-4), ABLE, Demands())
    lasting = decide(figures(1e-4, noise=Noise(1e-4, 2e-2)), ABLE, Demands())
    assert clean.kind in ("richardson", "chebyshev")
    assert lasting.kind in ("centred", "alternative")


def test_a_hop_keeps_beta_below_it() -> None:
    free = decide(figures(1e-2), ABLE, Demands())
    hopped = decide(figures(1e-2, hop_beta=np.full(3, free.beta), hops=3), ABLE, Demands())
    assert hopped.beta <= 0.7 * free.beta * (1 + 1e-12)
    assert "3 hops met" in hopped.reason


def test_samples_far_from_their_target_are_nudged_no_farther() -> None:
    field = np.array([0.01, 0.02, 2.0])
    uneven = figures(1e-2, response=3.0, amplitude=field)
    uneven = dataclasses.replace(uneven, response=1.5 * field, tried_beta=0.35 / (1.5 * field))
    plan = decide(uneven, ABLE, Demands())
    assert plan.nudge_limit is not None
    _, beta = NudgeStrength(ABLE, limit=plan.nudge_limit).of(field[:, None] + 0j, plan.beta)
    shift = beta * uneven.response
    assert shift.max() <= 1.5 * plan.beta * uneven.response[1] * (1 + 1e-9)
    assert decide(uneven, ABLE, Demands(beta=0.1)).nudge_limit is None


def test_what_is_fixed_stays() -> None:
    plan = decide(figures(1e-4), ABLE, Demands(beta=0.02, repeats=2))
    assert (plan.beta, plan.repeats) == (0.02, 2)
    plan = decide(figures(1e-4), ABLE, Demands(kind="one-sided"))
    assert plan.kind == "one-sided"
    assert "one-sided was asked for" in plan.reason


def test_without_an_answer_the_plan_in_force_stays() -> None:
    nothing = figures(1e-2, samples=0)
    before = NudgePlan("richardson", 0.2, 4)
    kept = decide(nothing, ABLE, Demands(), before)
    assert (kept.kind, kept.beta, kept.repeats) == ("richardson", 0.2, 4)
    assert "no probe sample answered" in kept.reason
    first = decide(nothing, dataclasses.replace(ABLE, signed_nudge=False), Demands())
    assert (first.kind, first.repeats) == ("one-sided", 8)


@settings(max_examples=60, deadline=None)
@given(
    sigma=st.sampled_from([0.0, 1e-6, 1e-3, 0.1, 2.0]),
    response=st.floats(1e-3, 1e4),
    curvature=st.floats(0, 1e3),
    budget=st.integers(1, 60),
    maximum=st.floats(1e-4, 10),
    signed=st.booleans(),
    restore=st.booleans(),
    drift=st.booleans(),
)
def test_every_choice_can_be_made_and_told(
    sigma: float,
    response: float,
    curvature: float,
    budget: int,
    maximum: float,
    signed: bool,
    restore: bool,
    drift: bool,
) -> None:
    able = dataclasses.replace(
        ABLE, signed_nudge=signed, state_restore=restore, nudge_maximum=maximum
    )
    noise = Noise(sigma, 0.0, 0.1 if drift else 0.0, 9)
    made = figures(sigma, response=response, curvature=curvature, noise=noise)
    demands = Demands(read_budget=budget)
    plan = decide(made, able, demands)
    assert plan == decide(made, able, demands)
    estimator = make_estimator(plan.kind, plan.options)
    assert not estimator.requirements.missing(able)
    assert 0 < plan.beta * max(estimator.requirements.amplitudes) <= maximum * (1 + 1e-9)
    assert plan.beta * response <= 2 * 0.15 * (1 + 1e-9) * 1.2
    assert plan.repeats * _states(plan) <= max(budget, 2)
    assert plan.reason.startswith(plan.kind)
    assert "\n" not in plan.reason
    assert "nan" not in plan.reason
    assert NudgePlan.from_scalars(plan.to_scalars()) == plan


def test_predictions_grow_with_each_cause() -> None:
    beta = np.array([0.05])
    base = predicted_errors(Centred(), figures(1e-3), beta, 4)
    assert predicted_errors(Centred(), figures(2e-3), beta, 4) > base
    assert predicted_errors(Centred(), figures(1e-3, curvature=1.0), beta, 4) > base
    assert predicted_errors(Centred(), figures(1e-3), beta, 8) < base


def test_the_table_can_be_read() -> None:
    for row in TABLE:
        assert row.condition
        assert row.candidates
        for candidate in row.candidates:
            make_estimator(candidate.kind, candidate.options)
