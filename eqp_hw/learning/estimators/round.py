"""One round of nudged measurements: all that an estimator may ask of the controller."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.errors import SubstrateError
from eqp_hw.learning.estimators.estimate import Estimate, Statistic
from eqp_hw.learning.interleave import measure_to_and_fro
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.energy import PhaseArray
from eqp_hw.physics.parameters import ComplexArray, Parameters
from eqp_hw.substrate import BoolArray, Measurement, Reading, StateToken, Substrate

__all__ = ["Round"]


@final
@dataclass(frozen=True, eq=False)
class Round:
    """A chunk of samples at their free states, ready to be nudged.

    Attributes
    ----------
    substrate
        At the free state named by ``token``.
    held
        The parameters that the substrate holds, or None if nobody said.
    free, token
        The free phases as read, and their stored state.
    targets
        (batch, n_outputs) target phases, rad.
    field
        (batch, n_outputs) nudge field f of the cost; β·f is injected.
    beta
        (batch,) nudge strength β > 0 of each sample.
    active
        (batch,) samples that are measured; the others get no nudge.
    repeats
        Reads averaged for each state.
    interleave
        Measure each list of nudges to and fro (+ − − +).
    rng
        For random signs and the like.
    nothing
        Inject no field at all, with all else as usual: the null contrast.
    """

    substrate: Substrate
    held: Parameters | None
    free: Reading
    token: StateToken
    targets: FloatArray
    field: ComplexArray
    beta: FloatArray
    active: BoolArray
    repeats: int
    interleave: bool
    rng: np.random.Generator
    nothing: bool = False

    @property
    def batch(self) -> int:
        """Number of samples."""
        return len(self.beta)

    @property
    def network(self) -> Network:
        """The graph."""
        return self.substrate.network

    @property
    def parameters(self) -> Parameters:
        """The parameters that the substrate holds.

        Raises
        ------
        SubstrateError
            They were not written through the controller.
        """
        if self.held is None:
            raise SubstrateError(
                "this estimator must know the parameters that the substrate holds: write them "
                "with Controller.program"
            )
        return self.held

    @property
    def crest(self) -> ComplexArray:
        """(batch, n_outputs) the field β·f; zero for samples that rest and in a null round."""
        strength = np.zeros(self.batch) if self.nothing else self.beta * self.active
        crest: ComplexArray = self.field * strength[:, None]
        return crest

    @property
    def free_errors(self) -> FloatArray:
        """(batch, N) standard errors of the free phases, rad."""
        return self.errors(self.free)

    def errors(self, reading: Reading) -> FloatArray:
        """Return standard errors; where one read cannot tell, what the capabilities say."""
        known = self.substrate.capabilities.readout_noise / np.sqrt(reading.count)
        errors = np.where(np.isnan(reading.standard_error), known, reading.standard_error)
        errors[:, self.network.inputs] = 0.0
        return errors

    def sites(self, at_outputs: ComplexArray) -> ComplexArray:
        """Place fields on the outputs, (batch, n_outputs), into the columns of the nudge nodes."""
        nodes = self.substrate.capabilities.nudge_nodes
        sites = np.zeros((len(at_outputs), len(nodes)), dtype=np.complex128)
        columns = [nodes.index(int(node)) for node in self.network.outputs]
        sites[:, columns] = at_outputs
        return sites

    def everywhere(self, at_nodes: ComplexArray) -> ComplexArray:
        """Pick the columns of the nudge nodes from fields at all nodes, (batch, N)."""
        nodes = list(self.substrate.capabilities.nudge_nodes)
        return np.ascontiguousarray(at_nodes[:, nodes])

    def possible(self, field: ComplexArray) -> BoolArray:
        """Return the samples, (batch,), whose field at the nudge nodes the substrate can make."""
        within: BoolArray = np.abs(field).max(axis=1) <= self.substrate.capabilities.nudge_maximum
        return within

    def nudge(self, factors: np.ndarray) -> list[Measurement]:
        """Measure under the nudges factors·β·f.

        Parameters
        ----------
        factors
            (n_nudges, batch) real, or complex where the substrate can.
        """
        crest = self.sites(self.crest)
        if np.iscomplexobj(factors):
            return self.measure([(crest, complex(row[0])) for row in factors])
        return self.measure([(crest * row[:, None], 1.0) for row in factors])

    def measure(self, fields: Sequence[tuple[ComplexArray, complex]]) -> list[Measurement]:
        """From the free state, apply each (field at the nudge nodes, β), settle and read."""
        if self.interleave and len(fields) > 1:
            return measure_to_and_fro(self._measure, self.token, fields, self.repeats)
        return self._measure(self.token, fields, self.repeats)

    def stack(self, measured: Sequence[Measurement]) -> tuple[PhaseArray, FloatArray]:
        """Return phases and standard errors, both (n, batch, N); complex phases where there are."""
        phases = [
            m.reading.phases if m.reading.complex_phases is None else m.reading.complex_phases
            for m in measured
        ]
        return np.stack(phases), np.stack([self.errors(m.reading) for m in measured])

    def estimate(
        self,
        phases: PhaseArray,
        errors: FloatArray,
        weights: PhaseArray,
        measured: Sequence[Measurement],
        strength: FloatArray,
        *,
        statistic: Statistic = "energy",
        alarm: FloatArray | None = None,
    ) -> Estimate:
        """Put an `Estimate` together.

        Parameters
        ----------
        phases, errors, weights
            As in `Estimate`.
        measured
            The nudged measurements it rests on.
        strength
            (len(measured), batch) |β| of each.
        statistic, alarm
            As in `Estimate`.
        """
        shifts = np.array(
            [np.abs(wrap(m.reading.phases - self.free.phases)).max(axis=1) for m in measured]
        )
        return Estimate(
            phases=phases,
            errors=errors,
            weights=weights,
            free=self.free.phases,
            settled=np.all([m.outcome.settled for m in measured], axis=0),
            hopped=np.any([m.outcome.hop for m in measured], axis=0),
            displacement=shifts.max(axis=0),
            response=(shifts / np.maximum(strength, 1e-300)).max(axis=0),
            residual=np.fmax.reduce([m.outcome.residual for m in measured], axis=0),
            statistic=statistic,
            alarm=np.full(self.batch, np.nan) if alarm is None else alarm,
        )

    def _measure(
        self, token: StateToken, fields: Sequence[tuple[ComplexArray, complex]], repeats: int
    ) -> list[Measurement]:
        if self.substrate.capabilities.state_restore:
            return self.substrate.measure_nudged(token, fields, repeats)
        measurements = []
        for field, beta in fields:
            self.substrate.apply_nudge(field, beta)
            outcome = self.substrate.settle()
            reading = self.substrate.read_phases(repeats)
            # Without a stored state the hardware falls back by itself once the nudge is off;
            # where it does not, the nudged state was not connected to the free one.
            self.substrate.apply_nudge(None)
            back = self.substrate.settle()
            outcome = dataclasses.replace(outcome, hop=outcome.hop | back.hop | ~back.settled)
            measurements.append(Measurement(outcome, reading))
        return measurements
