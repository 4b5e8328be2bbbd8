"""How true the EP gradient of a substrate is: against its own cost, and against the emulator.

The EP gradient of every sample is compared with

* finite differences of the cost on the same substrate: a coupling or a quadrature of a bias
  field is moved by ±δ, the network follows, its free outputs are read. Nothing about the
  substrate is assumed, not even its calibration, beyond how far the parameter moved;
* the exact gradient (`eqp_hw.physics.exact_gradient`) at the parameters that the substrate says
  it holds, at the equilibrium next to the phases as read.

Where only the second disagrees, EP works and the calibration is wrong; where both do, EP does
not work (nudges too strong, not settled, non-reciprocal couplings).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from eqp_hw.errors import ParameterError, SubstrateError
from eqp_hw.experiment.assemble import Experiment
from eqp_hw.experiment.assembly import Assembly
from eqp_hw.learning.controller import Controller
from eqp_hw.learning.estimators import Round, make_estimator
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.energy import jacobian
from eqp_hw.physics.exact_gradient import exact_gradient
from eqp_hw.substrate import Reading

from .equilibrium import equilibrium_near
from .fidelity_groups import Moved, parameter_groups, pick
from .fidelity_noise import noise_modes
from .fidelity_options import FidelityOptions
from .fidelity_result import (
    ALL,
    DIFFERENCES,
    EMULATOR,
    Fidelity,
    FidelityPoint,
    FidelityRow,
    Measured,
    agreement,
    mean_of,
    mean_of_modes,
)

__all__ = ["Progress", "fidelity_of", "measure_fidelity"]

_log = logging.getLogger("eqp_hw.study")

Progress = Callable[[int, int], None]
"""Told how many of how many samples are done."""

_ATTEMPTS = 3


def measure_fidelity(
    experiment: Experiment, options: FidelityOptions, progress: Progress | None = None
) -> Fidelity:
    """Measure the fidelity of an experiment's gradients at its initial parameters.

    Parameters
    ----------
    experiment
        Its task, network, cost, estimator and substrate.
    options
        How much is measured.
    progress
        Told after every sample.

    Raises
    ------
    EqpError
        The experiment cannot be used, or no sample gave a gradient.
    """
    with experiment.build() as assembly:
        return fidelity_of(assembly, options, progress)


def fidelity_of(
    assembly: Assembly, options: FidelityOptions, progress: Progress | None = None
) -> Fidelity:
    """Measure on an assembled experiment; leaves its initial parameters programmed."""
    bench = _Bench(assembly, options)
    rows = assembly.task.split.train[: options.samples]
    for number in range(len(rows)):
        bench.measure(rows[number : number + 1], number)
        if progress is not None:
            progress(number + 1, len(rows))
    return bench.result(len(rows))


@final
@dataclass(frozen=True, eq=False)
class _Sample:
    """Gradients of one sample, (replicates, n); the emulator's (n,) or NaN.

    Noise of EP as modes (k, n), that of finite differences as variances (replicates, n).
    """

    ep: FloatArray
    ep_modes: FloatArray
    differences: FloatArray
    differences_variance: FloatArray
    emulator: FloatArray
    mismatch: float
    beta: float
    step: float


@final
class _DroppedError(Exception):
    """A sample gives no gradient, for this reason."""


@final
class _Bench:
    """One substrate at the initial parameters of an experiment; one sample at a time."""

    def __init__(self, assembly: Assembly, options: FidelityOptions) -> None:
        self._assembly = assembly
        self._options = options
        self._network = assembly.network
        self._asked = assembly.initial
        self._size = len(self._asked.flatten())
        noise = assembly.substrate.capabilities.readout_noise
        self._reads = options.reads_at(noise)
        self._error = float(noise / np.sqrt(self._reads))
        self._held = assembly.controller.program(self._asked)
        self._controller = self._planned()
        control = assembly.substrate.capabilities.bias_control
        self._groups = parameter_groups(self._network, control, directed=self._asked.directed)
        rng = assembly.streams.generator("fidelity choice")
        self._moved = pick(self._groups, options.bonds, rng)
        self._left_out: dict[str, str] = {}
        self._lost: Counter[str] = Counter()
        self._restarts = 0
        self._samples: list[_Sample] = []
        self._alone: list[_Sample] = []

    def _planned(self) -> Controller:
        """Return the controller that measures: as the experiment says, or as it would choose."""
        assembly, controller = self._assembly, self._assembly.controller
        if assembly.planner is None:
            return controller.changed(controller.estimator, repeats=self._reads)
        rows = assembly.task.split.train[: self._options.samples]
        task = assembly.task
        plan = assembly.planner.plan(controller, task.inputs[rows], task.targets[rows], (0,), None)
        return controller.changed(
            make_estimator(plan.kind, plan.options),
            beta=plan.beta,
            repeats=self._reads,
            interleave=plan.interleave,
            attenuation=plan.attenuation,
            nudge_limit=plan.nudge_limit,
        )

    def measure(self, rows: IntArray, number: int) -> None:
        """Measure a sample; from another start, with smaller β and δ, where it hops."""
        last, nudged = "", None
        for attempt in range(_ATTEMPTS):
            self._restarts += attempt > 0
            try:
                one, step = self._started(rows, number, attempt)
                ep, modes = self._nudged(one)
                emulator, mismatch = self._exact(one)
                beta, none = float(one.beta[0]), np.full_like(ep, np.nan)
                nudged = _Sample(ep, modes, none, none, emulator, mismatch, beta, step)
                differences, variance = self._differences(one, step)
            except _DroppedError as reason:
                _log.info("sample %d, attempt %d: %s", number, attempt, reason)
                last = str(reason)
            else:
                complete = replace(nudged, differences=differences, differences_variance=variance)
                self._samples.append(complete)
                return
        self._lost[last] += 1
        if nudged is not None:
            self._alone.append(nudged)

    def _started(self, rows: IntArray, number: int, attempt: int) -> tuple[Round, float]:
        """Return a sample at its free state, ready to be nudged, and δ."""
        task, smaller = self._assembly.task, 0.5**attempt
        options = self._controller.options
        controller = self._controller.changed(
            self._controller.estimator, beta=options.beta * smaller
        )
        self._held = controller.program(self._asked)
        one = controller.free_round(
            task.inputs[rows], task.targets[rows], (number, attempt), "fidelity"
        )
        if not one.active.all():
            raise _DroppedError("does not settle")
        stiffness = smaller * self._stiffness(one.free.phases[0])
        return one, self._options.step_at(self._error, stiffness, self._resolution())

    def _nudged(self, one: Round) -> tuple[FloatArray, FloatArray]:
        """Return the EP gradient of every replicate, and the modes of its noise."""
        values, modes = np.zeros((self._options.replicates, self._size)), np.zeros((1, 1))
        row, scale, directed = np.array([True]), np.ones(1), self._asked.directed
        for replicate in range(len(values)):
            again = self._again(one)
            found = self._controller.estimator.measure(again)
            if not found.settled.all():
                raise _DroppedError("does not settle under the nudge")
            if found.hopped.any():
                raise _DroppedError("leaves its basin under the nudge")
            gradient = found.gradient(
                self._network,
                row,
                scale,
                directed=directed,
                attenuation=self._controller.options.attenuation,
            )
            values[replicate] = gradient.flatten()
            if replicate == 0:
                modes = noise_modes(again, found, self._controller.cost, self._held)
        return values, modes

    def _again(self, one: Round) -> Round:
        """Return the round with the free state read anew, and the field that follows from it."""
        if not self._error or not one.substrate.capabilities.state_restore:
            return one
        one.substrate.restore_state(one.token)
        free, able = one.substrate.read_phases(self._reads), one.substrate.capabilities
        if able.nudge_levels is not None:
            return replace(one, free=free)
        cost, outputs = self._controller.cost, self._network.outputs
        was, now = (
            cost.nudge_field(reading.phases[:, outputs], one.targets)
            for reading in (one.free, free)
        )
        # Whatever the controller did to the field so that the substrate can make it.
        field = now * np.divide(one.field, was, out=np.ones_like(was), where=was != 0)
        strongest = np.abs(one.beta[:, None] * field).max(axis=1)
        beta = one.beta * np.minimum(1.0, able.nudge_maximum / np.maximum(strongest, 1e-300))
        return replace(one, free=free, field=field, beta=beta)

    def _differences(self, one: Round, step: float) -> tuple[FloatArray, FloatArray]:
        """Return dC/dθ of the parameters moved, by replicate, and its variance."""
        values, variance = np.full((2, self._options.replicates, self._size), np.nan)
        for replicate in range(len(values)):
            for moved in self._moved:
                if moved.name not in self._left_out:
                    found = self._difference(one, moved, step)
                    values[replicate, moved.index], variance[replicate, moved.index] = found
            self._controller.program(self._asked)
            back = self._follow(one)
            if self._apart(one, back) > min(self._options.hop_limit, 0.1 + 6 * self._error):
                raise _DroppedError("does not come back when parameters do")
        return values, variance

    def _difference(self, one: Round, moved: Moved, step: float) -> tuple[float, float]:
        cost, variance, place = np.zeros(2), 0.0, np.zeros(2)
        low, high = self._assembly.substrate.capabilities.coupling_range
        for k, sign in enumerate((1, -1)):
            asked = moved.shifted(self._asked, sign * step, low, high)
            try:
                place[k] = moved.of(self._controller.program(asked))
            except ParameterError as error:
                self._left_out[moved.name] = str(error)
                return np.nan, np.nan
            reading = self._follow(one)
            if self._apart(one, reading) > self._options.hop_limit + 6 * self._error:
                raise _DroppedError("leaves its basin when a parameter moves")
            cost[k], spread = self._cost(one, reading)
            variance += spread
        way = place[0] - place[1]
        if not way > 0:
            self._left_out[moved.name] = f"moved by {way:g} where {2 * step:g} was asked for"
            return np.nan, np.nan
        return float((cost[0] - cost[1]) / way), float(variance / way**2)

    def _follow(self, one: Round) -> Reading:
        """Let the phases follow moved parameters from the free state; read them."""
        substrate = one.substrate
        able = substrate.capabilities
        if able.state_restore and able.fast_reprogramming:
            substrate.restore_state(one.token)
        if not substrate.settle().settled.all():
            raise _DroppedError("does not settle when a parameter moves")
        return substrate.read_phases(self._reads)

    def _apart(self, one: Round, reading: Reading) -> float:
        return float(np.abs(wrap(reading.phases - one.free.phases)).max())

    def _cost(self, one: Round, reading: Reading) -> tuple[float, float]:
        """Return the cost and its variance by the noise of the read-out."""
        outputs, cost = self._network.outputs, self._controller.cost
        phases = reading.phases[:, outputs]
        slope = cost.gradient(phases, one.targets)
        variance = ((slope * one.errors(reading)[:, outputs]) ** 2).sum()
        return float(cost.value(phases, one.targets)[0]), float(variance)

    def _stiffness(self, phases: FloatArray) -> float:
        """Return the least curvature of the energy, as far as we know it; only δ rests on it."""
        matrix = jacobian(self._network, self._held, phases).toarray()
        typical = max(float(np.abs(matrix.diagonal()).mean()), 1e-6)
        softest = float(np.linalg.eigvals(matrix).real.min())
        # Where we know so little that the phases would not even be stable, a guess.
        return float(np.clip(softest if softest > 0 else 0.3 * typical, 0.05 * typical, typical))

    def _resolution(self) -> float:
        able = self._assembly.substrate.capabilities
        if able.coupling_bits is None:
            return 0.0
        low, high = able.coupling_range
        return float((high - low) / (2**able.coupling_bits - 1))

    def _exact(self, one: Round) -> tuple[FloatArray, float]:
        """Return the emulator's gradient and how far its phases are from those read."""
        phases = one.free.phases[0]
        near = equilibrium_near(self._network, self._held, phases)
        if near is None:
            return np.full(self._size, np.nan), np.nan
        outputs = self._network.outputs
        slope = np.zeros((1, len(phases)))
        slope[:, outputs] = self._controller.cost.gradient(near[None, outputs], one.targets)
        gradient = exact_gradient(self._network, self._held, near[None], slope, np.ones(1))
        return gradient.flatten(), float(np.abs(wrap(near - phases)).max())

    def result(self, asked: int) -> Fidelity:
        """Average over samples and replicates, and compare.

        Where no sample lets parameters move, those with an EP gradient are compared with the
        emulator alone.

        Raises
        ------
        SubstrateError
            No sample counts.
        """
        reasons = ", ".join(f"{reason}: {n}" for reason, n in self._lost.items())
        samples, assembly = self._samples or self._alone, self._assembly
        if not samples:
            raise SubstrateError(f"none of {asked} samples gave a gradient ({reasons})")
        ep, excess_ep = mean_of_modes([(one.ep, one.ep_modes) for one in samples])
        differences, excess = mean_of(
            [(one.differences, one.differences_variance) for one in samples]
        )
        known = [one for one in samples if np.isfinite(one.mismatch)]
        exact, same_ep = np.full(self._size, np.nan), ep
        if known:
            exact = np.mean([one.emulator for one in known], axis=0)
            same_ep, _ = mean_of_modes([(one.ep, one.ep_modes) for one in known])
        return Fidelity(
            title=f"{assembly.dataset.name} on {assembly.network.name}",
            network=self._network.name,
            cost=self._controller.cost.name,
            engine=assembly.engine,
            estimator=self._controller.estimator.name,
            beta=float(np.median([one.beta for one in samples])),
            step=float(np.median([one.step for one in samples])),
            reads=self._reads,
            replicates=self._options.replicates,
            samples=asked,
            used=len(samples),
            restarts=self._restarts,
            lost=dict(self._lost),
            excess_ep=excess_ep,
            excess_differences=excess,
            mismatch=float(np.median([one.mismatch for one in known])) if known else np.nan,
            strays=len(samples) - len(known),
            rows=self._rows(DIFFERENCES, ep, differences)
            + self._rows(EMULATOR, same_ep, Measured(exact, np.zeros_like(exact))),
            points=self._points(ep, differences, exact),
            left_out=self._left_out,
        )

    def _rows(self, reference: str, ep: Measured, other: Measured) -> list[FidelityRow]:
        members = {
            group: np.array([one.index for one in parameters], dtype=np.int64)
            for group, parameters in self._groups.items()
        }
        rows = []
        for group, index in {ALL: np.concatenate(list(members.values())), **members}.items():
            here = index[np.isfinite(other.values[index])]
            if len(here):
                rng = self._assembly.streams.generator(f"fidelity {reference} {group}")
                rows.append(agreement(reference, group, ep.only(here), other.only(here), rng))
        return rows

    def _points(
        self, ep: Measured, differences: Measured, exact: FloatArray
    ) -> list[FidelityPoint]:
        columns = (ep.values, ep.errors, differences.values, differences.errors, exact)
        return [
            FidelityPoint(group, one.name, *(float(column[one.index]) for column in columns))
            for group, members in self._groups.items()
            for one in members
        ]
