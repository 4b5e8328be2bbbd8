"""Shifters that drift while they are measured: what is told of it, and errors that count it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import final

import numpy as np
import pytest
from memory_session import MemorySession, rig_of
from truth_comparison import Compared, compare
from typing_extensions import override

from eqp_hw.calibration.fits.network_drift import walk_shapes
from eqp_hw.calibration.fits.network_model import Elements
from eqp_hw.calibration.step import StepFit
from eqp_hw.calibration.steps.network import NetworkStep
from eqp_hw.calibration.steps.readout import ReadoutStep
from eqp_hw.calibration.steps.resistance import ResistanceStep
from eqp_hw.network.graph import FloatArray

SEEDS = range(1, 11)
DRIFTS = (0.3e-3, 1e-3)
NETWORK = NetworkStep(equations_per_figure=6, samples=16)
MOVED = (
    "half_wave_power_W",
    "phase_offset",
    "crosstalk",
    "coupling_maximum",
    "bias_maximum",
    "nudge_maximum",
)


@final
class DriftingSession(MemorySession):
    """Writes down how far all shifters have drifted at each drive."""

    def begin(self) -> None:
        self.drifted: list[FloatArray] = []

    @override
    def record(self, name: str, values: object, unit: str = "", description: str = "") -> None:
        super().record(name, values, unit, description)
        if name == "detector_V":
            figures = self.plant.truths.figures
            power = self.setpoint_V**2 / figures.resistance_ohm
            steady = Elements.of(figures, self.rig.network.n_edges).theta(power[None, :])[0]
            self.drifted.append(self.plant.shifter_phases() - steady)


@dataclass
class Drifted:
    drift: float
    compared: Compared

    @property
    def network(self) -> StepFit:
        return self.compared.fits[-1]


def calibrated(drift: float, seed: int) -> Drifted:
    session = DriftingSession(rig_of(drift_per_sqrt_s=drift), seed)
    session.begin()
    fits = [session.take(ResistanceStep()), session.take(ReadoutStep())]
    session.begin()
    fits.append(session.take(NETWORK))
    return Drifted(drift, compare(session, fits, np.mean(session.drifted, axis=0)))


@pytest.fixture(scope="module", params=DRIFTS)
def drifting(request: pytest.FixtureRequest) -> list[Drifted]:
    return [calibrated(request.param, seed) for seed in SEEDS]


def inside(values: list[FloatArray]) -> float:
    return float((np.abs(np.concatenate(values)) < 1).mean())


def test_errors_are_honest_of_figures_at_the_mean_of_the_drift(drifting: list[Drifted]) -> None:
    values = [one.compared.in_sigma[name] for one in drifting for name in MOVED]
    assert sum(len(one) for one in values) > 1000
    assert inside(values) == pytest.approx(0.68, abs=0.10)
    assert np.sqrt((np.concatenate(values) ** 2).mean()) < 1.3


@pytest.mark.parametrize("figure", ["half_wave_power_W", "phase_offset", "crosstalk"])
def test_errors_of_each_figure_are_honest(drifting: list[Drifted], figure: str) -> None:
    values = [one.compared.in_sigma[figure] for one in drifting]
    slack = 0.10 + 2 * np.sqrt(0.68 * 0.32 / sum(len(one) for one in values))
    assert inside(values) == pytest.approx(0.68, abs=slack)


def test_the_drift_is_told_and_how_fast_it_is(drifting: list[Drifted]) -> None:
    found = []
    for one in drifting:
        warnings = [f.text for f in one.network.findings if f.level == "warning"]
        told = [
            re.match(r"shifters drift, by some (\S+) mrad/sqrt\(s\)", text) for text in warnings
        ]
        assert len(told) == 1
        assert told[0] is not None
        found.append(1e-3 * float(told[0][1]))
        assert [str(f) for f in one.network.findings if f.level == "fault"] == []
    assert np.median(found) == pytest.approx(drifting[0].drift, rel=0.2)
    assert np.abs(np.log(np.array(found) / drifting[0].drift)).max() < np.log(1.7)


@pytest.mark.parametrize("seed", range(1, 6))
def test_steady_shifters_are_not_said_to_drift(seed: int) -> None:
    one = calibrated(0.0, seed)
    assert [f.text for f in one.network.findings if "drift" in f.text] == []
    assert inside(list(one.compared.in_sigma.values())) == pytest.approx(0.68, abs=0.15)


@pytest.mark.parametrize("m", [3, 20, 300])
def test_shapes_are_those_of_a_walk_about_its_mean(m: int) -> None:
    steps = np.minimum.outer(np.arange(m), np.arange(m)).astype(float)
    without_mean = np.eye(m) - 1 / m
    covariance = without_mean @ steps @ without_mean
    shapes = walk_shapes(m)
    found = shapes @ shapes.T
    assert np.trace(found) == pytest.approx(np.trace(covariance))
    assert np.linalg.norm(found - covariance) < 0.03 * np.linalg.norm(covariance)
