"""The study's figures against what theory says of each estimator, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from eqp_hw.errors import CapabilityError, ConfigurationError
from eqp_hw.experiment.assemble import Experiment
from eqp_hw.study.estimators import study_estimators
from eqp_hw.study.options import StudyOptions
from eqp_hw.study.result import Study

SHIFTS = (0.025, 0.05, 0.1, 0.2)


def _experiment(**substrate: object) -> Experiment:
    return Experiment.create(
        task="iris",
        network={"kind": "layered", "hidden": [6]},
        substrate={"kind": "emulator", "threads": 1, **substrate},
        run={"seed": 3, "epochs": 1},
    )


@pytest.fixture(scope="module")
def study() -> Study:
    options = StudyOptions(
        estimators=("one-sided", "centred", "richardson"),
        displacements=SHIFTS,
        noises=(0.0, 1e-2),
        samples=6,
        draws=40,
    )
    return study_estimators(_experiment(), options)


@pytest.mark.parametrize(("name", "order"), [("one-sided", 1), ("centred", 2), ("richardson", 4)])
def test_bias_falls_with_the_order_of_the_estimator(study: Study, name: str, order: int) -> None:
    rows = [row for row in study.at(0.0) if row.estimator == name and row.displacement <= 0.05]
    (low, high) = sorted(rows, key=lambda row: row.displacement)
    slope = np.log(high.error / low.error) / np.log(high.displacement / low.displacement)
    assert slope == pytest.approx(order, abs=0.15)


def test_noise_of_a_small_nudge_is_that_of_the_weights(study: Study) -> None:
    """Where bias is negligible the error is noise/β: halving β doubles it."""
    rows = {row.displacement: row.error for row in study.at(1e-2) if row.estimator == "richardson"}
    assert rows[0.05] / rows[0.1] == pytest.approx(2.0, rel=0.25)
    # Also where a single noisy read would show a shift of this size without any nudge.
    assert rows[0.025] / rows[0.05] == pytest.approx(2.0, rel=0.25)
    # Richardson: variance 3.6σ²/β² against .5σ²/β² of centred, at half the reads of each state.
    centred = {row.displacement: row.error for row in study.at(1e-2) if row.estimator == "centred"}
    assert rows[0.05] / centred[0.05] == pytest.approx(np.sqrt(3.6 / 0.5 * 2), rel=0.25)


def test_reads_are_shared_out_among_states(study: Study) -> None:
    for row in study.rows:
        assert row.states * row.repeats <= study.reads
        assert row.used + row.lost == study.samples


def test_displacement_is_what_was_asked_for(study: Study) -> None:
    betas = [row.beta for row in study.at(0.0) if row.estimator == "one-sided"]
    assert betas == sorted(betas)
    assert betas[1] / betas[0] == pytest.approx(2.0, rel=0.2)


def test_automatic_choice_is_made_at_every_noise_and_comes_near_the_best(study: Study) -> None:
    quiet, loud = study.choices
    assert (quiet.noise, loud.noise) == (0.0, 1e-2)
    assert quiet.reason != loud.reason
    # One β for all samples, against the grid's own β for each.
    assert quiet.error < 1e-4 < loud.error < 2.5 * loud.best
    assert loud.best == min(row.error for row in study.at(1e-2))
    assert loud.repeats * 2 <= study.reads


def test_no_estimator_reads_more_than_there_are_reads() -> None:
    options = StudyOptions(
        estimators=("centred", "chebyshev"),
        displacements=(0.1,),
        noises=(0.0, 1e-3),
        reads=4,
        samples=2,
        draws=2,
    )
    found = study_estimators(_experiment(), options)
    assert {row.estimator for row in found.at(0.0)} == {"centred", "chebyshev"}
    assert {row.estimator for row in found.at(1e-3)} == {"centred"}


def test_estimators_that_do_not_fit_are_left_out_with_the_reason() -> None:
    experiment = _experiment(nudge_sites="outputs")
    options = StudyOptions(
        estimators=("centred", "transposed"), displacements=(0.1,), noises=(0.0,), samples=2
    )
    found = study_estimators(experiment, options)
    assert {row.estimator for row in found.rows} == {"centred"}
    assert "hidden nodes" in found.refused["transposed"]


def test_imperfections_of_the_file_are_part_of_the_study() -> None:
    """Disorder that nobody knows of makes an error that no small nudge removes."""
    options = StudyOptions(
        estimators=("centred",), displacements=(0.025,), noises=(0.0,), samples=4
    )
    ideal = study_estimators(_experiment(), options).rows[0]
    disordered = _experiment(imperfections=[{"kind": "coupling-disorder", "relative": 0.1}])
    real = study_estimators(disordered, options).rows[0]
    assert real.error > 20 * ideal.error


def test_what_cannot_be_studied_is_refused() -> None:
    few = StudyOptions(displacements=(0.1,), noises=(0.0,), samples=2)
    with pytest.raises(CapabilityError, match=r"substrate\.kind = 'langevin'"):
        study_estimators(
            Experiment.create(
                task="iris", network={"kind": "layered", "hidden": [6]}, substrate="langevin"
            ),
            few,
        )
    with pytest.raises(ConfigurationError, match="no such estimator"):
        study_estimators(_experiment(), StudyOptions(estimators=("magic",)))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"reads": 0}, "--reads"),
        ({"draws": 1}, "--draws"),
        ({"displacements": (2.0,)}, "--displacements"),
        ({"displacements": ()}, "--displacements"),
        ({"noises": (-1.0,)}, "--noise"),
    ],
)
def test_unusable_grids_are_refused(options: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        StudyOptions(**options)  # type: ignore[arg-type]
    assert caught.value.field == field
