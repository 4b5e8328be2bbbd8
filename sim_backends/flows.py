"""The flow of one programmed network: parameters bound, fields and phases left open."""

from __future__ import annotations

import dataclasses
import logging
from abc import ABC, abstractmethod
from typing import final

import numpy as np
from typing_extensions import override

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray

from .relaxation.directed import follow_directed, relax_directed
from .relaxation.interface import Bonds, Relaxation, RelaxationEngine, RelaxationOptions

__all__ = ["DirectedFlow", "Flow", "ParanoidFlow", "ReciprocalFlow"]

_log = logging.getLogger("eqp_hw.sim_backends.flows")


class Flow(ABC):
    """Relaxes batches of free phases; arrays as in `RelaxationEngine`."""

    @abstractmethod
    def relax(self, field: ComplexArray, start: FloatArray) -> Relaxation:
        """Follow the flow from ``start`` to its end."""

    @abstractmethod
    def follow(
        self, field: ComplexArray, start: FloatArray, previous_field: ComplexArray
    ) -> Relaxation:
        """Do the same from an equilibrium of ``previous_field``, with a test for hops."""


@final
class ReciprocalFlow(Flow):
    """Gradient flow of a network with J_ij = J_ji."""

    def __init__(
        self, engine: RelaxationEngine, coupling: FloatArray, options: RelaxationOptions
    ) -> None:
        self._engine = engine
        self._coupling = coupling
        self._options = options

    @override
    def relax(self, field: ComplexArray, start: FloatArray) -> Relaxation:
        return self._engine.relax(self._coupling, field, start, self._options)

    @override
    def follow(
        self, field: ComplexArray, start: FloatArray, previous_field: ComplexArray
    ) -> Relaxation:
        return self._engine.follow(self._coupling, field, start, self._options, previous_field)


@final
class DirectedFlow(Flow):
    """Flow of a non-reciprocal network; may have no fixed point."""

    def __init__(
        self,
        bonds: Bonds,
        forward: FloatArray | ComplexArray,
        reverse: FloatArray | ComplexArray,
        options: RelaxationOptions,
    ) -> None:
        self._bonds = bonds
        self._forward = forward
        self._reverse = reverse
        self._options = options

    @override
    def relax(self, field: ComplexArray, start: FloatArray) -> Relaxation:
        return relax_directed(
            self._bonds, self._forward, self._reverse, field, start, self._options
        )

    @override
    def follow(
        self, field: ComplexArray, start: FloatArray, previous_field: ComplexArray
    ) -> Relaxation:
        return follow_directed(
            self._bonds, self._forward, self._reverse, field, start, self._options, previous_field
        )


@final
class ParanoidFlow(Flow):
    """Relaxes at two tolerances, and again far tighter where the two ends differ.

    Two basins that a loose step may confuse are told apart by their disagreement
    (relaxation §3); costs about three times a plain relaxation.
    """

    def __init__(self, usual: Flow, tighter: Flow, tightest: Flow) -> None:
        self._usual, self._tighter, self._tightest = usual, tighter, tightest

    @override
    def relax(self, field: ComplexArray, start: FloatArray) -> Relaxation:
        first = self._usual.relax(field, start)
        second = self._tighter.relax(field, start)
        differ = np.flatnonzero(
            (np.abs(np.angle(np.exp(1j * (first.phases - second.phases)))).max(axis=1) > 1e-6)
            | (first.status != second.status)
        )
        if not len(differ):
            return second
        _log.info("two tolerances disagree on %d of %d samples", len(differ), len(start))
        return _replace_samples(second, differ, self._tightest.relax(field[differ], start[differ]))

    @override
    def follow(
        self, field: ComplexArray, start: FloatArray, previous_field: ComplexArray
    ) -> Relaxation:
        # A follow ends in Newton under a certificate, or in a flow; only the latter can err.
        return self._tighter.follow(field, start, previous_field)


def _replace_samples(into: Relaxation, rows: np.ndarray, source: Relaxation) -> Relaxation:
    parts = {}
    for item in dataclasses.fields(Relaxation):
        array = getattr(into, item.name).copy()
        array[rows] = getattr(source, item.name)
        parts[item.name] = array
    return Relaxation(**parts)
