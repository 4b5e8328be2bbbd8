"""The equations of a network's joint fit: parameters, residuals and their Jacobians.

See `network_fit` for what the two kinds of residual are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
import numpy.typing as npt

from eqp_hw.network.graph import FloatArray, IntArray

from .ellipse import Detection
from .network_model import Elements, LocalFields, NetworkModel

__all__ = ["Equations", "Equilibria", "Free", "Prior"]

_BoolArray = npt.NDArray[np.bool_]


@final
@dataclass(frozen=True, eq=False)
class Equilibria:
    """What was seen.

    Attributes
    ----------
    power_W
        (m, n_heaters).
    voltage_V
        (m, 2·n_free) averaged detector voltages, in-phase ones first.
    noise
        (n_free,) standard deviation of a phase in them, rad.
    turns
        (m, k) shapes over the equilibria in which a drifting reference may have turned all
        phases alike; their sizes are fitted. None: it is steady.
    """

    power_W: FloatArray
    voltage_V: FloatArray
    noise: FloatArray
    turns: FloatArray | None = None

    def pick(self, chosen: _BoolArray | slice) -> Equilibria:
        """Return some of them."""
        return replace(
            self,
            power_W=self.power_W[chosen],
            voltage_V=self.voltage_V[chosen],
            turns=None if self.turns is None else self.turns[chosen],
        )

    def __len__(self) -> int:
        return len(self.power_W)


@final
@dataclass(frozen=True, eq=False)
class Free:
    """Which figures are fitted; all others stay as they are.

    Attributes
    ----------
    slopes
        (n_heaters, n_heaters) bool; offsets and maxima of all that is seen are always fitted.
    ratios
        (n_edges,) bool, ln(J_ij/J_ji).
    detection
        Whether the detectors' figures are fitted along.
    """

    slopes: _BoolArray
    ratios: _BoolArray
    detection: bool = True


@final
@dataclass(frozen=True, eq=False)
class Prior:
    """What is taken for granted of each figure, as standard deviations around the first guess.

    Weak ones: they keep what the data leave open from running away.

    Attributes
    ----------
    slope
        Of own slopes, relative.
    crosstalk
        Of crosstalk entries X.
    maximum
        Of maxima, relative.
    ratio
        Of ln(J_ij/J_ji).
    maxima
        (n_maxima,) around which the maxima are expected; the first guess where left out.
    """

    slope: float = 0.5
    crosstalk: float = 0.05
    maximum: float = 1.0
    ratio: float = 0.5
    maxima: FloatArray | None = None


@final
class Equations:
    """Residuals and Jacobians over a vector of parameters.

    Attributes
    ----------
    layout, rows
        As in `NetworkFit`.
    first
        (n,) the first guess.
    precision, centre
        (n,) of the prior.
    gauge
        (n,) direction that the equilibria leave open: the mean logarithm of all maxima.
    """

    def __init__(
        self,
        model: NetworkModel,
        start: Elements,
        detection: Detection,
        seen: Equilibria,
        free: Free,
        prior: Prior,
        local: bool,
    ) -> None:
        self._model, self._seen, self._local = model, seen, local
        self._start, self._detection = start, detection
        heaters = np.flatnonzero(model.seen)
        slopes = np.argwhere(free.slopes & model.seen[:, None])
        maxima = np.flatnonzero(model.seen_maxima)
        ratios = np.flatnonzero(free.ratios)
        pairs = np.arange(model.n_free if free.detection else 0)
        self.rows: dict[str, IntArray] = {
            "offset": heaters,
            "slope": slopes,
            "maximum": maxima,
            "ratio": ratios,
            "detection": pairs,
            "turn": np.arange(0 if seen.turns is None else seen.turns.shape[1]),
        }
        self.layout: dict[str, slice] = {}
        end = 0
        for name, rows in self.rows.items():
            count = len(rows) * (5 if name == "detection" else 1)
            self.layout[name] = slice(end, end + count)
            end += count
        self.n = end
        own = np.diag(start.slope)
        mine = slopes[:, 0] == slopes[:, 1]
        spread = np.where(mine, prior.slope, prior.crosstalk) * own[slopes[:, 0]]
        precision = np.zeros(end)
        precision[self.layout["slope"]] = 1 / spread**2
        precision[self.layout["maximum"]] = 1 / prior.maximum**2
        precision[self.layout["ratio"]] = 1 / prior.ratio**2
        self.precision = precision
        self.first = self._pack(start, detection)
        self.centre = self.first.copy()
        if prior.maxima is not None:
            self.centre[self.layout["maximum"]] = np.log(prior.maxima[maxima])
        self.gauge = np.zeros(end)
        if len(maxima):
            self.gauge[self.layout["maximum"]] = 1 / len(maxima)

    # -- parameters ---------------------------------------------------------------------------
    def _pack(self, elements: Elements, detection: Detection) -> FloatArray:
        rows, made = self.rows, np.empty(self.n)
        made[self.layout["offset"]] = elements.offset[rows["offset"]]
        made[self.layout["slope"]] = elements.slope[tuple(rows["slope"].T)]
        made[self.layout["maximum"]] = np.log(elements.maximum[rows["maximum"]])
        made[self.layout["ratio"]] = elements.log_ratio[rows["ratio"]]
        made[self.layout["detection"]] = detection.values[:, rows["detection"]].ravel()
        made[self.layout["turn"]] = 0.0
        return made

    def unpack(self, values: FloatArray) -> tuple[Elements, Detection]:
        """Return elements and detectors' figures of a vector of parameters."""
        rows, start = self.rows, self._start
        offset, slope = start.offset.copy(), start.slope.copy()
        maximum, ratio = start.maximum.copy(), start.log_ratio.copy()
        detection = self._detection.values.copy()
        offset[rows["offset"]] = values[self.layout["offset"]]
        slope[tuple(rows["slope"].T)] = values[self.layout["slope"]]
        maximum[rows["maximum"]] = np.exp(values[self.layout["maximum"]])
        ratio[rows["ratio"]] = values[self.layout["ratio"]]
        if len(rows["detection"]):
            detection = values[self.layout["detection"]].reshape(5, -1)
        return Elements(offset, slope, maximum, ratio), Detection(detection)

    # -- equations ----------------------------------------------------------------------------
    def residuals(
        self, values: FloatArray, part: slice, jacobian: bool
    ) -> tuple[FloatArray, FloatArray, FloatArray | None, FloatArray | None]:
        """Return angles and radii residuals (c, n_free) in σ, and their Jacobians."""
        elements, detection = self.unpack(values)
        power, voltage = self._seen.power_W[part], self._seen.voltage_V[part]
        phases, radius = detection.phases(voltage)
        turns = None if self._seen.turns is None else self._seen.turns[part]
        if turns is not None:
            phases = phases - (turns @ values[self.layout["turn"]])[:, None]
        local = self._model.local_fields(elements, elements.theta(power), phases)
        noise = self._seen.noise
        round_ = (radius - 1.0) / noise
        if self._local:
            weight = _angle_weight(local, noise)
            angle = np.angle(local.field) * weight
        else:
            inverse = np.linalg.inv(local.stiffness)
            angle = np.einsum("mij,mj->mi", inverse, local.field.imag) / noise
        if not jacobian:
            return angle, round_, None, None
        made = np.zeros((*angle.shape, self.n))

        def turned(by: npt.NDArray[np.complex128]) -> FloatArray:
            if self._local:
                scaled: FloatArray = (by / local.field[:, :, None]).imag * weight[:, :, None]
                return scaled
            solved: FloatArray = (inverse @ by.imag) / noise[None, :, None]
            return solved

        by_theta = turned(self._model.by_theta(local))
        rows = self.rows
        made[:, :, self.layout["offset"]] = by_theta[:, :, rows["offset"]]
        target, source = rows["slope"].T
        made[:, :, self.layout["slope"]] = by_theta[:, :, target] * power[:, None, source]
        by_maximum = turned(self._model.by_log_maximum(local))
        made[:, :, self.layout["maximum"]] = by_maximum[:, :, rows["maximum"]]
        if len(rows["ratio"]):
            by_ratio = turned(self._model.by_log_ratio(local))
            made[:, :, self.layout["ratio"]] = by_ratio[:, :, rows["ratio"]]
        if turns is not None:
            moved = np.ones_like(angle) / noise
            if self._local:
                moved = local.stiffness.sum(axis=2) / np.abs(local.field) * weight
            made[:, :, self.layout["turn"]] = moved[:, :, None] * turns[:, None, :]
        if not len(rows["detection"]):
            return angle, round_, made, None
        by_phase, by_radius = detection.derivatives(voltage)
        block = np.zeros((*angle.shape, 5, self._model.n_free))
        if self._local:
            full = -weight[:, :, None] * local.stiffness / np.abs(local.field)[:, :, None]
            block += full[:, :, None, :] * by_phase.transpose(1, 0, 2)[:, None]
        else:
            each = np.arange(self._model.n_free)
            block[:, each, :, each] -= (by_phase / noise).transpose(2, 1, 0)
        made[:, :, self.layout["detection"]] = block.reshape(*angle.shape, -1)
        return angle, round_, made, by_radius / noise


def _angle_weight(local: LocalFields, noise: FloatArray) -> FloatArray:
    """Return 1/σ of arg h: noise of the node itself, and of its neighbours as they turn h."""
    off = local.stiffness - np.einsum("mii,ij->mij", local.stiffness, np.eye(len(noise)))
    size = np.abs(local.field)
    weight: FloatArray = 1 / np.sqrt(noise**2 + (off**2 @ noise**2) / size**2)
    return weight
