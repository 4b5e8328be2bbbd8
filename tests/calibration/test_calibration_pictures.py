"""Pictures of steps: what is drawn is what was measured, with faults and without."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from memory_session import MemorySession, merged, rig_of

from eqp_hw.calibration.figures import further_figures
from eqp_hw.calibration.pictures.dynamics import dynamics_pictures
from eqp_hw.calibration.pictures.network import network_pictures, read_noise
from eqp_hw.calibration.pictures.readout import readout_pictures
from eqp_hw.calibration.pictures.tomography import tomography_pictures
from eqp_hw.calibration.plots import plot_picture
from eqp_hw.calibration.step import Plot, Step, StepData, StepFit
from eqp_hw.calibration.steps.dynamics import DynamicsStep
from eqp_hw.calibration.steps.network import NetworkStep
from eqp_hw.calibration.steps.readout import ReadoutStep
from eqp_hw.calibration.steps.resistance import ResistanceStep
from eqp_hw.calibration.steps.tomography import TomographyStep
from eqp_hw.rig.load import Channel
from eqp_hw.sim_backends.virtual_lab.plant.truths import draw_truths

pytest.importorskip("matplotlib")

SMALL = NetworkStep(equations_per_figure=6, samples=16)


def axes_of(plot: Plot) -> Any:
    axes = plot_picture(plot).axes[0]
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    assert plot.caption.endswith(".")
    return axes


def taken(session: MemorySession, step: Step) -> tuple[StepData, StepFit]:
    """Return raw data and fit of a step; the session goes on with its figures."""
    data = session.measure(step)
    fit = step.fit(data, session.known, session.rig)
    session.known = merged(session.known, fit)
    session.found = {**session.found, **further_figures([fit])}
    return data, fit


def test_residuals_of_a_sound_rig_fill_the_line_of_the_noise() -> None:
    session = MemorySession(rig_of(), 2)
    session.take(ResistanceStep())
    data, fit = taken(session, ReadoutStep(drives=30))
    fringes, noise = (axes_of(plot) for plot in readout_pictures(data, fit, session.rig))
    points = [line for line in fringes.lines if line.get_marker() == "."]
    assert [len(line.get_xdata()) for line in points] == [30, 30]
    assert "worst" in fringes.get_legend().get_texts()[1].get_text()
    assert len(noise.lines) == session.n_detectors + 1

    data, fit = taken(session, SMALL)
    plots = network_pictures(data, fit, session.rig)
    assert [plot.title for plot in plots] == [
        "Residuals beside the noise",
        "Residuals in time",
        "Half-wave powers",
    ]
    histogram, in_time, powers = (axes_of(plot) for plot in plots)
    heights = np.array([bar.get_height() for bar in histogram.patches])
    assert heights.sum() * 0.2 == pytest.approx(1.0)
    assert float(histogram.get_legend().get_title().get_text().split()[1]) == pytest.approx(
        1.0, abs=0.15
    )
    residual = fit.residuals["phase"]
    shown = in_time.lines[0].get_ydata()
    assert np.sqrt((shown**2).mean()) == pytest.approx(1e3 * np.sqrt((residual**2).mean()))
    crosses = next(line for line in powers.lines if line.get_marker() == "x")
    assert crosses.get_xdata().tolist() == [0]  # joins the inputs, and is never seen


def test_noise_of_a_read_is_that_of_the_detectors() -> None:
    session = MemorySession(rig_of(), 2)
    session.take(ResistanceStep())
    data, fit = taken(session, SMALL)
    noise = read_noise(data, fit, session.rig)
    assert noise is not None
    expected = session.rig.settings.virtual_lab.detector_noise_V / np.sqrt(16)
    assert noise == pytest.approx(expected / fit.figures["readout_amplitude_V"].mean(), rel=0.2)


def test_a_heater_that_was_not_found_is_marked() -> None:
    dead = replace(draw_truths(rig_of(), 3), dead=frozenset([Channel("heaters", 7)]))
    session = MemorySession(rig_of(), 3, truths=dead, meters=False)
    session.take(ResistanceStep())
    data, fit = taken(session, SMALL)
    axes = axes_of(network_pictures(data, fit, session.rig)[-1])
    crosses = next(line for line in axes.lines if line.get_marker() == "x")
    assert crosses.get_xdata().tolist() == [0, 7]  # 0 joins the inputs and is never seen


def test_couplings_and_the_way_to_rest() -> None:
    session = MemorySession(rig_of(), 4)
    for step in (ResistanceStep(), ReadoutStep(drives=30), SMALL):
        session.take(step)
    data, fit = taken(session, TomographyStep())
    (couplings,) = (axes_of(plot) for plot in tomography_pictures(data, fit, session.rig))
    assert [text.get_text() for text in couplings.get_legend().get_texts()] == ["J_ij", "J_ji"]
    assert len(couplings.containers) == 2
    data, fit = taken(session, DynamicsStep())
    (rest,) = (axes_of(plot) for plot in dynamics_pictures(data, fit, session.rig))
    assert len(rest.lines) == len(data["jump_s"]) + 1
    wait_ms = 1e3 * float(fit.figures["settle.typical_s"])
    assert rest.lines[-1].get_xdata()[0] == pytest.approx(wait_ms)
