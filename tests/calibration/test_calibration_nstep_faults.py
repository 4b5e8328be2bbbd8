"""N-step read-out: planted faults are found and named, and what is no fringe is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from nstep_samples import NETWORK, QuickSession, stepped_content, stepped_rig, stepped_truth
from typing_extensions import override

from eqp_hw.calibration.errors import FitError
from eqp_hw.calibration.figures import compose
from eqp_hw.calibration.step import Finding, StepFit
from eqp_hw.calibration.steps import STEPS
from eqp_hw.calibration.steps.network import NetworkStep
from eqp_hw.calibration.steps.readout import ReadoutStep
from eqp_hw.drivers.errors import LimitError
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.calibration import nominal_calibration, refuse_incomplete
from eqp_hw.rig.load import Channel, make_rig
from eqp_hw.sim_backends.virtual_lab.plant.truths import draw_truths

RIG = stepped_rig()
READ = ReadoutStep(drives=24, series=128)
SHIFTER = Channel("heaters", 20)


def heater(number: int) -> Channel:
    return Channel("heaters", number)


def faults(fit: StepFit) -> list[Finding]:
    return [finding for finding in fit.findings if finding.level == "fault"]


def session(seed: int = 3, **options: Any) -> QuickSession:
    return QuickSession(RIG, seed, meters=False, **options)


def with_dead(channel: Channel) -> QuickSession:
    return session(truths=replace(draw_truths(RIG, 3), dead=frozenset([channel])))


@pytest.mark.parametrize(
    "made",
    [with_dead(SHIFTER), session(stuck={SHIFTER: 2.0})],
    ids=["dead", "stuck"],
)
def test_a_step_shifter_without_effect_is_named(made: QuickSession) -> None:
    with pytest.raises(FitError, match="the step shifter has no effect: no detector moves"):
        made.take(READ)


def test_another_heater_in_the_step_shifters_place_makes_no_fringes() -> None:
    wired = {SHIFTER: heater(5), heater(5): SHIFTER}
    with pytest.raises(FitError, match="is the step shifter of the rig file the one"):
        session(wired=wired).take(READ)


def test_a_dead_detector_is_named_and_the_others_are_fitted() -> None:
    made = with_dead(Channel("digitiser", 1))
    fit = made.take(READ)
    assert [one.subject for one in faults(fit)] == ["digitiser:1"]
    assert "dead or open detector" in faults(fit)[0].text
    assert np.isfinite(fit.figures["readout_amplitude_V"][0]).tolist() == [True, False, True]
    with pytest.raises(FitError, match=r"free node 1: a fringe without contrast.*mend"):
        made.take(NetworkStep(equations_per_figure=1, least=40))


def test_a_fringe_without_contrast_is_named() -> None:
    rng = np.random.default_rng(0)

    def lost(voltage: FloatArray, _: float) -> FloatArray:
        voltage[:, 2] = 0.4 + 0.3 * rng.normal()  # it moves, but not with the phase
        return voltage

    fit = session(detectors=lost).take(READ)
    assert [one.subject for one in faults(fit)] == ["digitiser:2"]
    assert "a fringe without contrast" in faults(fit)[0].text
    assert np.isnan(fit.figures["readout_offset_V"][0, 2])


def test_no_light_is_no_calibration() -> None:
    def dark(voltage: FloatArray, _: float) -> FloatArray:
        return 0.0 * voltage + 0.01

    with pytest.raises(FitError, match="no detector moves: is there light"):
        session(detectors=dark).take(READ)


def test_clipped_fringes_are_named() -> None:
    def clipped(voltage: FloatArray, _: float) -> FloatArray:
        voltage[:, 0] = np.minimum(voltage[:, 0], 0.6)
        return voltage

    fit = session(detectors=clipped).take(READ)
    assert [one.subject for one in faults(fit)] == ["digitiser:0"]
    assert "clipped above 0.600 V" in faults(fit)[0].text


def test_a_step_shifter_that_is_not_linear_in_power_is_told() -> None:
    made = session()
    made.plant = BentPlant(made.plant)  # type: ignore[assignment]
    fit = made.take(READ)
    told = [one for one in fit.findings if one.subject == str(SHIFTER)]
    assert [one.level for one in told] == ["warning"]
    assert "not linear in power" in told[0].text


class BentPlant:
    """Drives the step shifter by 3 % more at full power than the voltage says."""

    def __init__(self, plant: Any) -> None:
        self._plant = plant

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plant, name)

    def set_voltage(self, instrument: str, channel: int, voltage_V: float) -> None:
        if Channel(instrument, channel) == SHIFTER:
            voltage_V *= 1 + 0.015 * voltage_V**2 / 20.0
        self._plant.set_voltage(instrument, channel, voltage_V)


def test_a_dead_heater_is_named_by_the_network() -> None:
    made = with_dead(heater(13))
    made.take(READ)
    fit = made.take(NETWORK)
    assert [one.subject for one in faults(fit)] == ["heaters:13"]
    assert np.isnan(fit.figures["half_wave_power_W"][13])
    assert np.isfinite(fit.figures["half_wave_power_W"][20])
    assert float(fit.figures["chi_square"]) < 1.3


def test_a_drifting_reference_is_named_and_taken_off() -> None:
    made = DriftingSession(RIG, 3)
    made.take(READ)
    fit = made.take(NETWORK)
    assert [one.subject for one in faults(fit)] == ["reference"]
    assert "+0.002 rad/s" in faults(fit)[0].text
    truth = stepped_truth(made)
    away = made.known.half_wave_power_W / truth.half_wave_power_W - 1
    assert np.abs(away[1:]).max() < 0.002
    assert float(fit.figures["chi_square"]) < 1.3


class DriftingSession(QuickSession):
    """Its reference arm turns all phases by 2 mrad a second."""

    @override
    def read_detectors(self, samples: int = 1) -> FloatArray:
        self.plant.shifter_phases()  # up to now
        shifters = self.plant._shifters
        shifters._drift[-1] = 0.002 * self.plant.now_s
        shifters.version += 1
        return super().read_detectors(samples)


def test_crosstalk_that_nobody_thought_of_is_found_both_ways() -> None:
    truths = draw_truths(RIG, 4)
    crosstalk = truths.figures.crosstalk.copy()
    crosstalk[20, 3] = 0.010  # turns all phases that are read
    crosstalk[5, 20] = 0.008  # moves the network while it is read
    figures = replace(truths.figures, crosstalk=crosstalk)
    made = QuickSession(RIG, 4, truths=replace(truths, figures=figures))
    made.take(READ)
    fit = made.take(NETWORK)
    assert faults(fit) == []
    assert fit.figures["crosstalk"][20, 3] == pytest.approx(0.010, abs=5e-4)
    assert fit.figures["crosstalk"][5, 20] == pytest.approx(0.008, abs=5e-4)


def test_limits_that_leave_no_room_for_the_steps_are_refused() -> None:
    content = stepped_content()
    content["instruments"]["heaters"]["limits"]["voltage_V"] = 3.0
    made = QuickSession(make_rig(content), 3)
    with pytest.raises(LimitError, match="no room for the phase steps") as caught:
        made.take(READ)
    assert "heaters:20" in str(caught.value)
    assert made.writes == 0


def test_steps_that_need_in_phase_detectors_say_so() -> None:
    for step in STEPS:
        reason = step.unavailable_because(RIG)
        assert (reason is None) == (step.name in ("resistance", "readout", "network"))


def test_the_figures_fill_a_calibration_of_the_rig() -> None:
    made = session()
    read = made.take(READ)
    filled, errors = compose(nominal_calibration(RIG), [read], "test")
    refuse_incomplete(RIG, filled)
    assert filled.readout_amplitude_V.shape == (1, 3)
    assert np.isfinite(errors["half_wave_power_W"]).tolist() == [False] * 20 + [True]
    found, true = filled.half_wave_power_W[-1], made.plant.truths.figures.half_wave_power_W[-1]
    # Without meters the power is by the nominal resistance.
    ratio = made.plant.truths.figures.resistance_ohm[-1] / 500.0
    assert found == pytest.approx(true * ratio, rel=0.003)
