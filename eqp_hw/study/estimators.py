"""Every estimator on one network against the exact gradient: bias, noise and cost.

The truth g* of a sample is the implicit gradient at its exact free equilibrium
(`eqp_hw.physics.exact_gradient`). β of each sample is set such that its largest phase shift is
the one asked for, so that estimators are compared at the same strength of nudge.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.errors import CapabilityError, ConfigurationError, EqpError
from eqp_hw.experiment.assemble import Experiment
from eqp_hw.experiment.assembly import Assembly
from eqp_hw.experiment.planning import make_planner
from eqp_hw.experiment.schema import EstimatorSettings
from eqp_hw.learning.estimators import (
    ESTIMATORS,
    Estimate,
    Estimator,
    Round,
    fitting_estimators,
    make_estimator,
)
from eqp_hw.learning.nudge_plan import NudgePlan
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.exact_gradient import exact_gradient

from .options import StudyOptions
from .result import AutomaticChoice, Study, StudyRow

__all__ = ["study_estimators"]

_log = logging.getLogger("eqp_hw.study")

_FIRST_BETA = 1e-3
_SECANT_STEPS = 5
_MANY_READS = 256
"""Of the states that β is set by: the largest of many noisy shifts is else noise."""
_EMULATORS = ("emulator",)


def study_estimators(experiment: Experiment, options: StudyOptions) -> Study:
    """Compare estimators at the initial parameters of an experiment.

    Parameters
    ----------
    experiment
        Its task, network, cost and substrate; the substrate must be the exact emulator,
        with or without imperfections, since the truth is computed from it.
    options
        The grid.

    Raises
    ------
    EqpError
        The experiment cannot be used, an estimator has no such name, or none fits.
    """
    kind = experiment.settings.substrate.kind
    if kind not in _EMULATORS:
        raise CapabilityError(
            "estimators are compared with the exact gradient, which this substrate does not know",
            field="substrate.kind",
            value=kind,
            allowed=", ".join(_EMULATORS),
        )
    rows: list[StudyRow] = []
    choices: list[AutomaticChoice] = []
    with _noisy(experiment, 0.0, ideal=True).build() as assembly:
        truth = _Truth.of(assembly, options)
        capabilities = assembly.substrate.capabilities
        title = f"{assembly.dataset.name} on {assembly.network.name}"
        network, cost = assembly.network.name, assembly.controller.cost.name
    names, refused = options.estimators or tuple(ESTIMATORS), {}
    unknown = [name for name in names if name not in ESTIMATORS]
    if unknown:
        raise ConfigurationError(
            "no such estimator",
            field="--estimators",
            value=unknown[0],
            allowed=", ".join(ESTIMATORS),
        )
    for noise in options.noises:
        with _noisy(experiment, noise).build() as assembly:
            capabilities = assembly.substrate.capabilities
            bench = _Bench(assembly, truth, options, noise)
            for name in names:
                estimator = make_estimator(name)
                lacks = estimator.requirements.missing(capabilities)
                if lacks:
                    refused[name] = f"needs {' and '.join(lacks)}"
                    continue
                rows += bench.rows(name, estimator)
            choice = bench.choice([row for row in rows if row.noise == noise])
            if choice is not None:
                choices.append(choice)
    if not rows:
        raise ConfigurationError(
            "none of them fits this substrate",
            field="--estimators",
            value=list(names),
            allowed=", ".join(fitting_estimators(capabilities)),
        )
    return Study(title, network, cost, options.reads, options.samples, rows, choices, refused)


def _noisy(experiment: Experiment, noise: float, *, ideal: bool = False) -> Experiment:
    """Return the experiment on a substrate with read-out noise added, or on the ideal one."""
    settings = experiment.settings.resolved()
    table = dict(settings["substrate"])
    imperfections = [] if ideal else list(table.pop("imperfections", []))
    table.pop("imperfections", None)
    if noise:
        imperfections.append({"kind": "readout-noise", "sigma": noise})
    if imperfections:
        table["imperfections"] = imperfections
    settings["substrate"] = table
    # What measures is chosen here, and must not refuse the substrate beforehand.
    settings["estimator"] = {"kind": "one-sided", "beta": _FIRST_BETA}
    parsed = type(experiment.settings).parse(settings)
    return dataclasses.replace(experiment, settings=parsed)


@final
@dataclass(frozen=True, eq=False)
class _Truth:
    """Exact free states and gradients of the samples."""

    rows: np.ndarray
    phases: FloatArray
    gradients: FloatArray

    @classmethod
    def of(cls, assembly: Assembly, options: StudyOptions) -> _Truth:
        rows = assembly.task.split.train[: options.samples]
        controller = assembly.controller
        held = controller.program(assembly.initial)
        one = _free_round(assembly, rows)
        phases, network = one.free.phases, assembly.network
        slope = np.zeros_like(phases)
        slope[:, network.outputs] = controller.cost.gradient(
            phases[:, network.outputs], assembly.task.targets[rows]
        )
        gradients = np.stack(
            [
                exact_gradient(
                    network, held, phases[s : s + 1], slope[s : s + 1], np.ones(1)
                ).flatten()
                for s in range(len(rows))
            ]
        )
        return cls(rows, phases, gradients)


def _free_round(assembly: Assembly, rows: np.ndarray) -> Round:
    task, controller = assembly.task, assembly.controller
    patient = controller.changed(controller.estimator, repeats=_MANY_READS)
    return patient.free_round(task.inputs[rows], task.targets[rows], (0,), "study")


@final
class _Bench:
    """One substrate, at one noise, on which estimators are tried."""

    def __init__(
        self, assembly: Assembly, truth: _Truth, options: StudyOptions, noise: float
    ) -> None:
        self._assembly = assembly
        self._truth = truth
        self._options = options
        self._noise = noise
        self._controller = assembly.controller
        self._controller.program(assembly.initial)
        self._one = _free_round(assembly, truth.rows)
        self._betas = {shift: self._beta_for(shift) for shift in options.displacements}

    def rows(self, name: str, estimator: Estimator) -> list[StudyRow]:
        """Return one row a displacement; those at which no sample gave an estimate are left out."""
        found = []
        reads, states = self._options.reads, self._states(estimator)
        if self._noise and states > reads:
            _log.warning(
                "%s reads %d states, and there are %d reads: left out", name, states, reads
            )
            return []
        for shift, beta in self._betas.items():
            row = self._row(name, estimator, shift, beta)
            if row is not None:
                found.append(row)
        return found

    def _states(self, estimator: Estimator) -> int:
        """Return how many states an estimate reads; 0 if it cannot be made at all."""
        try:
            gentle = dataclasses.replace(self._one, beta=min(self._betas.values(), key=np.sum))
            return len(estimator.measure(dataclasses.replace(gentle, repeats=1)).phases)
        except EqpError:
            return 0

    def choice(self, rows: list[StudyRow]) -> AutomaticChoice | None:
        """Let the controller choose as ``estimator = "auto"`` does, and see how it fares."""
        if not rows:
            return None
        plan = self._plan()
        if plan is None:
            return None
        estimator = make_estimator(plan.kind, plan.options)
        beta = np.full(len(self._truth.rows), plan.beta)
        row = self._row(plan.kind, estimator, float("nan"), beta, plan.repeats)
        if row is None:
            return None
        # A lab has no complex nudges: a choice is not to be judged by what they could do.
        real = [one for one in rows if not ESTIMATORS[one.estimator]().requirements.complex_nudge]
        best = min(real or rows, key=lambda one: one.error)
        return AutomaticChoice(
            self._noise,
            plan.kind,
            plan.beta,
            plan.repeats,
            plan.reason,
            row.error,
            self._shift(beta),
            best.error,
            best.estimator,
        )

    def _plan(self) -> NudgePlan | None:
        task, samples = self._assembly.task, self._truth.rows
        auto = EstimatorSettings(
            kind="auto", beta="auto", repeats="auto", read_budget=self._options.reads
        )
        planner = make_planner(auto)
        assert planner is not None
        try:
            return planner.plan(
                self._controller, task.inputs[samples], task.targets[samples], (0,), None
            )
        except EqpError as error:
            _log.warning("no automatic choice: %s", error)
            return None
        finally:
            # The probe has set other inputs, with which stored states are forgotten.
            self._one = _free_round(self._assembly, samples)

    def _beta_for(self, shift: float) -> FloatArray:
        """Return β of each sample at which its largest phase shift is ``shift``."""
        beta = np.full(self._one.batch, _FIRST_BETA)
        for _ in range(_SECANT_STEPS):
            found = self._plus(beta)
            beta = beta * np.clip(shift / np.maximum(found.displacement, 1e-12), 1e-3, 1e3)
        return beta

    def _shift(self, beta: FloatArray) -> float:
        return float(np.median(self._plus(beta).displacement))

    def _plus(self, beta: FloatArray) -> Estimate:
        one = dataclasses.replace(self._one, beta=beta)
        measured = one.nudge(np.ones((1, one.batch)))
        phases, errors = one.stack(measured)
        return one.estimate(phases, errors, np.ones((1, one.batch)), measured, beta[None])

    def _row(
        self,
        name: str,
        estimator: Estimator,
        shift: float,
        beta: FloatArray,
        repeats: int | None = None,
    ) -> StudyRow | None:
        one = dataclasses.replace(self._one, beta=beta, repeats=1)
        try:
            states = len(estimator.measure(one).phases)
        except EqpError as error:
            _log.warning("%s at a shift of %g rad: %s", name, shift, error)
            return None
        repeats = repeats or max(1, self._options.reads // states)
        draws = self._options.draws if self._noise else 1
        errors, cosines, good = [], [], np.ones(one.batch, dtype=bool)
        started = time.perf_counter()
        for _ in range(draws):
            found = self._draw(estimator, beta, repeats)
            good &= found.good
            gradients = self._gradients(found)
            errors.append(_relative(gradients, self._truth.gradients))
            cosines.append(_cosine(gradients, self._truth.gradients))
        seconds = (time.perf_counter() - started) / draws
        if not good.any():
            return None
        return StudyRow(
            estimator=name,
            displacement=shift,
            noise=self._noise,
            beta=float(np.median(beta[good])),
            states=states,
            repeats=repeats,
            error=float(np.median(np.sqrt(np.mean(np.square(errors), axis=0))[good])),
            cosine=float(np.median(np.array(cosines)[:, good])),
            used=int(good.sum()),
            lost=int((~good).sum()),
            seconds=seconds,
        )

    def _draw(self, estimator: Estimator, beta: FloatArray, repeats: int) -> Estimate:
        """Measure once, with fresh noise on the free state, and so on its torque, as well."""
        substrate = self._one.substrate
        substrate.restore_state(self._one.token)
        free = substrate.read_phases(repeats)
        outputs = free.phases[:, self._one.network.outputs]
        field = self._controller.cost.nudge_field(outputs, self._one.targets)
        one = dataclasses.replace(self._one, beta=beta, repeats=repeats, free=free, field=field)
        return estimator.measure(one)

    def _gradients(self, found: Estimate) -> FloatArray:
        directed = self._assembly.initial.directed
        gradients = []
        for sample in range(len(found.free)):
            only = np.zeros(len(found.free), dtype=bool)
            only[sample] = True
            gradient = found.gradient(self._assembly.network, only, np.ones(1), directed=directed)
            gradients.append(gradient.flatten())
        return np.stack(gradients)


def _relative(found: FloatArray, truth: FloatArray) -> FloatArray:
    error: FloatArray = np.linalg.norm(found - truth, axis=1) / np.linalg.norm(truth, axis=1)
    return error


def _cosine(found: FloatArray, truth: FloatArray) -> FloatArray:
    product: FloatArray = np.linalg.norm(found, axis=1) * np.linalg.norm(truth, axis=1)
    return np.asarray((found * truth).sum(axis=1) / np.maximum(product, 1e-300))
