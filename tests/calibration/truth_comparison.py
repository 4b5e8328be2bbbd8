"""What a calibration found against what was hidden; only tests may look at both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from memory_session import MemorySession

from eqp_hw.calibration.fits.gauge import in_gauge
from eqp_hw.calibration.fits.network_model import Elements, NetworkModel
from eqp_hw.calibration.step import Step, StepFit
from eqp_hw.drivers.actuators.branches import Wanted, choose_phases
from eqp_hw.drivers.actuators.heaters import HeaterModel
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import wrap
from eqp_hw.rig.calibration import RigCalibration

COMPARED = (
    "resistance_ohm",
    "half_wave_power_W",
    "phase_offset",
    "crosstalk",
    "coupling_maximum",
    "bias_maximum",
    "nudge_maximum",
    "readout_offset_V",
    "readout_amplitude_V",
    "quadrature_error",
)


@dataclass(frozen=True)
class Compared:
    """Largest errors of one calibration, and all errors in standard errors."""

    session: MemorySession
    fits: list[StepFit]
    errors: dict[str, FloatArray]
    in_sigma: dict[str, FloatArray]


def calibrate(session: MemorySession, steps: tuple[Step, ...]) -> Compared:
    return compare(session, [session.take(step) for step in steps])


def compare(
    session: MemorySession, fits: list[StepFit], drift: FloatArray | None = None
) -> Compared:
    """Compare with the truth; ``drift`` (n_heaters,) is what shifters were off by on average."""
    truth = truth_in_gauge(session, drift)
    uncertainty: dict[str, Any] = {}
    for fit in fits:
        uncertainty |= fit.uncertainties
    seen = NetworkModel(session.rig).seen
    errors, in_sigma = {}, {}
    for name in COMPARED:
        error = getattr(session.known, name) - getattr(truth, name)
        sigma = np.asarray(uncertainty[name])
        # What acts on clamped nodes only cannot be found, and is said not to be.
        errors[name] = error[seen] if name == "crosstalk" else error[np.isfinite(sigma)]
        told = np.isfinite(sigma) & (sigma > 0)
        in_sigma[name] = error[told] / sigma[told]
    return Compared(session, fits, errors, in_sigma)


def truth_in_gauge(session: MemorySession, drift: FloatArray | None = None) -> RigCalibration:
    """Return the hidden figures in the representative nearest to those that were found."""
    model = NetworkModel(session.rig)
    hidden = session.plant.truths.figures
    if drift is not None:
        hidden = replace(hidden, phase_offset=hidden.phase_offset + drift)
    found = Elements.of(session.known, model.n_edges)
    return in_gauge(Elements.of(hidden, model.n_edges), found, model).into(hidden)


def realised_error(session: MemorySession, draws: int = 20) -> FloatArray:
    """Command random phases through the drivers' own formulas; return what the optics miss."""
    model = HeaterModel.of(session.known)
    seen = NetworkModel(session.rig).seen
    hidden, truth = session.plant.truths.figures, truth_in_gauge(session)
    offset = hidden.phase_offset - truth.phase_offset
    missed = []
    for _ in range(draws):
        wanted = session.rng.uniform(-np.pi, np.pi, session.n_heaters)
        limit = 0.95 * session.highest_V**2 / session.known.resistance_ohm
        phases, power = choose_phases(model, Wanted.phases(wanted), limit)
        session.write_voltages(model.voltages(power))
        session.plant.elapse(0.1)
        missed.append(wrap(session.plant.shifter_phases() - offset - phases)[seen])
    return np.array(missed)
