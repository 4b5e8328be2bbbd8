"""What is broken is left out by what comes after it; what cannot be fitted is no calibration."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from memory_session import EXAMPLES, SPREADS, MemorySession, rig_of

from eqp_hw.calibration.errors import FitError
from eqp_hw.calibration.fits import network_solve
from eqp_hw.calibration.fits.clipping import clip_levels, unclipped
from eqp_hw.calibration.latest import highest_drift
from eqp_hw.calibration.step import Step, StepFit
from eqp_hw.calibration.steps.dynamics import DynamicsStep
from eqp_hw.calibration.steps.network import NetworkStep
from eqp_hw.calibration.steps.readout import ReadoutStep
from eqp_hw.calibration.steps.resistance import ResistanceStep
from eqp_hw.calibration.steps.sweeps import SweepStep
from eqp_hw.calibration.steps.tomography import TomographyStep
from eqp_hw.drivers.errors import LimitError
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.load import Channel, Rig, make_rig
from eqp_hw.sim_backends.virtual_lab.plant.truths import draw_truths

HEATERS = [Channel("heaters", number) for number in range(20)]
NETWORK = NetworkStep(equations_per_figure=6, samples=16)
FIRST: tuple[Step, ...] = (ResistanceStep(), ReadoutStep(), NETWORK)
LATER: tuple[Step, ...] = (SweepStep(), TomographyStep(), DynamicsStep(jumps=4, repeats=2))


def told(fit: StepFit) -> list[str]:
    return [str(one) for one in fit.findings if one.level != "note"]


def take(session: MemorySession, steps: tuple[Step, ...]) -> list[StepFit]:
    return [session.take(step) for step in steps]


# -- heaters ------------------------------------------------------------------------------------
@pytest.mark.parametrize("row", [7, 13])
def test_later_steps_leave_a_dead_heater_out(row: int) -> None:
    truths = replace(draw_truths(rig_of(), 3), dead=frozenset([HEATERS[row]]))
    session = MemorySession(rig_of(), 3, truths=truths)
    *_, network = take(session, FIRST)
    assert [one.split(" ")[0] for one in told(network)] == [f"heaters:{row}:"]
    for fit in take(session, LATER):
        assert told(fit) == []
        prediction = fit.residuals.get("predicted_phase", np.zeros(1))
        assert np.abs(prediction).max() < 0.02


@pytest.mark.parametrize(("one", "two"), [(13, 16), (3, 7)])
def test_later_steps_leave_swapped_channels_out(one: int, two: int) -> None:
    wired = {HEATERS[one]: HEATERS[two], HEATERS[two]: HEATERS[one]}
    session = MemorySession(rig_of(), one, wired=wired)
    take(session, FIRST)
    for fit in take(session, LATER):
        assert told(fit) == []


# -- limits -------------------------------------------------------------------------------------
def powered(total_power_W: float) -> Rig:
    content = tomllib.loads((EXAMPLES / "xor_array.toml").read_text())
    content["virtual_lab"] |= SPREADS
    content["instruments"]["heaters"]["limits"]["total_power_W"] = total_power_W
    return make_rig(content)


@pytest.mark.parametrize(("total_power_W", "recommends"), [(0.5, True), (0.3, False)])
def test_all_steps_stay_within_a_tight_sum_of_powers(
    total_power_W: float, recommends: bool
) -> None:
    session = MemorySession(powered(total_power_W), 2)
    take(session, FIRST)
    _, tomography, dynamics = take(session, LATER)
    assert told(tomography) == []
    assert np.isfinite(dynamics.figures["estimator.beta"]) == recommends
    assert any("limits leave no room" in text for text in told(dynamics)) == (not recommends)


def test_a_heater_without_room_is_named_by_its_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    from eqp_hw.calibration.steps import dynamics

    session = MemorySession(rig_of(), 2)
    heard: list[str] = []
    monkeypatch.setattr(type(session), "highest_W", property(lambda self: np.full(20, 1e-3)))
    step = DynamicsStep(jumps=2, repeats=1)
    plain = step._nudge

    def hear(*given: Any) -> None:
        try:
            plain(*given)
        except LimitError as error:
            heard.append(str(error))
            raise

    monkeypatch.setattr(step, "_nudge", hear)
    session.measure(step)
    assert len(heard) == dynamics._DRAWS
    assert all("heaters:" in text for text in heard)
    assert not any("heater 1" in text for text in heard)


# -- detectors ----------------------------------------------------------------------------------
def below(level_V: float) -> Callable[[FloatArray, float], FloatArray]:
    def clipped(voltage: FloatArray, _: float) -> FloatArray:
        voltage[:, 0] = np.minimum(voltage[:, 0], level_V)
        return voltage

    return clipped


@pytest.mark.parametrize("level_V", [0.6, 0.7])
def test_clipped_reads_are_not_fitted(level_V: float) -> None:
    session = MemorySession(rig_of(), 5, detectors=below(level_V))
    truth = session.plant.truths.figures
    _, readout, network = take(session, FIRST)
    assert [one for one in told(readout) if "clipped" not in one] == []
    assert "digitiser:0: clipped above" in told(readout)[0]
    assert "drives had clipped detectors" in told(network)[0]
    assert float(network.figures["chi_square"]) < 1.3
    for fit in (readout, network):
        for name in ("readout_offset_V", "readout_amplitude_V", "quadrature_error"):
            away = (fit.figures[name] - getattr(truth, name)) / fit.uncertainties[name]
            assert np.abs(away).max() < 4


def test_too_few_reads_that_are_whole_are_no_calibration() -> None:
    session = MemorySession(rig_of(), 5, detectors=below(-0.5))
    session.take(ResistanceStep())
    with pytest.raises(FitError, match=r"digitiser:0: clipped; detectors are at .* of 49 drives"):
        session.take(NetworkStep(equations_per_figure=1, least=40))


def test_no_level_is_seen_where_none_is() -> None:
    rng = np.random.default_rng(1)
    phase = rng.uniform(0, 2 * np.pi, (400, 3))
    conversions = np.cos(phase)[:, None] + rng.normal(0, 2e-3, (400, 16, 3))
    mean, scatter = conversions.mean(axis=1), conversions.std(axis=1, ddof=1)
    assert np.isinf(clip_levels(mean, scatter)).all()
    assert unclipped(mean, scatter).all()
    stuck = np.full((400, 3), 0.7)
    assert np.isinf(clip_levels(stuck, np.zeros((400, 3)))).all()


def test_a_faint_fringe_is_no_dead_detector() -> None:
    def faint(voltage: FloatArray, _: float) -> FloatArray:
        voltage[:, 1] = 0.01 + 0.03 * (voltage[:, 1] - 0.01)
        return voltage

    session = MemorySession(rig_of(), 4, detectors=faint)
    _, readout, network = take(session, FIRST)
    assert [one.level for one in readout.findings] == ["warning"]
    assert "digitiser:1: its fringe is 3.2 % of that stated" in told(readout)[0]
    assert np.isfinite(readout.figures["readout_amplitude_V"]).all()
    assert told(network) == []


# -- fits that are none -------------------------------------------------------------------------
def test_a_fit_that_runs_out_of_steps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = network_solve.fit_network
    monkeypatch.setattr(
        network_solve,
        "fit_network",
        lambda *given, **more: plain(*given, **{**more, "steps": 2 if more.get("local") else 0}),
    )
    with pytest.raises(FitError, match=r"did not converge: after 0 steps .*half_wave_power_W"):
        take(MemorySession(rig_of(), 1), FIRST)


def test_residuals_far_above_the_noise_are_refused() -> None:
    rng = np.random.default_rng(2)

    def unsteady(voltage: FloatArray, _: float) -> FloatArray:
        return voltage + rng.normal(0, 0.015, voltage.shape[1])

    with pytest.raises(FitError, match=r"a poor one: .*chi-square .*nothing that is known"):
        take(MemorySession(rig_of(), 1, detectors=unsteady), FIRST)


def test_what_a_wrong_model_predicts_is_still_a_phase() -> None:
    session = MemorySession(rig_of(), 1)  # nominal figures: offsets are anywhere
    fit = session.take(TomographyStep(probed=2))
    assert np.abs(fit.residuals["predicted_phase"]).max() <= np.pi
    assert (fit.figures["prediction_error"] <= np.pi).all()


# -- drift --------------------------------------------------------------------------------------
@pytest.mark.parametrize("drift", [0.0, 0.3e-3, 1e-3])
def test_the_walk_over_the_network_step_is_that_of_the_shifters(drift: float) -> None:
    found = []
    for seed in range(1, 6):
        *_, fit = take(MemorySession(rig_of(drift_per_sqrt_s=drift), seed), FIRST)
        walk = float(fit.figures["shifter_walk"])
        assert walk + 2 * float(fit.uncertainties["shifter_walk"]) > drift
        found.append(walk)
        limit = highest_drift(file_of((fit.figures["drift_walk"], fit.uncertainties["drift_walk"])))
        # A still rig is known to be one: within seconds a thousandth of a radian.
        assert limit is not None
        assert limit < 2e-4 + 3.5 * drift
    assert np.median(found) == pytest.approx(drift, rel=0.25, abs=1e-4)


def file_of(*walks: tuple[FloatArray, FloatArray | None]) -> Any:
    fits = [
        StepFit({"drift_walk": walk}, {} if error is None else {"drift_walk": error})
        for walk, error in walks
    ]
    return SimpleNamespace(steps={str(k): SimpleNamespace(fit=one) for k, one in enumerate(fits)})


def test_the_upper_limit_of_a_drift_is_what_counts() -> None:
    zero = np.zeros(3)
    hides = file_of((zero, np.full(3, 7e-4)))
    assert highest_drift(hides) == pytest.approx(np.sqrt(2) * 7e-4)
    # A step that looks for longer knows better: squares are joined by inverse variance.
    known = file_of((zero, np.full(3, 7e-4)), (np.full(3, 1e-5), np.full(3, 1e-5)))
    assert highest_drift(known) == pytest.approx(np.sqrt(1e-10 + 2 * 3e-10), rel=1e-2)
    assert highest_drift(file_of((np.full(3, 1e-3), None))) == 1e-3
    assert highest_drift(file_of((np.full(3, np.nan), None))) is None
    assert highest_drift(file_of()) is None
