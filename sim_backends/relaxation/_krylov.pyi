"""Compiled half of `krylov_engine` (native/krylov)."""

from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray

class Options:
    """Mirror of `RelaxationOptions`, less the threads."""

    rodas4: bool
    tolerance: float
    certificate: bool
    certificate_gradient: float
    certificate_backoff: float
    theta: float
    residual: float
    flow_residual: float
    t_max: float
    max_steps: int
    max_newton: int
    def __init__(self) -> None: ...

class Solver:
    """One graph: order, symbolic factor, and the relaxation of samples on it."""

    def __init__(self, n: int, edges: IntArray, factor_bytes: float) -> None: ...
    def relax(
        self,
        coupling: FloatArray,
        field: ComplexArray,
        previous_field: ComplexArray,
        follow: bool,
        phases: FloatArray,
        reals: FloatArray,
        integers: IntArray,
        options: Options,
        threads: int,
        /,
    ) -> None:
        """Relax ``phases`` (batch, n) in place.

        ``reals`` (batch, 2) receives residual and flow time; ``integers`` (batch, 9) status,
        positive definite, certified, hop, steps, rejected, factorisations, iterations of
        conjugate gradients, steps taken with a factor.
        """

    def solve(
        self,
        coupling: FloatArray,
        field: ComplexArray,
        phases: FloatArray,
        rhs: FloatArray,
        out: FloatArray,
        threads: int,
        /,
    ) -> None: ...
    def smallest_eigenvalue(
        self,
        coupling: FloatArray,
        field: ComplexArray,
        phases: FloatArray,
        out: FloatArray,
        threads: int,
        /,
    ) -> None: ...
    @property
    def direct(self) -> bool: ...
    @property
    def factor_flops(self) -> float: ...
    @property
    def factor_entries(self) -> float: ...
