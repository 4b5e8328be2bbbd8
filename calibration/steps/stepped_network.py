"""What the network step does otherwise on a rig with N-step read-out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from eqp_hw.calibration.fits.diagnosis import Diagnosis
from eqp_hw.calibration.fits.ellipse import Detection
from eqp_hw.calibration.fits.network_equations import Equilibria
from eqp_hw.calibration.fits.network_model import NetworkModel
from eqp_hw.calibration.fits.stepped_network import SteppedNetwork, solve_stepped_network
from eqp_hw.calibration.step import Finding, StepData
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig

from .frames import frames_of

__all__ = ["of_frames", "stepped_network", "take_over_stepping"]


def stepped_network(
    data: StepData,
    known: RigCalibration,
    rig: Rig,
    stable: npt.NDArray[np.bool_],
    diagnose: Callable[[Equilibria, npt.NDArray[np.bool_], Detection], Diagnosis],
) -> SteppedNetwork:
    """Fit a network to the frames of the drives that came to rest.

    Raises
    ------
    FitError
        A node's detector gives no phase, or the equilibria do not determine the elements.
    """
    frames = frames_of(data, known)
    owners = np.array([channel.instrument for channel in rig.wiring.heaters], dtype=object)

    def of_stable(seen: Equilibria, used: npt.NDArray[np.bool_], detection: Detection) -> Diagnosis:
        chosen = stable.copy()
        chosen[stable] = used
        return diagnose(seen, chosen, detection)

    return solve_stepped_network(
        NetworkModel(rig),
        known,
        frames.signal_V[stable],
        frames.power_W[stable],
        frames.step_W[stable],
        frames.noise_V / np.sqrt(frames.samples),
        np.asarray(owners == owners[-1]),
        of_stable,
    )


def take_over_stepping(
    made: SteppedNetwork,
    nominal: RigCalibration,
    figures: dict[str, FloatArray],
    errors: dict[str, FloatArray],
) -> None:
    """Put in the step shifter's figures and the detectors' in place of those of the quadratures.

    The shifter's offset is the zero of all phases: it keeps its nominal value, without error.
    """
    row = len(nominal.half_wave_power_W) - 1
    slope, covariance = made.shifter.slope, made.shifter.covariance
    own, variance = slope[row], np.diag(covariance)
    share = slope / own
    spread = variance + share**2 * variance[row] - 2 * share * covariance[row]
    share_error = np.sqrt(np.maximum(spread, 0.0)) / own
    share_error[row] = 0.0
    figures["half_wave_power_W"][row] = np.pi / own
    errors["half_wave_power_W"][row] = np.pi / own**2 * np.sqrt(variance[row])
    figures["phase_offset"][row] = nominal.phase_offset[row]
    errors["phase_offset"][row] = 0.0
    figures["crosstalk"][row], errors["crosstalk"][row] = share, share_error
    read = made.read
    figures["readout_offset_V"] = read.offset_V[None, :]
    figures["readout_amplitude_V"] = read.amplitude_V[None, :]
    errors["readout_offset_V"] = read.offset_error_V[None, :]
    errors["readout_amplitude_V"] = read.amplitude_error_V[None, :]
    for parts in (figures, errors):
        parts.pop("quadrature_error", None)


def of_frames(made: SteppedNetwork) -> list[Finding]:
    """Tell of drives that were left out."""
    left_out = int((~made.used).sum())
    if not left_out:
        return []
    text = (
        f"{left_out} of {len(made.used)} drives were left out: the network hopped between frames, "
        "or a signal was not steady"
    )
    return [Finding("note" if left_out < 0.1 * len(made.used) else "warning", "network", text)]
