"""Gradients weakened where read-out noise hides them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eqp_hw.physics.parameters import Parameters

__all__ = ["shrunk"]


def shrunk(gradient: Parameters, standard_error: Parameters) -> Parameters:
    """Return g·g²/(g² + s²) for each parameter, Re b and Im b apart.

    The factor is that of a Wiener filter with g² in place of the unknown signal power: what is
    lost in noise moves little, what stands out moves as before.

    Parameters
    ----------
    gradient
        g.
    standard_error
        s ≥ 0, in the same shape.
    """
    return gradient.map(_weakened, standard_error)


def _weakened(
    g: npt.NDArray[np.float64 | np.complex128], s: npt.NDArray[np.float64 | np.complex128]
) -> npt.NDArray[np.float64 | np.complex128]:
    if np.iscomplexobj(g):
        return np.asarray(_weakened(g.real, s.real) + 1j * _weakened(g.imag, s.imag))
    power = g.real**2
    total = power + s.real**2
    factor = np.divide(power, total, out=np.ones_like(total), where=total > 0)
    return np.asarray(g.real * factor)
