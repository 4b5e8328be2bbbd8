"""What an estimator returns: weighted states of each sample, and the gradient they make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import numpy as np

from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.energy import PhaseArray, displacement_statistics, statistics
from eqp_hw.physics.parameters import Parameters
from eqp_hw.physics.uncertainty import displacement_variance, statistics_variance
from eqp_hw.substrate import BoolArray

__all__ = ["Estimate", "Statistic"]

Statistic: TypeAlias = Literal["energy", "displacement"]
"""How states become a gradient: "energy" is Σ_k w_k·∂E/∂θ(φ_k); "displacement" puts
δ = Σ_k w_k·(φ_k − φ⁰), the estimate of dφ/dβ, into dC/dJ_ij = δ_i·sin(φ⁰_i−φ⁰_j), which a
non-reciprocal network needs (ep_methods §3, §6)."""


@final
@dataclass(frozen=True, eq=False)
class Estimate:
    """States of a batch, and what weight each has in the estimate of dC/dθ.

    Attributes
    ----------
    phases
        (n_states, batch, N) rad; complex under complex nudges.
    errors
        (n_states, batch, N) standard errors of the phases, rad; NaN where unknown.
    weights
        (n_states, batch) real or complex, 1/β included; they add up to 0.
    free
        (batch, N) free phases, from which displacements are counted.
    settled, hopped
        (batch,) whether all states settled, and whether any left the basin of the free one.
    displacement
        (batch,) largest |φ − φ⁰| of a state, rad.
    response
        (batch,) largest |φ − φ⁰|/|β| of a state, rad.
    residual
        (batch,) largest residual of a state, NaN where unknown.
    statistic
        The statistic the estimator asks for; a directed network always takes "displacement".
    alarm
        (batch,) quadrature over in-phase response of a lock-in: 0 if it had settled at all
        times; NaN for other estimators.
    """

    phases: PhaseArray
    errors: FloatArray
    weights: PhaseArray
    free: FloatArray
    settled: BoolArray
    hopped: BoolArray
    displacement: FloatArray
    response: FloatArray
    residual: FloatArray
    statistic: Statistic
    alarm: FloatArray

    @property
    def good(self) -> BoolArray:
        """(batch,) samples that give an estimate."""
        return np.asarray(self.settled & ~self.hopped)

    def gradient(
        self,
        network: Network,
        rows: BoolArray,
        scale: FloatArray,
        *,
        directed: bool = False,
        attenuation: bool = False,
    ) -> Parameters:
        """Return Σ over the samples ``rows`` of scale·(estimate of dC/dθ).

        Parameters
        ----------
        network
            The graph.
        rows
            (batch,) samples that count.
        scale
            (rows.sum(),) factor on each of them.
        directed
            Return J_ij and J_ji apart.
        attenuation
            Divide out that noise of standard error s shortens phasors by exp(−s²/2), and so
            correlators by exp(−s²) (Peters and Talatchian 2025; ep_methods §7).
        """
        lift = self._lift(rows) if attenuation else None
        phases, weights = self._flat(rows, scale)
        if self.statistic == "energy" and not directed:
            return statistics(network, phases, weights, lift)
        delta = self._delta(rows) * scale[:, None]
        return displacement_statistics(network, self.free[rows], delta, directed=directed)

    def variance(
        self, network: Network, rows: BoolArray, scale: FloatArray, *, directed: bool = False
    ) -> Parameters:
        """Return the variance of `gradient` that the read-out noise of the states causes.

        The bias part holds the variances of both quadratures as real and imaginary part. Noise
        of the free phases that displacements are counted from is of second order, and left out.
        """
        phases, weights = self._flat(rows, scale)
        errors = np.nan_to_num(self.errors[:, rows]).reshape(len(phases), -1)
        if self.statistic == "energy" and not directed:
            return statistics_variance(network, phases.real, np.abs(weights), errors)
        states = len(self.phases)
        spread = (np.abs(weights)[:, None] * errors) ** 2
        variance = spread.reshape(states, -1, spread.shape[1]).sum(axis=0)
        return displacement_variance(network, self.free[rows], variance, directed=directed)

    def _flat(self, rows: BoolArray, scale: FloatArray) -> tuple[PhaseArray, PhaseArray]:
        n_nodes = self.phases.shape[2]
        weights: PhaseArray = np.asarray(self.weights[:, rows] * scale)
        return self.phases[:, rows].reshape(-1, n_nodes), weights.reshape(-1)

    def _delta(self, rows: BoolArray) -> FloatArray:
        shift = self.phases[:, rows] - self.free[rows]
        turned = shift - 2 * np.pi * np.round(shift.real / (2 * np.pi))
        delta: FloatArray = np.einsum("kb,kbn->bn", self.weights[:, rows], turned).real
        return delta

    def _lift(self, rows: BoolArray) -> FloatArray:
        errors = np.nan_to_num(self.errors[:, rows]).reshape(-1, self.phases.shape[2])
        lift: FloatArray = np.exp(errors**2 / 2)
        return lift
