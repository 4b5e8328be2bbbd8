"""The equations of a network's joint fit: parameters, residuals and their derivatives.

See `network_fit` for what the two kinds of residual are. The local field of a node depends on few
figures only: those of its own bonds, injections and detectors. Derivatives are therefore kept as
columns, one for each node and figure that acts on it; `network_normal` sums them up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
import numpy.typing as npt

from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray

from .ellipse import Detection
from .network_model import Elements, LocalFields, NetworkModel, Pairs

__all__ = ["Columns", "Equations", "Equilibria", "Free", "Point", "Prior"]

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
@dataclass(frozen=True, eq=False)
class Point:
    """Residuals of some equilibria at one vector of parameters, and what they came from.

    Attributes
    ----------
    part
        Which equilibria.
    angle, radius
        (c, n_free) residuals in σ.
    detection
        Figures of the detectors.
    local
        Local fields.
    weight
        (c, n_free) 1/σ of the angles of local fields; 1/σ of phases where they are predicted.
    inverse
        (c, n_free, n_free) A⁻¹; None for angles of local fields.
    """

    part: slice
    angle: FloatArray
    radius: FloatArray
    detection: Detection
    local: LocalFields
    weight: FloatArray
    inverse: FloatArray | None


@final
@dataclass(frozen=True, eq=False)
class Columns:
    """Derivatives of the equations of c equilibria, without their zeros.

    Angles of local fields: column k is the derivative of the residual of its own node. Predicted
    phases: those of ``field`` are derivatives of the torque Im h of its own node, and A⁻¹ makes
    residuals of them.

    Attributes
    ----------
    field
        (k, c) columns of `Equations.node` and `Equations.parameter`.
    by_phase, by_radius
        (5, n_free, c) derivatives of predicted phases and of radii, in σ, by the figures of each
        node's own detectors; None where these are not fitted, and ``by_phase`` where ``field``
        holds it.
    turns
        (c, n_turns) of all phases alike; None where there are none, or ``field`` holds them.
    """

    field: FloatArray
    by_phase: FloatArray | None
    by_radius: FloatArray | None
    turns: FloatArray | None


@final
class Equations:
    """Residuals and their derivatives over a vector of parameters.

    Attributes
    ----------
    local
        Angles of local fields instead of predicted phases.
    layout, rows
        As in `NetworkFit`.
    n
        How many parameters.
    first
        (n,) the first guess.
    precision, centre
        (n,) of the prior.
    gauge
        (n,) direction that the equilibria leave open: the mean logarithm of all maxima.
    node, parameter
        (k,) free node and parameter of each of the `Columns.field`, by node.
    detectors
        (n_free, 5) parameters of the detectors of each node; none where they are not fitted.
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
        self._model, self._seen, self.local = model, seen, local
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

        first_detector = self.layout["detection"].start
        self.detectors = first_detector + pairs[:, None] + model.n_free * np.arange(5)
        self.n_free = model.n_free
        self._lay_columns()

    def _lay_columns(self) -> None:
        """Find which figures act on which nodes."""
        model, rows = self._model, self.rows
        heaters = model.heater_pairs
        # Each of the heater's pairs once for its offset, and once for each of its slopes.
        target, self._source = rows["slope"].T
        slope, self._pair = _matches(target, heaters.item)
        self._source = self._source[slope]
        pieces = [
            (heaters.node, self._parameters("offset", rows["offset"], heaters.item)),
            (heaters.node[self._pair], self.layout["slope"].start + slope),
            (
                model.maximum_pairs.node,
                self._parameters("maximum", rows["maximum"], model.maximum_pairs.item),
            ),
        ]
        edge, self._ratio = _matches(rows["ratio"], model.ratio_pairs.item)
        pieces.append((model.ratio_pairs.node[self._ratio], self.layout["ratio"].start + edge))
        if self.local:
            near = model.phase_pairs
            if self.detectors.size:
                of_detectors = self.detectors[near.item].ravel()
                pieces.append((np.repeat(near.node, 5), of_detectors))
            n_turns = len(rows["turn"])
            every = np.repeat(np.arange(model.n_free), n_turns)
            turn = np.tile(np.arange(n_turns), model.n_free)
            pieces.append((every, self.layout["turn"].start + turn))
        node = np.concatenate([one[0] for one in pieces])
        parameter = np.concatenate([one[1] for one in pieces])
        self._order = np.argsort(node, kind="stable")
        self.node: IntArray = node[self._order]
        self.parameter: IntArray = parameter[self._order]

    def _parameters(self, name: str, rows: IntArray, items: IntArray) -> IntArray:
        place: IntArray = self.layout[name].start + np.searchsorted(rows, items)
        return place

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
    def at(self, values: FloatArray, part: slice) -> Point:
        """Return the residuals of some equilibria at a vector of parameters."""
        elements, detection = self.unpack(values)
        phases, radius = detection.phases(self._seen.voltage_V[part])
        turns = None if self._seen.turns is None else self._seen.turns[part]
        if turns is not None:
            phases = phases - (turns @ values[self.layout["turn"]])[:, None]
        theta = elements.theta(self._seen.power_W[part])
        local = self._model.local_fields(elements, theta, phases)
        noise, inverse = self._seen.noise, None
        if self.local:
            weight = _angle_weight(local, noise)
            angle = np.angle(local.field) * weight
        else:
            weight = np.broadcast_to(1 / noise, radius.shape)
            inverse = np.asarray(np.linalg.inv(local.stiffness), dtype=np.float64)
            angle = (inverse @ local.field.imag[:, :, None])[:, :, 0] / noise
        return Point(part, angle, (radius - 1.0) / noise, detection, local, weight, inverse)

    def columns(self, point: Point) -> Columns:
        """Return the derivatives there."""
        model, power = self._model, self._seen.power_W[point.part]
        by_theta = self._turned(point, model.heater_pairs, model.by_theta(point.local))
        pieces = [by_theta, by_theta[self._pair] * power.T[self._source]]
        by_maximum = model.by_log_maximum(point.local)
        pieces.append(self._turned(point, model.maximum_pairs, by_maximum))
        if len(self._ratio):
            by_ratio = model.by_log_ratio(point.local)
            pieces.append(self._turned(point, model.ratio_pairs, by_ratio)[self._ratio])
        turns = None if self._seen.turns is None else self._seen.turns[point.part]
        by_phase = by_radius = None
        if self.detectors.size:
            by_figure = point.detection.derivatives(self._seen.voltage_V[point.part])
            by_phase, by_radius = (one.transpose(0, 2, 1) for one in by_figure)
            by_radius = by_radius / self._seen.noise[:, None]
        if self.local:
            pieces += self._of_phases(point, by_phase, turns)
            by_phase = turns = None
        elif by_phase is not None:
            by_phase = -by_phase / self._seen.noise[:, None]
        return Columns(np.concatenate(pieces)[self._order], by_phase, by_radius, turns)

    def _of_phases(
        self, point: Point, by_phase: FloatArray | None, turns: FloatArray | None
    ) -> list[FloatArray]:
        """Return columns of angles of local fields by what turns the measured phases."""
        near, made = self._model.phase_pairs, []
        moved = self._turned(point, near, self._model.by_phase(point.local))
        if by_phase is not None:
            made.append(
                (moved[:, None] * by_phase[:, near.item].swapaxes(0, 1)).reshape(-1, moved.shape[1])
            )
        if turns is not None:
            alike = np.zeros((self.n_free, moved.shape[1]))
            np.add.at(alike, near.node, -moved)
            made.append((alike[:, None] * turns.T).reshape(-1, moved.shape[1]))
        return made

    def _turned(self, point: Point, pairs: Pairs, by: ComplexArray) -> FloatArray:
        """Return what changes of local fields make of angles, or of torques."""
        if not self.local:
            return np.ascontiguousarray(by.imag)
        return np.asarray((by / point.local.field.T[pairs.node]).imag * point.weight.T[pairs.node])


def _matches(wanted: IntArray, items: IntArray) -> tuple[IntArray, IntArray]:
    """Return (i, j) of all wanted[i] == items[j]."""
    order = np.argsort(items, kind="stable")
    first = np.searchsorted(items[order], wanted, side="left")
    count = np.searchsorted(items[order], wanted, side="right") - first
    one = np.repeat(np.arange(len(wanted)), count)
    within = np.arange(len(one)) - np.repeat(np.cumsum(count) - count, count)
    return one, order[np.repeat(first, count) + within]


def _angle_weight(local: LocalFields, noise: FloatArray) -> FloatArray:
    """Return 1/σ of arg h: noise of the node itself, and of its neighbours as they turn h."""
    square = local.stiffness**2 @ noise**2
    own = np.diagonal(local.stiffness, axis1=1, axis2=2) * noise
    size = np.abs(local.field)
    weight: FloatArray = 1 / np.sqrt(np.asarray(noise**2 + (square - own**2) / size**2))
    return weight
