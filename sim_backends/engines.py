"""Which relaxation engine serves a graph: by availability, then by size."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Literal

from eqp_hw.errors import UnavailableError

from .relaxation.interface import Bonds, RelaxationEngine

__all__ = ["EngineName", "choose_engine", "compiled_unavailable_because"]

EngineName = Literal["auto", "native", "krylov", "reference"]

_log = logging.getLogger("eqp_hw.sim_backends.engines")


def compiled_unavailable_because() -> str | None:
    """Return why the compiled engines cannot be used here, or None if they can."""
    try:
        from .relaxation import _krylov, _native  # noqa: F401, PLC0415
    except ImportError as error:
        return f"the compiled extension is missing ({error})"
    return None


def choose_engine(bonds: Bonds, name: EngineName = "auto") -> RelaxationEngine:
    """Return an engine for ``bonds``.

    ``auto`` takes the compiled engines where they exist: direct factorisation of many samples
    side by side, or from `KRYLOV_FROM_NODES` on the engine for one large graph, which itself
    takes conjugate gradients or a factorisation by estimated cost at each step. Otherwise the
    NumPy/SciPy reference, with one warning that says what is lost.

    Raises
    ------
    UnavailableError
        A compiled engine was asked for by name and is not installed.
    """
    reason = compiled_unavailable_because()
    if name == "reference" or (name == "auto" and reason is not None):
        if name == "auto":
            _warn_once(str(reason))
        from .relaxation.reference.engine import ReferenceEngine  # noqa: PLC0415

        return ReferenceEngine(bonds)
    if reason is not None:
        raise UnavailableError(
            f"engine {name!r} is unavailable because {reason}; install a C++17 compiler and "
            "reinstall eqp_hw, or use engine = 'reference'"
        )
    from .relaxation.krylov_engine import KrylovEngine  # noqa: PLC0415
    from .relaxation.native_engine import NativeEngine  # noqa: PLC0415

    if name == "krylov" or (name == "auto" and bonds.n >= KRYLOV_FROM_NODES):
        return KrylovEngine(bonds)
    return NativeEngine(bonds)


KRYLOV_FROM_NODES = 5_000
"""Free nodes from which one sample at a time is the cheaper way."""


@lru_cache(maxsize=1)
def _warn_once(reason: str) -> None:
    _log.warning(
        "%s: relaxing with the NumPy/SciPy reference, which gives the same results but is "
        "tens of times slower; install a C++17 compiler and reinstall eqp_hw to get it",
        reason,
    )
