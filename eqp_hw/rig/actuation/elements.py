"""Couplers and injection channels over a phase-shifter array: which heaters make which value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray

from .branches import Wanted
from .curves import coupling_of, coupling_targets, field_of, field_targets

__all__ = ["CouplerArray", "InjectionArray", "unspecified"]


def unspecified(n: int) -> Wanted:
    """Return n heaters of which nothing is wanted."""
    return Wanted.phases(np.full(n, np.nan))


@final
@dataclass(frozen=True, eq=False)
class CouplerArray:
    """Signed couplings J = J_max cos θ.

    Attributes
    ----------
    maximum
        (n,) J_max.
    rows
        The couplers among all heaters.
    """

    maximum: FloatArray
    rows: slice

    def wanted(self, coupling: FloatArray | None) -> Wanted:
        """Return the phases for couplings, or nothing wanted; ParameterError out of range."""
        if coupling is None:
            return unspecified(len(self.maximum))
        return coupling_targets(coupling, self.maximum)

    def held(self, theta: FloatArray) -> FloatArray:
        """Return the couplings that all heaters' phases make."""
        return coupling_of(theta[self.rows], self.maximum)


@final
@dataclass(frozen=True, eq=False)
class InjectionArray:
    """Complex fields A_max sin(θ/2) e^{iψ}.

    Attributes
    ----------
    maximum
        (n,) A_max.
    amplitude_rows, phase_rows
        The two shifters of each channel among all heaters.
    """

    maximum: FloatArray
    amplitude_rows: slice
    phase_rows: slice

    def wanted(self, field: ComplexArray | None, held: FloatArray) -> tuple[Wanted, Wanted]:
        """Return amplitude and phase shifters for fields; CapabilityError out of range.

        ``held`` are the phases that all heaters were last driven to.
        """
        n = len(self.maximum)
        if field is None:
            return unspecified(n), unspecified(n)
        return field_targets(field, self.maximum, held[self.phase_rows])

    def held(self, theta: FloatArray) -> ComplexArray:
        """Return the fields that all heaters' phases make."""
        return field_of(theta[self.amplitude_rows], theta[self.phase_rows], self.maximum)
