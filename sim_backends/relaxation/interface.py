"""What a relaxation engine takes and returns: arrays over the free nodes, no roles, no Substrate.

Clamped inputs are folded into the complex field once per sample, so an engine sees n free
phases, the bonds among them and one field per node and sample:

    dφ_i/dt = f_i(φ) = Im(exp(−iφ_i)·(Σ_j J_ij exp(iφ_j) + b_i)),   g = −f = ∂F/∂φ.

Two engines implement `RelaxationEngine`: the readable NumPy/SciPy `reference` and the
compiled `native` one. They agree to rounding, and every sample's result is independent of
the batch it travels in.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import numpy.typing as npt

from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray

__all__ = [
    "Bonds",
    "Relaxation",
    "RelaxationEngine",
    "RelaxationOptions",
    "RelaxationStatus",
]


class RelaxationStatus(enum.IntEnum):
    """How the relaxation of one sample ended."""

    EQUILIBRIUM = 0
    """Residual within `RelaxationOptions.residual`, Hessian positive definite."""
    NO_FIXED_POINT = 1
    """Directed couplings: still moving at `t_max`; a limit cycle or a very slow drift."""
    STEP_LIMIT = 2
    """`max_steps` or `t_max` reached before the state settled."""
    UNSTABLE = 3
    """The flow stands still where the Hessian is not positive definite (saddle, maximum)."""
    NOT_FINITE = 4
    """NaN or infinity met; the input or the couplings are not finite."""


@final
@dataclass(frozen=True)
class RelaxationOptions:
    """Accuracy of a relaxation; the defaults give the figures in docs/exactness.md.

    Attributes
    ----------
    method
        Rosenbrock method: "rodas4" (order 4(3), 6 stages) or "rodas3" (order 3(2), 4 stages).
    tolerance
        Local error of a step, largest component, in rad. Decides how faithfully the flow is
        followed, hence how seldom another basin is reached. From 1e-3 on the compiled engine
        computes steps in single precision (native_engine.py).
    certificate
        Stop the flow at the first state from which it provably ends in one point
        (relaxation certificate), then polish by Newton. Without it the flow runs until the
        residual is below `flow_residual`.
    certificate_gradient
        First |g|_max at which the certificate is tried; then at `certificate_backoff` of the
        last failure.
    certificate_backoff, theta
        See above; θ of the certificate, 0 < θ < 1.
    residual
        Largest |∂F/∂φ| that counts as equilibrium; Newton goes on to rounding level.
    flow_residual
        Where the flow stops if no certificate was found (or asked for).
    t_max, max_steps, max_newton
        Limits on flow time, accepted plus rejected steps, and Newton steps.
    hop_test
        How `RelaxationEngine.follow` decides on a hop where the certificate does not hold at
        the start: "newton" traces the branch of equilibria by Newton steps (branch.py);
        "certified" proves it by certified steps, far more slowly.
    threads
        Worker threads over lane blocks; 0 takes the number of usable cores.
    """

    method: Literal["rodas4", "rodas3"] = "rodas4"
    tolerance: float = 3e-3
    certificate: bool = True
    certificate_gradient: float = 0.3
    certificate_backoff: float = 0.6
    theta: float = 0.5
    residual: float = 1e-10
    flow_residual: float = 1e-9
    t_max: float = 1e6
    max_steps: int = 20_000
    max_newton: int = 30
    hop_test: Literal["newton", "certified"] = "newton"
    threads: int = 0


@final
@dataclass(frozen=True)
class Bonds:
    """Bonds among n free nodes.

    Attributes
    ----------
    n
        Number of free nodes.
    edges
        (n_bonds, 2) pairs of free-node positions, each once, any order.
    """

    n: int
    edges: IntArray


@final
@dataclass(frozen=True, eq=False)
class Relaxation:
    """Result of relaxing a batch.

    Attributes
    ----------
    phases
        (batch, n) rad, unwrapped from the start.
    status
        (batch,) uint8, see `RelaxationStatus`.
    residual
        (batch,) max_i |∂F/∂φ_i| at `phases`.
    positive_definite
        (batch,) the Hessian factorised with positive pivots at `phases` (directed: the
        Jacobian's eigenvalues have positive real part).
    certified
        (batch,) the certificate proved where the flow ends.
    hop
        (batch,) only from `follow`: the state reached is not the continuation of the start.
    steps, rejected
        (batch,) accepted and rejected flow steps (0 where the certificate held at once).
    factorisations
        (batch,) matrix factorisations spent, all purposes.
    """

    phases: FloatArray
    status: npt.NDArray[np.uint8]
    residual: FloatArray
    positive_definite: npt.NDArray[np.bool_]
    certified: npt.NDArray[np.bool_]
    hop: npt.NDArray[np.bool_]
    steps: IntArray
    rejected: IntArray
    factorisations: IntArray


class RelaxationEngine(ABC):
    """Relaxes reciprocal networks on one graph; symbolic work is done once, in the constructor."""

    bonds: Bonds

    @abstractmethod
    def relax(
        self,
        coupling: FloatArray,
        field: ComplexArray,
        start: FloatArray,
        options: RelaxationOptions,
    ) -> Relaxation:
        """Follow the flow from ``start`` until its end is certain, then polish.

        Parameters
        ----------
        coupling
            (n_bonds,) J of each bond.
        field
            (batch, n) complex total field (bias + clamped neighbours + nudge).
        start
            (batch, n) initial phases, rad.
        options
            Accuracy.
        """

    @abstractmethod
    def follow(
        self,
        coupling: FloatArray,
        field: ComplexArray,
        start: FloatArray,
        options: RelaxationOptions,
        previous_field: ComplexArray,
    ) -> Relaxation:
        """Relax from an equilibrium of ``previous_field`` after the field changed to ``field``.

        Same end point as `relax` from the same start (the physical flow), reached faster: the
        certificate is tried at the start; where it holds, Newton goes straight to the end and
        no hop is possible. Elsewhere the flow is followed, and the path of equilibria from
        ``previous_field`` to ``field`` is traced (`RelaxationOptions.hop_test`); ``hop`` is set
        where that path ends (a fold) or leads to another state than the flow did.
        """

    @abstractmethod
    def solve(
        self, coupling: FloatArray, field: ComplexArray, phases: FloatArray, rhs: FloatArray
    ) -> FloatArray:
        """Return H(φ)⁻¹·rhs for each sample, (batch, n); NaN where H is singular."""

    @abstractmethod
    def smallest_eigenvalue(
        self, coupling: FloatArray, field: ComplexArray, phases: FloatArray
    ) -> FloatArray:
        """Return the smallest eigenvalue of H(φ) of each sample, (batch,)."""
