"""Pictures of steps: what is drawn is what was measured, with faults and without."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from memory_session import MemorySession, merged, rig_of
from nstep_samples import stepped_rig

from eqp_hw.calibration.figures import further_figures
from eqp_hw.calibration.layout import StoredStep
from eqp_hw.calibration.pictures.dynamics import dynamics_pictures
from eqp_hw.calibration.pictures.network import network_pictures, read_noise
from eqp_hw.calibration.pictures.readout import readout_pictures
from eqp_hw.calibration.pictures.resistance import resistance_pictures
from eqp_hw.calibration.pictures.sweeps import beside_joint_fit, sweep_pictures
from eqp_hw.calibration.pictures.tomography import tomography_pictures
from eqp_hw.calibration.plots import figures_picture, plain_figures, plot_picture
from eqp_hw.calibration.report import step_figures
from eqp_hw.calibration.step import Plot, RawArray, Step, StepData, StepFit
from eqp_hw.calibration.steps.dynamics import DynamicsStep
from eqp_hw.calibration.steps.network import NetworkStep
from eqp_hw.calibration.steps.readout import ReadoutStep
from eqp_hw.calibration.steps.resistance import ResistanceStep
from eqp_hw.calibration.steps.sweeps import SweepStep
from eqp_hw.calibration.steps.tomography import TomographyStep
from eqp_hw.rig.calibration import nominal_calibration
from eqp_hw.rig.load import Channel, Rig
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
        "Crosstalk against distance",
    ]
    histogram, in_time, powers, _ = (axes_of(plot) for plot in plots)
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
    axes = axes_of(network_pictures(data, fit, session.rig)[2])
    crosses = next(line for line in axes.lines if line.get_marker() == "x")
    assert crosses.get_xdata().tolist() == [0, 7]  # 0 joins the inputs and is never seen


def test_couplings_and_the_way_to_rest() -> None:
    session = MemorySession(rig_of(), 4)
    for step in (ResistanceStep(), ReadoutStep(drives=30), SMALL):
        session.take(step)
    data, fit = taken(session, TomographyStep())
    couplings, index = (axes_of(plot) for plot in tomography_pictures(data, fit, session.rig))
    assert [text.get_text() for text in couplings.get_legend().get_texts()] == ["J_ij", "J_ji"]
    assert len(couplings.containers) == 2
    shown = [bar.lines[0].get_ydata()[0] for bar in index.containers]
    assert shown == [fit.figures["reciprocity_index"], fit.figures["probed_index"]]
    data, fit = taken(session, DynamicsStep())
    (rest,) = (axes_of(plot) for plot in dynamics_pictures(data, fit, session.rig))
    assert len(rest.lines) == len(data["jump_s"]) + 2
    wait_ms = 1e3 * float(fit.figures["settle.typical_s"])
    assert rest.lines[-1].get_xdata()[0] == pytest.approx(wait_ms)
    # At rest the largest of all detectors is at the noise of a look, or over: half the time each.
    noise = rest.lines[-2].get_ydata()[0]
    late = np.abs(data["jump_V"] - data["jump_end_V"][:, None, :]).max(axis=2)[:, -10:]
    assert np.median(late) == pytest.approx(noise, rel=0.35)


# --- pure functions on made-up figures
def swept(rig: Rig, bow: dict[int, float], error: float = 1e-3) -> tuple[StepData, StepFit]:
    """Return sweeps of straight lines, some of them bent by so many rad at mid power."""
    nominal, levels = nominal_calibration(rig), 6
    n = len(nominal.resistance_ohm)
    share = np.linspace(0.0, 1.0, levels)
    power = np.zeros((n, levels, n))
    power[np.arange(n), :, np.arange(n)] = 2 * share * nominal.half_wave_power_W[:, None]
    theta = 0.3 + 2 * np.pi * np.tile(share, (n, 1))
    for row, size in bow.items():
        theta[row] += 4 * size * share * (1 - share)
    volts = np.sqrt(power.reshape(-1, n) * nominal.resistance_ohm)
    data = StepData({"setpoint_V": RawArray(volts, "V")})
    errors = {"sweep_phase": np.full(theta.shape, error)}
    return data, StepFit({"sweep_phase": theta}, errors)


def test_a_heater_that_is_not_linear_in_power_is_named() -> None:
    rig = rig_of()
    data, fit = swept(rig, {5: 0.05})
    fit.figures["sweep_phase"][7] = np.nan  # broken: held at zero, not swept
    fit.uncertainties["sweep_phase"][9, 2] = 0.5  # the node hardly feels it there
    fit.figures["sweep_phase"][9, 2] += 1.0
    against, off = sweep_pictures(data, fit, rig)
    assert "1 phases are not drawn" in against.caption
    axes = axes_of(against)
    assert len(axes.lines) == len(rig.wiring.heaters) - 1 + 1  # not 7; the nominal line
    assert axes.lines[0].get_ydata() == pytest.approx(np.linspace(0, 2, 6))
    axes = axes_of(off)
    assert axes.get_legend().get_texts()[0].get_text().startswith("heaters:5: ")
    bow = np.asarray(axes.containers[0].lines[0].get_ydata())
    # A parabola beside its straight line: 4·50 mrad·(x(1 − x) − 2/15) at x = 0, .2, .4.
    assert bow[:3] == pytest.approx(200 * (np.array([0.0, 0.16, 0.24]) - 2 / 15), abs=1e-6)
    assert all(
        np.abs(line.get_ydata()).max() < 1e-6 for line in axes.lines if len(line.get_xdata()) == 5
    )


def test_sweeps_without_errors_of_phases_have_no_such_pictures() -> None:
    rig = rig_of()
    data, fit = swept(rig, {})
    assert sweep_pictures(data, StepFit(fit.figures), rig) == []
    assert sweep_pictures(StepData({}), fit, rig) == []
    data, fit = swept(rig, {}, error=1.0)
    assert sweep_pictures(data, fit, rig) == []


def test_figures_found_twice_are_compared_in_standard_errors() -> None:
    power, crosstalk = np.array([1.0, 2.0, np.nan]), np.full((3, 3), np.nan)
    crosstalk[0, 1] = 0.02
    np.fill_diagonal(crosstalk, 1.0)
    some = np.zeros((3, 3))
    some[0, 1] = 0.003
    swept_ = StepFit(
        {"sweep_half_wave_power_W": power, "sweep_crosstalk": crosstalk},
        {"sweep_half_wave_power_W": np.full(3, 0.03), "sweep_crosstalk": some},
    )
    joint = StepFit(
        {"half_wave_power_W": power - [0.1, 0, 0], "crosstalk": crosstalk + 0.01},
        {"half_wave_power_W": np.full(3, 0.04), "crosstalk": some * 4 / 3},
    )
    powers, pairs = (axes_of(plot) for plot in beside_joint_fit(swept_, joint))
    np.testing.assert_allclose(powers.lines[0].get_ydata(), [2.0, 0.0, np.nan], atol=1e-12)
    assert pairs.get_legend().get_title().get_text() == "rms 2.00, 1 pairs"
    assert beside_joint_fit(swept_, StepFit({})) == []
    assert SweepStep().comparisons(swept_, {}) == []


@pytest.mark.parametrize("rig", [rig_of(), stepped_rig()], ids=["iq", "n-step"])
def test_open_and_stuck_heaters_are_marked(rig: Rig) -> None:
    n = len(rig.wiring.heaters)
    ohm, error = np.full(n, 1.1 * rig.settings.calibration.resistance_ohm), np.full(n, 0.5)
    open_, stuck = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    (sound,) = resistance_pictures(
        StepData({}), StepFit({"resistance_ohm": ohm}, {"resistance_ohm": error}), rig
    )
    assert sound.caption.endswith("No channel is open or stuck.")
    assert axes_of(sound).get_legend() is None
    open_[3], stuck[6], ohm[[3, 6, 9]] = True, True, np.nan
    figures = {"resistance_ohm": ohm, "open_heaters": open_, "stuck_heaters": stuck}
    (plot,) = resistance_pictures(StepData({}), StepFit(figures, {"resistance_ohm": error}), rig)
    axes = axes_of(plot)
    marks = {line.get_label(): list(line.get_xdata()) for line in axes.lines}
    assert (marks["open"], marks["stuck"], marks["no meter"]) == ([3], [6], [9])
    shown = axes.containers[0].lines[0]
    assert len(shown.get_xdata()) == n - 3
    assert shown.get_ydata() == pytest.approx(10.0)
    assert resistance_pictures(StepData({}), StepFit({}), rig) == []


@pytest.mark.parametrize("rig", [rig_of(), stepped_rig()], ids=["iq", "n-step"])
def test_crosstalk_is_drawn_by_distance(rig: Rig) -> None:
    n = len(rig.wiring.heaters)
    crosstalk, error = np.eye(n), np.full((n, n), np.nan)
    np.fill_diagonal(error, 0.0)
    crosstalk[4, 3], crosstalk[3, 5], error[4, 3], error[3, 5] = 0.03, 0.007, 0.001, 0.001
    fit = StepFit({"crosstalk": crosstalk}, {"crosstalk": error})
    (plot,) = network_pictures(StepData({}), fit, rig)
    axes = axes_of(plot)
    points = axes.containers[0].lines[0]
    found = dict(zip(np.rint(points.get_xdata()), points.get_ydata(), strict=True))
    assert found == {1: pytest.approx(3.0), 2: pytest.approx(0.7)}
    levels = [line.get_ydata()[0] for line in axes.lines if line is not points]
    assert levels == pytest.approx([100 * x for x in rig.settings.calibration.crosstalk[:2]])


def stored(name: str, fit: StepFit) -> StoredStep:
    return StoredStep(name, "", "", "", 0.0, "", StepData({}), fit)


def test_nominal_values_are_lines_and_nothing_is_shown_twice() -> None:
    rig = rig_of()
    nominal = nominal_calibration(rig)
    found = {"coupling_maximum": nominal.coupling_maximum + np.arange(10) / 10}
    step = stored("network", StepFit({**found, "crosstalk": np.eye(20) + np.eye(20, k=1)}))
    assert list(plain_figures(step)) == ["coupling_maximum", "crosstalk"]
    assert list(plain_figures(step, own=True)) == ["coupling_maximum"]
    (axes,) = figures_picture(step, nominal, own=True).axes
    assert axes.lines[-1].get_ydata() == [nominal.coupling_maximum[0]] * 2
    (axes,) = figures_picture(step, None, own=True).axes
    assert len(axes.lines) == 1
    # Of a rig file that cannot be read, or a step that nobody knows, all is shown.
    assert [one.title for one in step_figures(step, None, None)] == ["Figures"]


def test_a_report_compares_sweeps_with_the_joint_fit() -> None:
    rig = rig_of()
    power = nominal_calibration(rig).half_wave_power_W
    error = np.full(len(power), 1e-5)
    fit = StepFit({"sweep_half_wave_power_W": power}, {"sweep_half_wave_power_W": error})
    joint = StepFit({"half_wave_power_W": power}, {"half_wave_power_W": error})
    made = step_figures(stored("sweeps", fit), SweepStep(), rig, {"network": joint})
    assert [one.title for one in made] == ["Half-wave powers found twice"]
    assert step_figures(stored("sweeps", fit), SweepStep(), rig) == []


def test_a_dead_detector_leaves_the_other_nodes_fringes() -> None:
    rig = rig_of()
    n = len(rig.network.free)
    turn = np.linspace(0, 2 * np.pi, 16)
    volts = np.tile(np.stack([np.cos(turn), np.sin(turn)]), (n, 1, 1))
    volts[0] = 0.7
    radius = np.tile(1e-3 * np.arange(n), (len(turn), 1))
    radius[:, 0] = np.nan
    fit = StepFit(
        {
            "readout_offset_V": np.zeros((2, n)),
            "readout_amplitude_V": np.ones((2, n)),
            "quadrature_error": np.zeros(n),
        },
        residuals={"radius": radius},
    )
    data = StepData({"detector_V": RawArray(np.concatenate([volts[:, 0], volts[:, 1]]).T)})
    (plot,) = readout_pictures(data, fit, rig)
    words = [text.get_text() for text in axes_of(plot).get_legend().get_texts()]
    assert words[-1] == f"worst: node {rig.network.free[-1]}, rms 2.0e-03 of its radius"
