"""A calibration session on a plant in the same process: no wires, so that many truths are cheap.

Set-points are rounded and power limits kept as a driver would; a second rig may stand behind the
first one's wiring, which is how channels are swapped here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from eqp_hw.calibration.figures import further_figures
from eqp_hw.calibration.session import Ledger, ReadBack, Session, Settling
from eqp_hw.calibration.step import RawArray, Step, StepData, StepFit
from eqp_hw.drivers.errors import LimitError
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.calibration import RigCalibration, nominal_calibration
from eqp_hw.rig.load import Channel, Rig, make_rig
from eqp_hw.sim_backends.virtual_lab.plant.plant import Plant
from eqp_hw.sim_backends.virtual_lab.plant.truths import Truths

EXAMPLES = Path(__file__).parents[2] / "examples" / "rigs"
SPREADS: dict[str, Any] = {
    "half_wave_power_spread": 0.1,
    "resistance_spread": 0.05,
    "phase_offset_spread": 5.0,  # over the whole circle
    "crosstalk_spread": 0.2,
    "coupling_spread": 0.1,
    "splitting_imbalance": 0.05,
    "quadrature_error": 0.05,
    "detector_offset_V": 0.02,
    "detector_noise_V": 0.002,
}
FULL_SCALE_V = 10.0


def rig_of(name: str = "xor_array", **virtual_lab: Any) -> Rig:
    content = tomllib.loads((EXAMPLES / f"{name}.toml").read_text())
    content["virtual_lab"] |= SPREADS | virtual_lab
    return make_rig(content)


class MemorySession(Session):
    """Drives `plant`, whose rig may be wired otherwise than `rig` says."""

    def __init__(
        self,
        rig: Rig,
        seed: int = 0,
        *,
        truths: Truths | None = None,
        wired: Mapping[Channel, Channel] | None = None,
        stuck: Mapping[Channel, float] | None = None,
        detectors: Callable[[FloatArray, float], FloatArray] | None = None,
        meters: bool = True,
    ) -> None:
        self.rig, self.known = rig, nominal_calibration(rig)
        self.rng = np.random.default_rng(seed + 1000)
        self.plant = Plant(rig, seed, truths=truths)
        self._noise = np.random.default_rng(seed + 2000)
        self._wired = [(wired or {}).get(channel, channel) for channel in rig.wiring.heaters]
        self._stuck = {rig.wiring.heaters.index(c): v for c, v in (stuck or {}).items()}
        self._detectors = detectors
        self._meters = meters
        self._meter_offset_A = self._noise.normal(0, 5e-6, len(self._wired))
        self._set = np.zeros(len(self._wired))
        self._rows: dict[str, list[Any]] = {}
        self._about: dict[str, tuple[str, str]] = {}
        self.writes = 0
        self.reads = 0
        self.gain_changes = 0
        self.checkpoints = 0

    # --- drives
    @property
    @override
    def highest_V(self) -> FloatArray:
        limits = next(iter(self.rig.settings.instruments.values())).limits
        resistance = self.rig.settings.calibration.resistance_ohm
        power = limits.power_W or np.inf
        highest = min(limits.voltage_V or FULL_SCALE_V, float(np.sqrt(power * resistance)))
        return np.full(self.n_heaters, highest - FULL_SCALE_V / 65535)

    @property
    @override
    def resolution_V(self) -> FloatArray:
        return np.full(self.n_heaters, FULL_SCALE_V / 65535)

    @property
    @override
    def setpoint_V(self) -> FloatArray:
        return self._set.copy()

    @override
    def refuse(self, voltage_V: FloatArray) -> None:
        drives = np.where(np.isnan(voltage_V), self._set, voltage_V)
        limits = self.rig.settings.instruments["heaters"].limits
        wrong = np.flatnonzero(~((drives >= 0) & (drives <= self.highest_V + 1e-9)))
        if len(wrong):
            name = str(self.rig.wiring.heaters[wrong[0]])
            raise LimitError("beyond its limit", field=name, value=float(drives[wrong[0]]))
        total = float((drives**2).sum() / self.rig.settings.calibration.resistance_ohm)
        if limits.total_power_W is not None and total > limits.total_power_W:
            raise LimitError("too much power", field="total_power_W", value=total)

    @override
    def write_voltages(self, voltage_V: FloatArray | Mapping[Channel, float]) -> FloatArray:
        if isinstance(voltage_V, Mapping):
            wanted = np.full(self.n_heaters, np.nan)
            for channel, value in voltage_V.items():
                wanted[self.row_of(channel)] = value
        else:
            wanted = voltage_V
        self.refuse(wanted)
        step = self.resolution_V
        self._set = np.where(np.isnan(wanted), self._set, np.round(wanted / step) * step)
        for row, channel in enumerate(self._wired):
            drive = self._stuck.get(row, float(self._set[row]))
            self.plant.set_voltage(channel.instrument, channel.number, drive)
        self.writes += 1
        self.plant.elapse(5e-3)
        return self.setpoint_V

    @override
    def all_zero(self) -> None:
        self.write_voltages(np.zeros(self.n_heaters))

    @override
    def read_back(self, rows: npt.NDArray[np.int64] | None = None) -> ReadBack:
        rows = np.arange(self.n_heaters) if rows is None else rows
        if not self._meters:
            return ReadBack(np.full(len(rows), np.nan), np.full(len(rows), np.nan))
        wires = [self._wired[row] for row in rows]
        voltage = np.array([self.plant.voltage_V(c.instrument, c.number) for c in wires])
        current = np.array([self.plant.current_A(c.instrument, c.number) for c in wires])
        voltage = voltage + self._noise.normal(0, 2e-4, len(rows))
        current = current + self._meter_offset_A[rows] + self._noise.normal(0, 4e-7, len(rows))
        return ReadBack(voltage, current)

    @property
    @override
    def has_gain_switch(self) -> bool:
        return self.rig.wiring.gain_switch is not None

    @override
    def gain(self, on: bool) -> None:
        channel = self.rig.wiring.gain_switch
        assert channel is not None
        drive = 0.0 if on else self.rig.settings.wiring.gain_off_V
        self.plant.set_voltage(channel.instrument, channel.number, drive)
        self.gain_changes += 1

    # --- detectors
    @override
    def read_detectors(self, samples: int = 1) -> FloatArray:
        wires = self.rig.wiring.detectors
        self.plant.elapse(1e-3 + 1e-5 * samples)
        self.reads += 1
        numbers = [channel.number for channel in wires]
        voltage = self.plant.detector_V(wires[0].instrument, numbers, samples)
        if self._detectors is not None:
            voltage = self._detectors(voltage, self.plant.now_s)
        step = 4.0 / 65535
        return np.round(np.clip(voltage, -2.0, 2.0) / step) * step

    @override
    def settle(
        self, *, timeout_s: float | None = None, tolerance_V: float | None = None
    ) -> Settling:
        started = self.plant.now_s
        self.plant.elapse(30e-3)
        looks = np.concatenate([self.read_detectors(4) for _ in range(3)])
        return Settling(True, looks.mean(0), looks.std(0, ddof=1), 3, self.plant.now_s - started)

    # --- records
    @override
    def record(self, name: str, values: object, unit: str = "", description: str = "") -> None:
        self._rows.setdefault(name, []).append(np.asarray(values))
        self._about.setdefault(name, (unit, description))

    @override
    def checkpoint(self) -> None:
        self.checkpoints += 1

    @override
    def recorded(self) -> StepData:
        return StepData(
            {
                name: RawArray(np.stack(rows), *self._about[name])
                for name, rows in self._rows.items()
            }
        )

    @override
    def progress(self, done: int, total: int, doing: str = "") -> None:
        assert 0 <= done <= total

    @override
    def now_s(self) -> float:
        return self.plant.now_s

    @override
    def ledger(self) -> Ledger:
        return Ledger(0.0, 0.0, 0.0, self.writes + self.reads)

    # --- as the procedure does it
    def measure(self, step: Step) -> StepData:
        """Measure a step from its beginning."""
        self._rows.clear()
        self._about.clear()
        return step.measure(self)

    def take(self, step: Step) -> StepFit:
        """Measure, fit, and use what was found."""
        fit = step.fit(self.measure(step), self.known, self.rig)
        self.known = merged(self.known, fit)
        self.found = {**self.found, **further_figures([fit])}
        return fit


def merged(known: RigCalibration, fit: StepFit) -> RigCalibration:
    from dataclasses import fields, replace

    new: dict[str, Any] = {}
    for item in fields(RigCalibration):
        if item.name in fit.figures:
            found, old = np.asarray(fit.figures[item.name]), getattr(known, item.name)
            value = np.where(np.isfinite(found), found, old)
            new[item.name] = float(value) if item.name == "readout_noise" else value
    return replace(known, **new)
