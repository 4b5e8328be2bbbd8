"""The small rig with N-step read-out: a reference arm is stepped by the last heater."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import numpy as np
from memory_session import EXAMPLES, SPREADS, MemorySession
from truth_comparison import truth_in_gauge
from typing_extensions import override

from eqp_hw.calibration.fits.network_model import NetworkModel
from eqp_hw.calibration.session import Settling
from eqp_hw.calibration.steps.network import NetworkStep
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig, make_rig

NETWORK = NetworkStep(equations_per_figure=5, least=240, samples=16)
END, AMONG, AWAY = "heaters:20", "heaters:13", "heaters:24"
"""The step shifter beside one heater, in the midst of all others, and where no heat reaches."""


def stepped_content(steps: int = 4, shifter: str = END, **virtual_lab: Any) -> dict[str, Any]:
    """Return the tables of a rig file."""
    content = tomllib.loads((EXAMPLES / "xor_array.toml").read_text())
    content["virtual_lab"] |= SPREADS | virtual_lab
    readout, wiring = content["readout"], content["wiring"]
    del readout["in_phase"], readout["quadrature"]
    readout |= {
        "kind": "n-step",
        "intensity": ["digitiser:0-2"],
        "step_shifter": shifter,
        "steps": steps,
    }
    wiring["gain_switch"] = "heaters:22"
    if shifter == AMONG:
        wiring |= {
            "bias_amplitude": ["heaters:12", "heaters:14-15"],
            "bias_phase": ["heaters:16-18"],
            "nudge_amplitude": ["heaters:19"],
            "nudge_phase": ["heaters:20"],
        }
    return content


def stepped_rig(steps: int = 4, shifter: str = END, **virtual_lab: Any) -> Rig:
    return make_rig(stepped_content(steps, shifter, **virtual_lab))


class QuickSession(MemorySession):
    """Looks once: the plant has come to rest by then."""

    @override
    def settle(
        self, *, timeout_s: float | None = None, tolerance_V: float | None = None
    ) -> Settling:
        self.plant.elapse(30e-3)
        look = self.read_detectors(4)
        return Settling(True, look.mean(0), look.std(0, ddof=1), 1, 30e-3)


def stepped_truth(session: MemorySession) -> RigCalibration:
    """Return the hidden figures in the gauge of what was found.

    The step shifter's offset is the zero of all phases: inputs and fields are turned by what it
    is in truth.
    """
    hidden, model = session.plant.truths.figures, NetworkModel(session.rig)
    turn = hidden.phase_offset[-1] - session.known.phase_offset[-1]
    offset = hidden.phase_offset.copy()
    for name in ("inputs", "bias_phase", "nudge_phase"):
        offset[model.rows[name]] += turn
    offset[-1] -= turn
    plant = session.plant
    truths = plant.truths
    try:
        plant.truths = replace(truths, figures=replace(hidden, phase_offset=offset))
        return truth_in_gauge(session)
    finally:
        plant.truths = truths


def true_steps(session: MemorySession, setpoint_V: np.ndarray) -> np.ndarray:
    """Return the phases that the step shifter really makes, beside that of its first frame."""
    hidden = session.plant.truths.figures
    power = (setpoint_V**2).mean(axis=0) / hidden.resistance_ohm[-1]
    return np.asarray(np.pi / hidden.half_wave_power_W[-1] * (power - power[0]))
