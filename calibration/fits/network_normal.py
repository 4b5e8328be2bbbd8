"""Normal equations of a network's joint fit, from derivatives without their zeros.

With J = R (A⁻¹ D + E), R the roots of the weights in σ, D the few columns of each node's torque
and E those of its own detectors, the normal matrix JᵀJ has the blocks

    D_iᵀ diag(W_ij) D_j,  W = A⁻ᵀ R² A⁻¹;     D_iᵀ diag(V_ij) E_j,  V = A⁻ᵀ R²;     E_iᵀ R_i² E_i

of nodes i and j, with the equilibria along the diagonals. J itself, of which nearly all would be
multiplied with zeros, is never made. Angles of local fields need the blocks i = j only.
"""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np
from scipy.sparse import csr_array

from eqp_hw.network.graph import FloatArray

from .network_equations import Columns, Equations, Point

__all__ = ["NormalEquations", "Summed"]


@final
class Summed(NamedTuple):
    """Normal equations, without a prior.

    Attributes
    ----------
    matrix
        (n, n) JᵀJ, weighted.
    gradients
        (n, m) Jᵀr of each equilibrium by itself: radii and angles, weighted.
    """

    matrix: FloatArray
    gradients: FloatArray


@final
class NormalEquations:
    """Sums the columns of `Equations` up."""

    def __init__(self, equations: Equations) -> None:
        self._equations = equations
        self._detectors = equations.layout["detection"]
        self._turns = equations.layout["turn"]
        node, parameter = equations.node, equations.parameter
        n_free = equations.n_free
        self._ends = np.searchsorted(node, np.arange(n_free + 1))
        entries = (np.ones(len(node)), (parameter, np.arange(len(node))))
        self._collect = csr_array(entries, shape=(equations.n, len(node)))

    def sum_up(
        self, points: list[Point], weights: list[FloatArray], of_radius: list[FloatArray]
    ) -> Summed:
        """Return the normal equations of all equilibria.

        Parameters
        ----------
        points
            Parts of the equilibria.
        weights, of_radius
            (c, n_free) of the robust loss, of each part's angles and radii.
        """
        of_fields = 0 if self._equations.local else len(self._equations.node)
        half = np.zeros((self._equations.n,) * 2)
        between = np.zeros((of_fields, of_fields))
        gradients = []
        for point, weight, weight_of_radius in zip(points, weights, of_radius, strict=True):
            columns = self._equations.columns(point)
            if self._equations.local:
                gradient = self._add_angles(half, point, columns, weight.T)
            else:
                gradient = self._add_phases(half, between, point, columns, weight.T)
            if columns.by_radius is not None:
                weighted = columns.by_radius * weight_of_radius.T
                self._add_own(half, weighted, columns.by_radius)
                gradient[self._detectors] += _flat(weighted * point.radius.T)
            gradients.append(gradient)
        if of_fields:
            half += np.asarray(self._collect @ np.asarray(self._collect @ between).T)
        half += half.T
        return Summed(half, np.concatenate(gradients, axis=1))

    def _add_angles(
        self, half: FloatArray, point: Point, columns: Columns, weight: FloatArray
    ) -> FloatArray:
        parameter, root = self._equations.parameter, np.sqrt(weight)
        for node in range(len(root)):
            one = slice(self._ends[node], self._ends[node + 1])
            rows = columns.field[one] * root[node]
            half[np.ix_(parameter[one], parameter[one])] += 0.5 * (rows @ rows.T)
        pulled = (weight * point.angle.T)[self._equations.node]
        return np.asarray(self._collect @ (columns.field * pulled))

    def _add_phases(
        self,
        half: FloatArray,
        between: FloatArray,
        point: Point,
        columns: Columns,
        weight: FloatArray,
    ) -> FloatArray:
        """Add what predicted phases tell; what fields make of it is left in ``between``."""
        node, parameter = self._equations.node, self._equations.parameter
        root = np.sqrt(weight)
        size = root * point.weight.T
        fields, solved = _whitened(point, size)
        left = root * point.angle.T
        pulled = np.einsum("ijc,jc->ic", solved, left)
        gradient: FloatArray = np.asarray(self._collect @ (columns.field * pulled[node]))
        own = None if columns.by_phase is None else columns.by_phase * root
        turns = columns.turns
        for k in range(len(root)):
            first, end = self._ends[k], self._ends[k + 1]
            rows = columns.field[first:end]
            block = rows @ (fields[k][node[first:]] * columns.field[first:]).T
            block[:, : end - first] *= 0.5
            between[first:end, first:] += block
            if own is not None:
                half[parameter[first:end], self._detectors] += rows @ _flat(solved[k] * own).T
            if turns is not None:
                alike = (solved[k] * size).sum(axis=0)
                half[parameter[first:end], self._turns] += (rows * alike) @ turns
        if own is not None:
            self._add_own(half, own, own)
            gradient[self._detectors] += _flat(own * left)
        if turns is not None:
            gradient[self._turns] += turns.T * (size * left).sum(axis=0)
            half[self._turns, self._turns] += 0.5 * (turns.T * (size**2).sum(axis=0)) @ turns
            if own is not None:
                half[self._detectors, self._turns] += _flat(own * size) @ turns
        return gradient

    def of_offsets(
        self, points: list[Point], weights: list[FloatArray], shapes: FloatArray
    ) -> FloatArray:
        """Return (k, n_offsets, n) rows of the offsets of J'J, equilibria weighted by k shapes.

        Radii have no part in them.

        Parameters
        ----------
        points, weights
            As in `sum_up`; of predicted phases.
        shapes
            (m, k) further weights, of any sign.
        """
        equations, offsets = self._equations, self._equations.layout["offset"]
        made = np.zeros((shapes.shape[1], offsets.stop - offsets.start, equations.n))
        for point, weight in zip(points, weights, strict=True):
            columns, shape = equations.columns(point), shapes[point.part].T[:, None]
            root = np.sqrt(weight.T)
            size = root * point.weight.T
            fields, solved = _whitened(point, size)
            own = None if columns.by_phase is None else columns.by_phase * root
            for k in range(len(root)):
                one = slice(self._ends[k], self._ends[k + 1])
                wanted = equations.parameter[one] < offsets.stop
                rows = (shape * columns.field[one][wanted]).reshape(-1, len(point.angle))
                of_all = rows @ (fields[k][equations.node] * columns.field).T
                block = np.asarray(self._collect @ of_all.T).T
                if own is not None:
                    block[:, self._detectors] += rows @ _flat(solved[k] * own).T
                if columns.turns is not None:
                    block[:, self._turns] += (rows * (solved[k] * size).sum(axis=0)) @ columns.turns
                made[:, equations.parameter[one][wanted]] += block.reshape(
                    len(made), -1, equations.n
                )
        return made

    def _add_own(self, half: FloatArray, one: FloatArray, other: FloatArray) -> None:
        """Add half of the products of (5, n_free, c) figures of each node's own detectors."""
        rows = self._equations.detectors
        products = np.einsum("ajc,bjc->jab", one, other, optimize=True)
        half[rows[:, :, None], rows[:, None, :]] += 0.5 * products


def _whitened(point: Point, size: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return A⁻ᵀR²A⁻¹ and A⁻ᵀR, R = diag(size): (torque, torque or phase, equilibrium)."""
    assert point.inverse is not None
    solved = point.inverse * size.T[:, :, None]
    fields = np.ascontiguousarray((solved.transpose(0, 2, 1) @ solved).transpose(1, 2, 0))
    return fields, np.ascontiguousarray(solved.transpose(2, 1, 0))


def _flat(own: FloatArray) -> FloatArray:
    """Return (5·n_free, c) of (5, n_free, c)."""
    return own.reshape(-1, own.shape[2])
