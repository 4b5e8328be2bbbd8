"""The controller: inputs, free phase, nudges, reads, local statistics, and what to do at a hop.

It speaks to the hardware only through `Substrate`. Where a nudged sample hops to another
basin or does not settle, its β is halved and the nudge repeated from the stored free state;
then the sample gets a new random start; only then is it excluded, and counted (ep_methods §8).
"""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import final

import numpy as np

from eqp_hw.errors import ConfigurationError
from eqp_hw.learning.controller_options import ControllerOptions
from eqp_hw.learning.costs import Cost, distance
from eqp_hw.learning.estimators import Contrast, LinearContrast, fitting_estimators
from eqp_hw.learning.gradient_estimate import Evaluation, GradientEstimate, Tally
from eqp_hw.learning.nudge_strength import NudgeStrength
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.energy import PhaseArray, statistics
from eqp_hw.physics.parameters import ComplexArray, Parameters
from eqp_hw.randomness import RandomStreams
from eqp_hw.substrate import BoolArray, Measurement, StateToken, Substrate

__all__ = ["Controller", "ControllerOptions", "Evaluation", "GradientEstimate"]

_log = logging.getLogger("eqp_hw.learning.controller")


@final
class Controller:
    """Measures gradients and free phases on a substrate.

    Parameters
    ----------
    substrate
        Where the physics happens; its parameters are written by the trainer.
    cost, estimator
        What is minimised and how its gradient is measured.
    options
        See `ControllerOptions`.
    streams
        All randomness of the run.

    Raises
    ------
    CapabilityError
        The substrate cannot serve the estimator; the message names what is missing.
    """

    def __init__(
        self,
        substrate: Substrate,
        cost: Cost,
        estimator: LinearContrast,
        options: ControllerOptions,
        streams: RandomStreams,
    ) -> None:
        capabilities = substrate.capabilities
        estimator.requirements.check(capabilities, estimator.name, fitting_estimators(capabilities))
        outputs = tuple(int(node) for node in substrate.network.outputs)
        missing = sorted(set(outputs) - set(capabilities.nudge_nodes))
        if missing:
            raise ConfigurationError(
                f"the substrate cannot nudge output node {missing[0]}",
                field="network.outputs",
                value=list(outputs),
                allowed=f"among {list(capabilities.nudge_nodes)}",
            )
        self._strength = NudgeStrength(capabilities, estimator.requirements.amplitudes)
        self._strength.check(cost, len(outputs), options.beta)
        self.substrate = substrate
        self.cost = cost
        self.estimator = estimator
        self.options = options
        self._streams = streams
        limits = [size for size in (capabilities.batch_limit, options.batch_size) if size]
        self._chunk = min(limits) if limits else None
        self._site_of_output = [capabilities.nudge_nodes.index(node) for node in outputs]

    def gradient(
        self, inputs: FloatArray, targets: FloatArray, address: tuple[int, ...]
    ) -> GradientEstimate:
        """Estimate the mean dC/dθ of a batch.

        Parameters
        ----------
        inputs
            (batch, n_inputs) rad.
        targets
            (batch, n_outputs) target phases, rad.
        address
            Counters (such as the step) that address this estimate's random draws.
        """
        network = self.substrate.network
        copies = self.options.initial_states
        inputs, targets = np.tile(inputs, (copies, 1)), np.tile(targets, (copies, 1))
        tally = Tally(Parameters.zeros(network))
        free_outputs = np.empty((len(inputs), len(network.outputs)))
        for number, rows in enumerate(self._chunks(len(inputs))):
            free_outputs[rows] = self._attempt(
                inputs[rows], targets[rows], (*address, number), 0, np.zeros_like(rows), tally
            )
        used = max(tally.used, 1)
        return GradientEstimate(
            gradient=tally.gradient.map(lambda total: total / used),
            output_phases=free_outputs,
            cost=float(self.cost.value(free_outputs, targets).mean()),
            distance=float(distance(free_outputs, targets).mean()),
            **{
                item.name: getattr(tally, item.name)
                for item in dataclasses.fields(Tally)
                if item.name != "gradient"
            },
        )

    def evaluate(
        self, inputs: FloatArray, address: tuple[int, ...], purpose: str = "evaluate"
    ) -> Evaluation:
        """Return the free phases of a batch from fresh random starts.

        A sample that does not settle is started anew up to ``max_restarts`` times.
        """
        network = self.substrate.network
        phases = np.empty((len(inputs), network.n_nodes))
        settled = np.zeros(len(inputs), dtype=bool)
        for number, rows in enumerate(self._chunks(len(inputs))):
            pending = rows
            for attempt in range(self.options.max_restarts + 1):
                self.substrate.set_inputs(inputs[pending])
                self.substrate.reset(self._streams.number(purpose, *address, number, attempt))
                outcome = self.substrate.settle()
                reading = self.substrate.read_phases(self.options.repeats)
                phases[pending] = reading.phases
                settled[pending] = outcome.settled
                pending = pending[~outcome.settled]
                if not len(pending):
                    break
        return Evaluation(phases, settled)

    def response(
        self, inputs: FloatArray, address: tuple[int, ...], torque: float = 1e-2
    ) -> tuple[FloatArray, FloatArray]:
        """Measure χ_io = ∂φ_i/∂(torque on output o) at the free state by small torques.

        Parameters
        ----------
        inputs
            (batch, n_inputs) probe samples.
        torque
            Amplitude, or the nudge level of the substrate nearest to it; ± is used where the
            substrate can, else one side.

        Returns
        -------
        χ, (batch, N, n_outputs), rows of inputs are zero and samples that hopped are NaN; and
        the free phases (batch, N).
        """
        network, signed = self.substrate.network, self.substrate.capabilities.signed_nudge
        torque = float(
            NudgeStrength(self.substrate.capabilities).of(np.ones((1, 1), complex), torque)[1][0]
        )
        phases = np.empty((len(inputs), network.n_nodes))
        chi = np.empty((len(inputs), network.n_nodes, len(network.outputs)))
        for number, rows in enumerate(self._chunks(len(inputs))):
            self.substrate.set_inputs(inputs[rows])
            self.substrate.reset(self._streams.number("response", *address, number))
            usable = self.substrate.settle().settled
            free = self.substrate.read_phases(self.options.repeats)
            token = self.substrate.store_state()
            phases[rows] = free.phases
            for column, node in enumerate(network.outputs):
                field = np.zeros((len(rows), len(network.outputs)), dtype=complex)
                field[:, column] = 1j * np.exp(1j * free.phases[:, node])
                signs = (1.0, -1.0) if signed else (1.0,)
                nudged = self._measure(
                    token, [(self._sites(field), sign * torque) for sign in signs]
                )
                good = usable.copy()
                for measurement in nudged:
                    good &= measurement.outcome.settled & ~measurement.outcome.hop
                base = nudged[1].reading.phases if signed else free.phases
                difference = _wrapped(nudged[0].reading.phases - base)
                chi[rows, :, column] = difference / (torque * len(signs))
                chi[rows[~good], :, column] = np.nan
        return chi, phases

    def _attempt(
        self,
        inputs: FloatArray,
        targets: FloatArray,
        address: tuple[int, ...],
        restart: int,
        halvings: IntArray,
        tally: Tally,
    ) -> FloatArray:
        """Measure one chunk from one random start, add to ``tally``; return free outputs.

        ``halvings`` says how often β of each sample is halved before its first nudge.
        """
        started = time.perf_counter()
        self.substrate.set_inputs(inputs)
        self.substrate.reset(self._streams.number("free phase", *address, restart))
        outcome = self.substrate.settle()
        free = self.substrate.read_phases(self.options.repeats).phases
        token = self.substrate.store_state()
        tally.duration_free_s += time.perf_counter() - started
        tally.note_residual(outcome.residual[outcome.settled])
        tally.unsettled += int((~outcome.settled).sum())

        outputs = free[:, self.substrate.network.outputs]
        field = self.cost.nudge_field(outputs, targets)
        usable = outcome.settled
        failed = self._nudge_until_good(
            token, free, field, usable, halvings, (*address, restart), tally
        )
        remaining = np.flatnonzero(failed | ~usable)
        if len(remaining) and restart < self.options.max_restarts:
            tally.restarts += len(remaining)
            if not self.substrate.capabilities.state_restore:
                # The smaller β that could not be tried from the lost free state is tried now:
                # a new start often ends in the same basin, and would hop again at the same β.
                weaker = failed & (halvings < self.options.max_halvings)
                tally.halvings += int(weaker.sum())
                halvings = halvings + weaker
            self._attempt(
                inputs[remaining],
                targets[remaining],
                address,
                restart + 1,
                halvings[remaining],
                tally,
            )
        elif len(remaining):
            tally.excluded += len(remaining)
            _log.warning("samples without a gradient, left out of the mean: %d", len(remaining))
        return outputs

    def _nudge_until_good(
        self,
        token: StateToken,
        free: FloatArray,
        field: ComplexArray,
        usable: BoolArray,
        halvings: IntArray,
        address: tuple[int, ...],
        tally: Tally,
    ) -> BoolArray:
        """Nudge, halving β where a sample hops; return (batch,) samples that never succeeded."""
        field, beta = self._strength.of(field, self.options.beta)
        for number in range(int(halvings.max(initial=0))):
            lower, _ = self._strength.lowered(field, beta)
            beta = np.where(halvings > number, lower, beta)
        pending, given_up = usable.copy(), np.zeros_like(usable)
        # Without a stored state a sample that hopped is lost to its free state: a new start
        # comes next, not a smaller nudge.
        returns = self.substrate.capabilities.state_restore
        for halving in range(self.options.max_halvings + 1 if returns else 1):
            if halving:
                lower, possible = self._strength.lowered(field, beta)
                given_up |= pending & ~possible
                pending &= possible
                beta = np.where(pending, lower, beta)
                tally.halvings += int(pending.sum())
            if not pending.any():
                break
            started = time.perf_counter()
            rng = self._streams.generator("estimator", *address, halving)
            contrast = self.estimator.contrast(len(free), rng)
            # Samples that are done get no nudge: they stay at their free state at no cost.
            scaled = self._sites(field * (beta * pending)[:, None])
            nudges = [_nudge(scaled, factors) for factors in contrast.factors]
            measured = self._measure(token, nudges)
            tally.duration_nudged_s += time.perf_counter() - started

            started = time.perf_counter()
            hopped = np.any([m.outcome.hop for m in measured], axis=0) & pending
            settled = np.all([m.outcome.settled for m in measured], axis=0)
            tally.hops += int(hopped.sum())
            tally.unsettled += int((pending & ~settled).sum())
            good = pending & settled & ~hopped
            self._accumulate(tally, free, measured, good, contrast, beta)
            pending &= ~good
            tally.duration_statistics_s += time.perf_counter() - started
        return pending | given_up

    def _accumulate(
        self,
        tally: Tally,
        free: FloatArray,
        measured: list[Measurement],
        good: BoolArray,
        contrast: Contrast,
        beta: FloatArray,
    ) -> None:
        if not good.any():
            return
        shifts = np.array(
            [np.abs(_wrapped(m.reading.phases[good] - free[good])).max(axis=1) for m in measured]
        )
        tally.displacement_max = max(tally.displacement_max, float(shifts.max()))
        lowered = self._limited(shifts, contrast, good, beta)
        tally.limited += int((lowered < 1.0).sum())
        scale = lowered / beta[good]
        phases: list[PhaseArray] = []
        weights: list[PhaseArray] = []
        if contrast.free_weight.any():
            phases.append(free[good])
            weights.append(contrast.free_weight[good] * scale)
        for weight, measurement in zip(contrast.weights, measured, strict=True):
            reading = measurement.reading
            continued = reading.complex_phases
            phases.append(reading.phases[good] if continued is None else continued[good])
            weights.append(weight[good] * scale)
            tally.note_residual(measurement.outcome.residual[good])
        total = statistics(self.substrate.network, np.concatenate(phases), np.concatenate(weights))
        tally.gradient = tally.gradient.map(np.add, total)
        tally.used += int(good.sum())

    def _limited(
        self, shifts: FloatArray, contrast: Contrast, good: BoolArray, beta: FloatArray
    ) -> FloatArray:
        """Return the weight, at most 1, of each good sample under ``response_limit``."""
        limit = self.options.response_limit
        if limit is None:
            return np.ones(int(good.sum()))
        strength = np.abs(contrast.factors[:, good]) * beta[good]
        response = (shifts / strength).max(axis=0)
        lowered: FloatArray = np.minimum(1.0, limit / np.maximum(response, 1e-300))
        return lowered

    def _measure(
        self, token: StateToken, nudges: list[tuple[ComplexArray, complex]]
    ) -> list[Measurement]:
        if self.substrate.capabilities.state_restore:
            return self.substrate.measure_nudged(token, nudges, self.options.repeats)
        measurements = []
        for field, beta in nudges:
            self.substrate.apply_nudge(field, beta)
            outcome = self.substrate.settle()
            reading = self.substrate.read_phases(self.options.repeats)
            # Without a stored state the hardware falls back by itself once the nudge is off;
            # where it does not, the nudged state was not connected to the free one.
            self.substrate.apply_nudge(None)
            back = self.substrate.settle()
            outcome = dataclasses.replace(outcome, hop=outcome.hop | back.hop | ~back.settled)
            measurements.append(Measurement(outcome, reading))
        return measurements

    def _sites(self, field: ComplexArray) -> ComplexArray:
        """Place a field on the outputs into the columns of the nudge nodes."""
        sites = np.zeros(
            (len(field), len(self.substrate.capabilities.nudge_nodes)), dtype=np.complex128
        )
        sites[:, self._site_of_output] = field
        return sites

    def _chunks(self, batch: int) -> list[np.ndarray]:
        size = self._chunk or batch
        return [np.arange(start, min(start + size, batch)) for start in range(0, batch, size)]


def _nudge(field: ComplexArray, factors: np.ndarray) -> tuple[ComplexArray, complex]:
    """Return (field, β) for one row of a contrast: real factors a sample go into the field."""
    if np.iscomplexobj(factors):
        return field, complex(factors[0])
    return field * factors[:, None], 1.0


def _wrapped(difference: FloatArray) -> FloatArray:
    turned: FloatArray = np.remainder(difference + np.pi, 2 * np.pi) - np.pi
    return turned
