"""What does not come from the nudge: drift cancels to and fro, a skew by a null contrast."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from bench_substrates import Drifting, Skewed
from estimator_bench import NETWORK, controller, emulator, estimate, measured, relative, setting

from eqp_hw.data.dataset import Split
from eqp_hw.learning.encodings import OneHotTarget
from eqp_hw.learning.estimators import ESTIMATORS, Centred, make_estimator
from eqp_hw.learning.interleave import joined
from eqp_hw.learning.optimisers import GradientDescent, OptimiserState, RateTable
from eqp_hw.learning.state import TrainingState
from eqp_hw.learning.task import Task
from eqp_hw.learning.training import Trainer, TrainingOptions
from eqp_hw.learning.update import Update, UpdateOptions
from eqp_hw.physics.parameters import Parameters
from eqp_hw.substrate import Measurement, Reading, Substrate

BETA, RATE, SKEW = 0.02, 1e-4, 1e-3


@pytest.mark.parametrize("kind", ["centred", "alternative", "richardson"])
def test_to_and_fro_cancels_linear_drift(kind: str) -> None:
    """+ − − + with one read each against + + − − with as many reads in all."""
    clean = estimate(kind, BETA)
    errors = {}
    for interleave in (False, True):
        made = controller(
            make_estimator(kind),
            BETA,
            substrate=Drifting(emulator(), RATE),
            repeats=2,
            interleave=interleave,
        )
        errors[interleave] = relative(measured(made).gradient.flatten(), clean)
    assert errors[True] < errors[False] / 10


def test_two_ways_are_joined_across_the_cut_and_the_worse_outcome_counts() -> None:
    substrate = emulator()
    parameters, inputs, _ = setting()
    substrate.write_parameters(parameters)
    substrate.set_inputs(inputs)
    substrate.reset(1)
    outcome = substrate.settle()
    phases = np.full((4, 7), 3.1)
    there = Reading(phases, np.full_like(phases, 0.03), 1, 0.0, 1.0)
    back = Reading(-phases, np.full_like(phases, 0.04), 2, 2.0, 3.0)
    bad = dataclasses.replace(
        outcome,
        status=np.array([0, 1, 0, 0], dtype=np.uint8),
        hop=np.array([False, False, True, False]),
        residual=np.array([0.0, 0.0, 0.0, 1.0]),
        certified=np.array([True, True, True, False]),
    )
    for one, other in ((outcome, bad), (bad, outcome)):
        found = joined(Measurement(one, there), Measurement(other, back))
        assert np.allclose(np.abs(found.reading.phases), np.pi)
        assert np.allclose(found.reading.standard_error, 0.025)
        assert (found.reading.count, found.reading.ended_s) == (3, 3.0)
        assert found.outcome.settled.tolist() == [True, False, True, True]
        assert found.outcome.hop.tolist() == [False, False, True, False]
        assert found.outcome.residual[3] == 1.0
        assert not found.outcome.certified[3]


def test_one_sided_estimates_suffer_most_from_drift() -> None:
    """The free state is read first: no order of one nudge helps."""
    clean = estimate("one-sided", BETA)
    plain, fro = (
        relative(
            estimate(
                "one-sided",
                BETA,
                substrate=Drifting(emulator(), RATE),
                repeats=2,
                interleave=interleave,
            ),
            clean,
        )
        for interleave in (False, True)
    )
    assert fro == pytest.approx(plain, rel=1e-6)


def test_null_contrast_measures_a_constant_skew() -> None:
    clean = estimate("centred", BETA)
    made = controller(Centred(), BETA, substrate=Skewed(emulator(), SKEW))
    skewed = measured(made).gradient
    null = made.gradient(*setting()[1:], (0,), nothing=True)
    assert null.displacement_max < 10 * SKEW
    corrected = skewed.map(np.subtract, null.gradient).flatten()
    before, after = relative(skewed.flatten(), clean), relative(corrected, clean)
    assert before > 0.05
    assert after < before / 10
    # Without any skew there is nothing to measure.
    calm = controller(Centred(), BETA).gradient(*setting()[1:], (0,), nothing=True)
    assert np.abs(calm.gradient.flatten()).max() < 1e-12


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_every_estimator_finds_nothing_where_nothing_is_done(kind: str) -> None:
    found = controller(make_estimator(kind), BETA).gradient(*setting()[1:], (0,), nothing=True)
    assert (found.used, found.hops) == (4, 0)
    assert np.abs(found.gradient.flatten()).max() < 1e-7
    assert found.displacement_max < 1e-8


def _trained(substrate: Substrate, null_every: int) -> Parameters:
    """Parameters after two epochs of plain descent on the samples of the bench."""
    parameters, inputs, _ = setting()
    labels = np.array([0, 1, 1, 0])
    read_out, rows = OneHotTarget(2), np.arange(4)
    task = Task(
        inputs, read_out.encode(labels), labels, Split(rows, rows, rows, disjoint=False), read_out
    )
    made = controller(Centred(), BETA, substrate=substrate)
    update = Update(
        NETWORK, substrate.capabilities, GradientDescent(), RateTable(0.02), UpdateOptions()
    )
    options = TrainingOptions(
        epochs=2, null_every=null_every, selection="last", validate_every=0, probe_samples=4
    )
    return (
        Trainer(made, task, update, options, made.streams).run(TrainingState(parameters)).parameters
    )


def test_training_subtracts_the_null_contrast() -> None:
    start = setting()[0].flatten()
    clean = _trained(emulator(), 0).flatten() - start
    drawn = _trained(Skewed(emulator(), SKEW), 0).flatten() - start
    nulled = _trained(Skewed(emulator(), SKEW), 1).flatten() - start
    assert relative(drawn, clean) > 0.05
    assert relative(nulled, clean) < relative(drawn, clean) / 10


@pytest.mark.parametrize(("control", "real", "imaginary"), [("none", 0, 0), ("amplitude", 1, 0)])
def test_only_bias_parts_that_the_substrate_controls_move(
    control: str, real: int, imaginary: int
) -> None:
    found = measured(controller(Centred(), BETA))
    able = dataclasses.replace(emulator().capabilities, bias_control=control)
    update = Update(NETWORK, able, GradientDescent(), RateTable(1.0), UpdateOptions())
    master = setting()[0]
    moved, _ = update.step(master, OptimiserState(), found, None, 0)
    bias = moved.bias - master.bias
    assert np.allclose(bias.real, -real * found.gradient.bias.real)
    assert np.allclose(bias.imag, -imaginary * found.gradient.bias.imag)
    assert np.abs(found.gradient.bias.imag).max() > 1e-3
    assert np.allclose(moved.coupling - master.coupling, -found.gradient.coupling)
