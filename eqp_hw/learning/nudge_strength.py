"""How strong the nudge of each sample is: what was asked for, what the substrate can make.

Where the field is a continuum, β is lowered only where the largest amplitude would be passed.

Where only some amplitudes exist (`Capabilities.nudge_levels`), a nudge is made of them: with
the field f of a sample of one amplitude |f| at all its outputs, β is chosen such that β·|f| is
the level nearest to what was asked for, and the estimate is divided by this β, the one that is
really there (ep_methods §8). So:

* The cosine cost has |f| = 1 everywhere; its β is the level itself, the same for all samples.
* A frozen torque on one output has another |f| for each sample, and so another β. The
  statistics are divided by that β, so each sample counts by its torque as it should.
* A frozen torque on several outputs differs from one to the next. Its pattern cannot be made
  of levels, and rounding it at each output would be the gradient of another cost, with an error
  that no smaller β removes. Such a cost is refused before anything moves.
"""

from __future__ import annotations

import logging
from typing import final

import numpy as np

from eqp_hw.capabilities import Capabilities
from eqp_hw.errors import CapabilityError
from eqp_hw.learning.costs import Cost
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.substrate import BoolArray

__all__ = ["NudgeStrength"]

_log = logging.getLogger("eqp_hw.learning.nudge_strength")

_NOTHING = 1e-12
"""A field this small is none: a level would need an absurd β."""
_EQUAL = 1e-6
"""Relative difference up to which amplitudes count as one."""


@final
class NudgeStrength:
    """Chooses β for each sample.

    Parameters
    ----------
    capabilities
        Of the substrate.
    amplitudes
        |multiples of β| that an estimate is made of, as `Requirements.amplitudes`.
    limit
        Largest amplitude to use, beside the substrate's own; of levels at least the lowest.
    """

    def __init__(
        self,
        capabilities: Capabilities,
        amplitudes: tuple[float, ...] = (1.0,),
        limit: float | None = None,
    ) -> None:
        highest = np.inf if limit is None else limit
        self._largest = min(capabilities.nudge_maximum, highest) / max(amplitudes)
        levels = capabilities.base_levels(amplitudes)
        self._levels = None
        if levels is not None:
            every = np.array(levels)
            fitting = every[every <= highest * (1 + _EQUAL)]
            self._levels = fitting if len(fitting) else every[:1]

    def check(self, cost: Cost, n_outputs: int, beta: float) -> None:
        """Refuse a cost whose fields cannot be made of levels; say which level is used.

        Raises
        ------
        CapabilityError
            Naming what would do.
        """
        if self._levels is None:
            return
        if n_outputs > 1 and not cost.equal_amplitudes:
            raise CapabilityError(
                f"this substrate makes only nudges of {_listed(self._levels)}, the same at all "
                f"outputs of a sample, and this cost needs its own amplitude at each of "
                f"{n_outputs} outputs",
                field="cost.kind",
                value=cost.name,
                allowed="cosine; or any cost in a network with one output",
            )
        if cost.equal_amplitudes:
            level = float(self._nearest(np.array([beta]))[0])
            if abs(level - beta) > _EQUAL * beta:
                _log.warning(
                    "estimator.beta = %g is not a nudge level of this substrate; %g is used",
                    beta,
                    level,
                )

    def of(self, field: ComplexArray, beta: float) -> tuple[ComplexArray, FloatArray]:
        """Return the fields f to inject, and β of each sample.

        Parameters
        ----------
        field
            (batch, n) f as the cost asks for it.
        beta
            As asked for.

        Returns
        -------
        The same fields, but for those that are nothing; and (batch,) β.

        Raises
        ------
        CapabilityError
            Only levels exist, and a sample has more than one amplitude.
        """
        chosen = np.full(len(field), beta)
        amplitude = np.abs(field).max(axis=1)
        if self._levels is None:
            too_strong = amplitude * beta > self._largest
            np.divide(self._largest, amplitude, out=chosen, where=too_strong)
            return field, chosen
        something = np.abs(field) > _NOTHING
        uneven = something & (np.abs(field) < (1 - _EQUAL) * amplitude[:, None])
        if uneven.any():
            sample = int(np.argmax(uneven.any(axis=1)))
            raise CapabilityError(
                f"this substrate makes only nudges of {_listed(self._levels)}, the same at all "
                "outputs of a sample",
                field="nudge field",
                value=np.abs(field[sample]).round(6).tolist(),
                allowed="one amplitude, or none, at each output",
            )
        level = self._nearest(amplitude * beta)
        np.divide(level, amplitude, out=chosen, where=something.any(axis=1))
        return np.where(something, field, 0.0), chosen

    def lowered(self, field: ComplexArray, beta: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Return half of each β, or the β of a lower level; and (batch,) whether there is one."""
        if self._levels is None:
            return beta / 2, np.ones(len(beta), dtype=bool)
        amplitude = np.abs(field).max(axis=1)
        present = amplitude * beta
        below = self._levels[None, :] < (1 - _EQUAL) * present[:, None]
        possible: BoolArray = below.any(axis=1)
        apart = np.where(below, np.abs(self._levels[None, :] - present[:, None] / 2), np.inf)
        level = self._levels[apart.argmin(axis=1)]
        lower = beta.copy()
        np.divide(level, amplitude, out=lower, where=possible)
        return lower, possible

    def _nearest(self, amplitude: FloatArray) -> FloatArray:
        """Return the level nearest to each amplitude; the lower of two equally near."""
        levels = np.asarray(self._levels)
        nearest: FloatArray = levels[np.abs(levels - amplitude[:, None]).argmin(axis=1)]
        return nearest


def _listed(levels: FloatArray) -> str:
    shown = [f"{level:g}" for level in levels[:6]] + (["..."] if len(levels) > 6 else [])
    return ("amplitude " if len(shown) == 1 else "amplitudes ") + ", ".join(shown)
