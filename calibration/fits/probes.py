"""Probe torques: the response of a network's phases to torques at all free nodes, measured.

At an equilibrium φ⁰ a field iτz_i·exp(iφ⁰_i) added to the bias of node i is a torque τz_i without
curvature. Torques of both signs turn the phases by ±τχz and by even terms, which the difference
leaves out; over orthogonal patterns of signs z all of χ = A⁻¹ follows, and its asymmetry with it.
Of the couplings only the scale of τ is taken from the calibration, and the cubic part of the
balance, a few per cent: what is found holds for other couplings than those calibrated as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.calibration.errors import FitError
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.reciprocity import index_of_square, squared_index

from .network_model import Elements, NetworkModel

__all__ = ["ProbedResponse", "Probes", "join_probes", "probed_response", "torque_for"]

_FARTHEST = 0.5
"""Turn, rad, of a phase that has left its basin."""
_BACK = 0.1
"""Rad from the phases before, at the end of all probes, of one that has not come back."""
_ALIKE = 1e6


@final
@dataclass(frozen=True, eq=False)
class ProbedResponse:
    """Response at one equilibrium.

    Attributes
    ----------
    response, error
        (n_free, n_free) χ_ij, rad turned at i per unit of torque on j, and standard errors.
    expected
        (n_free, n_free) by the calibrated model.
    square, square_error
        r², which may be negative, and its standard error: of the reads, and of the cubic part of
        the balance, as far as the model's response is off.
    stayed
        Whether all phases stayed in their basin.
    """

    response: FloatArray
    error: FloatArray
    expected: FloatArray
    square: float
    square_error: float
    stayed: bool


@final
@dataclass(frozen=True, eq=False)
class Probes:
    """Several equilibria together.

    Attributes
    ----------
    index, index_error
        Reciprocity index: root of the mean of r² over the equilibria that stayed.
    each
        (m,) root of r² of each, negative where r² is; NaN where phases hopped.
    mismatch
        ‖χ − χ(model)‖/‖χ(model)‖, without the noise's share, mean square root over equilibria.
    hopped
        Equilibria left out.
    """

    index: float
    index_error: float
    each: FloatArray
    mismatch: float
    hopped: int


def torque_for(stiffness: FloatArray, turn: float, most: float) -> float:
    """Return τ under which random signs turn the softest phase by ``turn`` rms, or ``most``."""
    try:
        response = np.linalg.inv(stiffness)
    except np.linalg.LinAlgError:
        return most
    softest = float(np.sqrt((response**2).sum(axis=1)).max())
    return min(turn / softest, most)


def probed_response(
    model: NetworkModel,
    elements: Elements,
    free_W: FloatArray,
    power_W: FloatArray,
    free: FloatArray,
    end: FloatArray,
    phases: FloatArray,
    noise: FloatArray,
) -> ProbedResponse:
    """Find the response at one equilibrium.

    Parameters
    ----------
    free_W, power_W
        (n_heaters,) without torques; (p, 2, n_heaters) with those of both signs.
    free, end
        (n_free,) phases without torques, before and after all of them.
    phases
        (p, 2, n_free).
    noise
        (n_free,) of each of ``phases``, rad.

    Raises
    ------
    FitError
        The torques do not span all nodes.
    """
    patterns, n = len(phases), model.n_free
    still = model.local_fields(elements, elements.theta(free_W[None, :]), free[None, :])
    away = wrap(phases - free)
    at = free + away.reshape(2 * patterns, n)
    # As the set-points make them: rounding is no torque that was asked for. By the balance at the
    # phases themselves, A·turn taken back: what is left is the torque, and what the balance has
    # beyond its linear part, some per cent of it. Of that alone the model is asked.
    theta = elements.theta(power_W.reshape(2 * patterns, -1))
    balance = model.local_fields(elements, theta, at).field.imag.reshape(patterns, 2, n)
    sides = balance + away @ still.stiffness[0].T
    still_there = np.broadcast_to(free, at.shape)
    plain = model.local_fields(elements, theta, still_there).field.imag.reshape(patterns, 2, n)
    turned = (away[:, 0] - away[:, 1]) / 2
    response, error = _response((sides[:, 0] - sides[:, 1]) / 2, turned, noise)
    linear, _ = _response((plain[:, 0] - plain[:, 1]) / 2, turned, noise)
    expected = np.linalg.inv(still.stiffness[0])
    stayed = bool(np.abs(away).max() < _FARTHEST and np.abs(wrap(end - free)).max() < _BACK)
    square, square_error = squared_index(response, error)
    # As wrong as the model is of the response, as wrong it may be of what lies beyond it.
    wrong = min(1.0, float(np.linalg.norm(response - expected) / np.linalg.norm(expected)))
    beyond = wrong * (squared_index(linear, error)[0] - square)
    square_error = float(np.hypot(square_error, beyond))
    return ProbedResponse(response, error, expected, square, square_error, stayed)


def _response(
    torque: FloatArray, turned: FloatArray, noise: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return (n, n) χ of turned = torque @ χᵀ, and standard errors; ``noise`` of one phase."""
    normal = torque.T @ torque
    if len(torque) < len(normal) or np.linalg.cond(normal) > _ALIKE:
        raise FitError(f"{len(torque)} torques do not span {len(normal)} free nodes")
    inverse = np.linalg.inv(normal)
    response = (inverse @ (torque.T @ turned)).T
    return response, np.outer(noise / np.sqrt(2), np.sqrt(np.diag(inverse)))


def join_probes(found: list[ProbedResponse]) -> Probes:
    """Return the index over all equilibria; NaN where no one stayed."""
    stayed = [one for one in found if one.stayed]
    each = np.array(
        [np.sign(one.square) * np.sqrt(abs(one.square)) if one.stayed else np.nan for one in found]
    )
    hopped = len(found) - len(stayed)
    if not stayed:
        return Probes(np.nan, np.nan, each, np.nan, hopped)
    square = float(np.mean([one.square for one in stayed]))
    error = float(np.sqrt(sum(one.square_error**2 for one in stayed))) / len(stayed)
    off = [
        (((one.response - one.expected) ** 2).sum() - (one.error**2).sum())
        / (one.expected**2).sum()
        for one in stayed
    ]
    mismatch = float(np.sqrt(max(float(np.mean(off)), 0.0)))
    return Probes(*index_of_square(square, error), each, mismatch, hopped)
