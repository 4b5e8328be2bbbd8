"""Two small steps on the sample rig of tests, and a rig file for them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from eqp_hw.calibration.errors import FitError
from eqp_hw.calibration.session import Session
from eqp_hw.calibration.step import Finding, Plot, Step, StepData, StepFit
from eqp_hw.experiment.toml_file import render_toml
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig, load_rig

CONTENT: dict[str, Any] = {
    "rig": {"name": "sample"},
    "network": {"kind": "layered", "sizes": [2, 3, 1]},
    "instruments": {
        "heaters": {
            "kind": "qontrol",
            "address": "serial:/dev/ttyUSB0",
            "modules": 3,
            "timeout_s": 0.5,
            "resistance_ohm": 500.0,
            "limits": {"voltage_V": 8.0, "total_power_W": 2.5},
        },
        "detectors": {
            "kind": "scpi-digitiser",
            "address": "tcp:127.0.0.1:5025",
            "timeout_s": 0.5,
        },
    },
    "wiring": {
        "couplings": ["heaters:0-8"],
        "inputs": ["heaters:9-10"],
        "bias_amplitude": ["heaters:11-14"],
        "bias_phase": ["heaters:15-18"],
        "nudge_amplitude": ["heaters:19"],
        "nudge_phase": ["heaters:20"],
        "gain_switch": "heaters:21",
    },
    "readout": {
        "kind": "iq",
        "in_phase": ["detectors:0-3"],
        "quadrature": ["detectors:4-7"],
    },
    "settle": {"tolerance": 0.002},
    "calibration": {"crosstalk": [0.05, 0.01], "readout_noise": 0.002},
    "virtual_lab": {"resistance_spread": 0.05, "detector_noise_V": 0.001},
}


def content(**tables: dict[str, Any]) -> dict[str, Any]:
    """Return the rig's tables; keywords replace keys of a table."""
    made = copy.deepcopy(CONTENT)
    for name, table in tables.items():
        made[name] = {**made.get(name, {}), **table}
    return made


def write_rig(folder: Path, **tables: dict[str, Any]) -> Rig:
    """Write a rig file and read it."""
    path = folder / "rig.toml"
    path.write_text(render_toml(content(**tables)), encoding="utf-8")
    return load_rig(path)


class Resistances(Step):
    """Resistance of each heater from one voltage."""

    name: ClassVar[str] = "resistances"
    description: ClassVar[str] = "one voltage, read back"

    @override
    def measure(self, session: Session) -> StepData:
        half = 0.3 * session.highest_V
        for k in range(3):
            session.progress(k, 3, "reading back")
            session.write_voltages(half)
            found = session.read_back()
            session.record("voltage_V", found.voltage_V, "V", "driven")
            session.record("current_A", found.current_A, "A", "drawn")
        return session.recorded()

    @override
    def fit(self, data: StepData, known: RigCalibration, rig: Rig) -> StepFit:
        voltage, current = data["voltage_V"], data["current_A"]
        single = voltage / current
        ohm = single.mean(axis=0)
        error = np.full(ohm.shape, 0.5)
        findings = [
            Finding("note", str(rig.wiring.heaters[k]), f"{ohm[k]:.1f} ohm is far from the rest")
            for k in np.flatnonzero(np.abs(ohm / np.median(ohm) - 1) > 0.1)
        ]
        return StepFit(
            {"resistance_ohm": ohm, "settle.typical_s": np.array(0.0125)},
            {"resistance_ohm": error},
            {"resistance": single - ohm},
            findings,
            {"resistance": "ohm"},
        )


class Detectors(Step):
    """Offsets of detectors under random drives; needs the resistances."""

    name: ClassVar[str] = "detectors"
    description: ClassVar[str] = "random drives"
    needs: ClassVar[tuple[str, ...]] = ("resistances",)
    looks: ClassVar[int] = 4

    @override
    def measure(self, session: Session) -> StepData:
        for k in range(self.looks):
            session.progress(k, self.looks)
            drive = session.rng.uniform(0, 0.02, session.n_heaters)
            session.record("power_W", session.write_powers(drive), "W", "electrical power")
            session.record("detector_V", session.settle().voltage_V, "V", "detectors")
        return session.recorded()

    @override
    def fit(self, data: StepData, known: RigCalibration, rig: Rig) -> StepFit:
        volts = data["detector_V"]
        if np.ptp(volts) == 0:
            raise FitError("the detectors never moved")
        n = volts.shape[1] // 2
        noise = np.array(0.003)
        return StepFit(
            {"readout_noise": noise, "drift_walk": np.full(n, 1e-4)},
            {"readout_noise": np.array(1e-4)},
            {"detectors": volts - volts.mean(axis=0)},
        )

    @override
    def plots(self, data: StepData, fit: StepFit, rig: Rig) -> Sequence[Plot]:
        def draw(axes: Any) -> None:
            axes.plot(data["detector_V"])

        return [Plot("Detectors", "One line a detector.", draw)]


SAMPLE_STEPS: tuple[Step, ...] = (Resistances(), Detectors())
