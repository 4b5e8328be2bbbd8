"""Physics of the heater-array rig as pure functions; the schema of the rig file states them.

Heaters are Joule heaters on thermo-optic phase shifters; couplers and injections are
Mach-Zehnder interferometers; detectors see interference with a local oscillator.
"""

from __future__ import annotations

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray

__all__ = [
    "coupling",
    "directed_pair",
    "heating_phase",
    "injection",
    "interference",
    "low_pass",
    "power_W",
    "quadratures",
]


def power_W(voltage_V: FloatArray, resistance_ohm: FloatArray) -> FloatArray:
    """Return the power P = V²/R of each heater."""
    return np.square(voltage_V) / resistance_ohm


def heating_phase(
    power_W: FloatArray, half_wave_power_W: FloatArray, crosstalk: FloatArray
) -> FloatArray:
    """Return the steady phase π/P_π · (X @ P) of each shifter, without its offset."""
    phase: FloatArray = np.pi / half_wave_power_W * (crosstalk @ power_W)
    return phase


def low_pass(state: FloatArray, target: FloatArray, duration_s: float, time_s: float) -> FloatArray:
    """Return the solution of ds/dt = (target − s)/time after ``duration_s``, exactly.

    A time constant of zero follows at once.
    """
    if time_s == 0.0:
        return target.copy()
    # expm1 keeps short durations exact: many small steps compose to one large one.
    followed: FloatArray = state - np.expm1(-duration_s / time_s) * (target - state)
    return followed


def coupling(maximum: FloatArray, phase: FloatArray) -> FloatArray:
    """Return the signed coupling J = J_max · cos θ of a tunable coupler."""
    return maximum * np.cos(phase)


def injection(maximum: FloatArray, amplitude: FloatArray, phase: FloatArray) -> ComplexArray:
    """Return the field A_max · sin(θ_A/2) · exp(iθ_ψ) of an injection channel.

    A negative amplitude is a field turned by π.
    """
    field: ComplexArray = maximum * np.sin(amplitude / 2) * np.exp(1j * phase)
    return field


def directed_pair(value: FloatArray, log_ratio: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return J_ij and J_ji with ln(J_ij/J_ji) = ``log_ratio`` and their geometric mean kept."""
    half = np.exp(log_ratio / 2)
    return value * half, value / half


def quadratures(
    phases: FloatArray, amplitude_V: FloatArray, offset_V: FloatArray, error: FloatArray
) -> FloatArray:
    """Return (2, n): V_I = o + g·cos φ and V_Q = o + g·sin(φ + ε), g and o by row."""
    signal = np.stack([np.cos(phases), np.sin(phases + error)])
    voltage_V: FloatArray = offset_V + amplitude_V * signal
    return voltage_V


def interference(
    phases: FloatArray, step: float, amplitude_V: FloatArray, offset_V: FloatArray
) -> FloatArray:
    """Return V = o + g·cos(φ + δ) with δ the phase of the reference arm."""
    voltage_V: FloatArray = offset_V + amplitude_V * np.cos(phases + step)
    return voltage_V
