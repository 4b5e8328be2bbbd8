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
from eqp_hw.learning.estimators import Estimate, Estimator, Round, fitting_estimators
from eqp_hw.learning.gradient_estimate import Evaluation, GradientEstimate, Tally
from eqp_hw.learning.nudge_strength import NudgeStrength
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray, Parameters
from eqp_hw.randomness import RandomStreams
from eqp_hw.substrate import BoolArray, Reading, StateToken, Substrate

__all__ = ["Controller", "ControllerOptions", "Evaluation", "GradientEstimate"]

_log = logging.getLogger("eqp_hw.learning.controller")


@final
class Controller:
    """Measures gradients and free phases on a substrate.

    Parameters
    ----------
    substrate
        Where the physics happens.
    cost, estimator
        What is minimised and how its gradient is measured.
    options
        See `ControllerOptions`.
    streams
        All randomness of the run.
    held
        Parameters that the substrate holds already; `program` writes others.

    Raises
    ------
    CapabilityError
        The substrate cannot serve the estimator; the message names what is missing.
    """

    def __init__(
        self,
        substrate: Substrate,
        cost: Cost,
        estimator: Estimator,
        options: ControllerOptions,
        streams: RandomStreams,
        held: Parameters | None = None,
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
        self._strength = NudgeStrength(
            capabilities, estimator.requirements.amplitudes, options.nudge_limit
        )
        self._strength.check(cost, len(outputs), options.beta)
        self.substrate = substrate
        self.cost = cost
        self.estimator = estimator
        self.options = options
        self._streams = streams
        self._held = held
        limits = [size for size in (capabilities.batch_limit, options.batch_size) if size]
        self._chunk = min(limits) if limits else None

    @property
    def streams(self) -> RandomStreams:
        """All randomness of the run."""
        return self._streams

    @property
    def held(self) -> Parameters | None:
        """The parameters that the substrate holds, as `program` last returned them."""
        return self._held

    def program(self, parameters: Parameters) -> Parameters:
        """Write parameters; return what the substrate really holds (`write_parameters`)."""
        self._held = self.substrate.write_parameters(parameters)
        return self._held

    def changed(self, estimator: Estimator, **options: object) -> Controller:
        """Return a controller of the same substrate with another estimator and other options."""
        return Controller(
            self.substrate,
            self.cost,
            estimator,
            dataclasses.replace(self.options, **options),  # type: ignore[arg-type]
            self._streams,
            self._held,
        )

    def gradient(
        self,
        inputs: FloatArray,
        targets: FloatArray,
        address: tuple[int, ...],
        *,
        nothing: bool = False,
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
        nothing
            Nudge with no field: the null contrast, which shows what part of every estimate
            does not come from the nudge (ep_methods §8, constant update bias).
        """
        network = self.substrate.network
        copies = self.options.initial_states
        inputs, targets = np.tile(inputs, (copies, 1)), np.tile(targets, (copies, 1))
        zeros = Parameters.zeros(network, directed=self._directed)
        tally = Tally(zeros, zeros)
        free = np.empty((len(inputs), network.n_nodes))
        for number, rows in enumerate(self.chunks(len(inputs))):
            task = _Task(inputs[rows], targets[rows], (*address, number), nothing)
            free[rows] = self._attempt(task, 0, np.zeros_like(rows), tally)
        free_outputs = free[:, network.outputs]
        used = max(tally.used, 1)
        return GradientEstimate(
            gradient=tally.gradient.map(lambda total: total / used),
            standard_error=tally.variance.map(lambda total: _root(total) / used),
            free_phases=free,
            output_phases=free_outputs,
            cost=float(self.cost.value(free_outputs, targets).mean()),
            distance=float(distance(free_outputs, targets).mean()),
            **{
                item.name: getattr(tally, item.name)
                for item in dataclasses.fields(Tally)
                if item.name not in ("gradient", "variance")
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
        for number, rows in enumerate(self.chunks(len(inputs))):
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

    def free_round(
        self, inputs: FloatArray, targets: FloatArray, address: tuple[int, ...], purpose: str
    ) -> Round:
        """Relax samples from a fresh start and return them ready to be nudged with option β.

        Parameters
        ----------
        inputs, targets
            At most as many samples as the substrate takes at once.
        address, purpose
            Of the random draws.
        """
        restart = self._streams.number(purpose, *address)
        active, free, token, _ = self._free_phase(inputs, restart)
        field = self.cost.nudge_field(free.phases[:, self.substrate.network.outputs], targets)
        field, beta = self._strength.of(field, self.options.beta)
        rng = self._streams.generator(f"{purpose} estimator", *address)
        return self._round(free, token, targets, field, beta, active, rng)

    def _free_phase(
        self, inputs: FloatArray, seed: int
    ) -> tuple[BoolArray, Reading, StateToken, FloatArray]:
        """Return who settled, the free reading, its stored state, and the residuals."""
        self.substrate.set_inputs(inputs)
        self.substrate.reset(seed)
        outcome = self.substrate.settle()
        free = self.substrate.read_phases(self.options.repeats)
        return outcome.settled, free, self.substrate.store_state(), outcome.residual

    def _round(
        self,
        free: Reading,
        token: StateToken,
        targets: FloatArray,
        field: ComplexArray,
        beta: FloatArray,
        active: BoolArray,
        rng: np.random.Generator,
        *,
        nothing: bool = False,
    ) -> Round:
        return Round(
            substrate=self.substrate,
            held=self._held,
            free=free,
            token=token,
            targets=targets,
            field=field,
            beta=beta,
            active=active,
            repeats=self.options.repeats,
            interleave=self.options.interleave,
            rng=rng,
            nothing=nothing,
        )

    def _attempt(self, task: _Task, restart: int, halvings: IntArray, tally: Tally) -> FloatArray:
        """Measure one chunk from one random start, add to ``tally``; return its free phases.

        ``halvings`` says how often β of each sample is halved before its first nudge.
        """
        started = time.perf_counter()
        seed = self._streams.number("free phase", *task.address, restart)
        usable, free, token, residual = self._free_phase(task.inputs, seed)
        tally.duration_free_s += time.perf_counter() - started
        tally.note_residual(residual[usable])
        tally.unsettled += int((~usable).sum())

        failed = self._nudge_until_good(token, free, task, usable, halvings, restart, tally)
        remaining = np.flatnonzero(failed | ~usable)
        if len(remaining) and restart < self.options.max_restarts:
            tally.restarts += len(remaining)
            if not self.substrate.capabilities.state_restore:
                # The smaller β that could not be tried from the lost free state is tried now:
                # a new start often ends in the same basin, and would hop again at the same β.
                weaker = failed & (halvings < self.options.max_halvings)
                tally.halvings += int(weaker.sum())
                halvings = halvings + weaker
            self._attempt(task.only(remaining), restart + 1, halvings[remaining], tally)
        elif len(remaining):
            tally.excluded += len(remaining)
            _log.warning("samples without a gradient, left out of the mean: %d", len(remaining))
        return free.phases

    def _nudge_until_good(
        self,
        token: StateToken,
        free: Reading,
        task: _Task,
        usable: BoolArray,
        halvings: IntArray,
        restart: int,
        tally: Tally,
    ) -> BoolArray:
        """Nudge, halving β where a sample hops; return (batch,) samples that never succeeded."""
        outputs = free.phases[:, self.substrate.network.outputs]
        field = self.cost.nudge_field(outputs, task.targets)
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
            rng = self._streams.generator("estimator", *task.address, restart, halving)
            # Samples that are done get no nudge: they stay at their free state at no cost.
            one = self._round(
                free, token, task.targets, field, beta, pending.copy(), rng, nothing=task.nothing
            )
            found = self.estimator.measure(one)
            tally.duration_nudged_s += time.perf_counter() - started

            started = time.perf_counter()
            tally.hops += int((found.hopped & pending).sum())
            tally.unsettled += int((pending & ~found.settled).sum())
            good = pending & found.good
            self._accumulate(tally, found, good)
            pending &= ~good
            tally.duration_statistics_s += time.perf_counter() - started
        return pending | given_up

    def _accumulate(self, tally: Tally, found: Estimate, good: BoolArray) -> None:
        if not good.any():
            return
        network, limit = self.substrate.network, self.options.response_limit
        scale = np.ones(int(good.sum()))
        if limit is not None:
            scale = np.minimum(1.0, limit / np.maximum(found.response[good], 1e-300))
        tally.limited += int((scale < 1.0).sum())
        tally.displacement_max = max(tally.displacement_max, float(found.displacement[good].max()))
        tally.note_residual(found.residual[good])
        tally.alarm_max = float(np.fmax(tally.alarm_max, np.fmax.reduce(found.alarm[good])))
        total = found.gradient(
            network,
            good,
            scale,
            directed=self._directed,
            attenuation=self.options.attenuation,
        )
        tally.gradient = tally.gradient.map(np.add, total)
        if np.nan_to_num(found.errors).any():
            spread = found.variance(network, good, scale, directed=self._directed)
            tally.variance = tally.variance.map(np.add, spread)
        tally.used += len(scale)

    @property
    def _directed(self) -> bool:
        return self._held is not None and self._held.directed

    def chunks(self, batch: int) -> list[IntArray]:
        """Return the rows of a batch in portions that the substrate takes at once."""
        size = self._chunk or batch
        return [np.arange(start, min(start + size, batch)) for start in range(0, batch, size)]


@final
@dataclasses.dataclass(frozen=True, eq=False)
class _Task:
    """Samples of one chunk whose gradient is asked for."""

    inputs: FloatArray
    targets: FloatArray
    address: tuple[int, ...]
    nothing: bool

    def only(self, rows: IntArray) -> _Task:
        return dataclasses.replace(self, inputs=self.inputs[rows], targets=self.targets[rows])


def _root(variance: np.ndarray) -> np.ndarray:
    """Return square roots, of real and imaginary part apart."""
    if np.iscomplexobj(variance):
        return np.asarray(np.sqrt(variance.real) + 1j * np.sqrt(variance.imag))
    return np.asarray(np.sqrt(variance))
