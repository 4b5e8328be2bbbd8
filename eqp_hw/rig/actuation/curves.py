"""Element curves over a heater's phase: couplers, injection amplitudes and phases.

Coupler: J = J_max cos θ. Injection: A e^{iψ} with A = A_max sin(θ/2), which may be negative (the
field then turns by π), and ψ the phase of a second shifter. All functions are pure.
"""

from __future__ import annotations

import numpy as np

from eqp_hw.errors import CapabilityError, ParameterError
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray

from .branches import Wanted

__all__ = [
    "coupling_of",
    "coupling_targets",
    "field_of",
    "field_targets",
    "refuse_coupling",
    "refuse_field",
]

_SLACK = 1e-12


def coupling_targets(coupling: FloatArray, maximum: FloatArray) -> Wanted:
    """Return the phases ±arccos(J/J_max) of couplers, (n,).

    Raises
    ------
    ParameterError
        |J| > J_max, or not finite.
    """
    refuse_coupling(coupling, maximum)
    theta = np.arccos(np.clip(coupling / maximum, -1.0, 1.0))
    return Wanted(np.stack([theta, -theta], axis=1), np.full(len(theta), 2 * np.pi))


def coupling_of(theta: FloatArray, maximum: FloatArray) -> FloatArray:
    """Return J = J_max cos θ."""
    coupling: FloatArray = maximum * np.cos(theta)
    return coupling


def refuse_coupling(coupling: FloatArray, maximum: FloatArray) -> None:
    """Refuse couplings beyond ``maximum``; see `coupling_targets`."""
    wrong = np.flatnonzero(~(np.abs(coupling) <= maximum * (1 + _SLACK)))
    if len(wrong):
        first = int(wrong[0])
        limit = np.broadcast_to(maximum, coupling.shape)[first]
        raise ParameterError(
            "outside the range of the coupler",
            field=f"coupling[{first}]",
            value=float(coupling[first]),
            allowed=f"-{limit:.6g} to {limit:.6g}",
        )


def field_targets(
    field: ComplexArray, maximum: FloatArray, held_phase: FloatArray
) -> tuple[Wanted, Wanted]:
    """Return the phases of amplitude and phase shifters that make complex fields.

    Parameters
    ----------
    field
        (n,) A e^{iψ}.
    maximum
        (n,) A_max.
    held_phase
        (n,) where the phase shifters stand, NaN where unknown. Of (A, ψ) and (−A, ψ + π) the
        one nearer to it is taken: a field that changes sign moves one heater, not two, and its
        amplitude passes through zero. At A = 0 the phase shifter stays where it is.

    Raises
    ------
    CapabilityError
        |A| > A_max, or not finite.
    """
    refuse_field(field, maximum, "field")
    amplitude, psi = np.abs(field), np.angle(field)
    here = np.where(np.isfinite(held_phase), held_phase, psi)
    negative = np.cos(psi - here) < 0
    half = np.arcsin(np.clip(np.where(negative, -amplitude, amplitude) / maximum, -1.0, 1.0))
    strength = Wanted(
        np.stack([2 * half, 2 * np.pi - 2 * half], axis=1), np.full(len(field), 4 * np.pi)
    )
    unknown = ~np.isfinite(held_phase)
    nothing = np.where(unknown, 0.0, np.nan)
    angle = Wanted.phases(np.where(amplitude == 0, nothing, psi + np.pi * negative))
    return strength, angle


def field_of(theta: FloatArray, psi: FloatArray, maximum: FloatArray) -> ComplexArray:
    """Return A_max sin(θ/2) e^{iψ}."""
    field: ComplexArray = maximum * np.sin(theta / 2) * np.exp(1j * psi)
    return field


def refuse_field(field: ComplexArray, maximum: FloatArray, name: str) -> None:
    """Refuse fields beyond ``maximum``; see `field_targets`."""
    wrong = np.flatnonzero(~(np.abs(field) <= maximum * (1 + _SLACK)))
    if len(wrong):
        first = int(wrong[0])
        raise CapabilityError(
            "above what the injection channel can make",
            field=f"{name}[{first}]",
            value=complex(field[first]),
            allowed=f"amplitudes up to {np.broadcast_to(maximum, field.shape)[first]:.6g}",
        )
