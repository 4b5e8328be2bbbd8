"""Measures what an automatic choice needs, on a few samples at the present parameters.

Of each sample: the β at which its largest phase shift is about ``displacement`` (found by
scaling, since shifts are nearly proportional to β); there, the states at ±β and ±β/2, read many
times; and the free state before, between and after, in the order of time. Where phases are read
to better than a milliradian, the states at ±¾β as well, for the next term.

With g_c the centred estimate, g_c(β) − g_c(β/2) = ¾·a₃β² + …, and [G(β) + G(−β)]/2 − G(0) = a₂β²
(ep_methods §2). Norms are corrected for the share that read-out noise has in them. Where noise
leaves nothing, the figure moves over to `RADIUS`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.learning.controller import Controller
from eqp_hw.learning.estimators import OneSided, Round, Statistic
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import wrap
from eqp_hw.substrate import BoolArray, Measurement, Reading

from .figures import Curvature, Figures
from .nudges import AllowedNudges
from .pool import NoisePool
from .terms import BETWEEN, ProbedSample, sample_terms

__all__ = ["ProbeOptions", "probe"]

_QUIET = 1e-3
"""Averaged noise, rad, below which higher orders may pay (ep_methods §2)."""


@final
@dataclass(frozen=True)
class ProbeOptions:
    """How much a probe measures.

    Attributes
    ----------
    displacement
        Largest phase shift at which curvature is measured, rad: wide, so that it stands out
        of the noise, and still seldom beyond a fold.
    samples
        At most so many.
    reads
        Of each state in the measurement of curvature, shared out among the samples, but at
        least a quarter of it each.
    search_reads
        Of each state while β is looked for.
    search_rounds
        Most trials of β.
    """

    displacement: float = 0.35
    samples: int = 4
    reads: int = 48
    search_reads: int = 3
    search_rounds: int = 6


def probe(
    controller: Controller,
    inputs: FloatArray,
    targets: FloatArray,
    address: tuple[int, ...],
    beta: float,
    options: ProbeOptions | None = None,
) -> Figures:
    """Measure the `Figures` of a network.

    Parameters
    ----------
    controller
        Of the substrate, programmed.
    inputs, targets
        Probe samples, of which the first `ProbeOptions.samples` are used.
    address
        Counters that address random draws.
    beta
        First β to try.
    options
        See `ProbeOptions`.
    """
    options = ProbeOptions() if options is None else options
    samples = min(options.samples, len(inputs))
    reads = -(-options.reads // max(min(samples, 4), 1))
    quiet = controller.changed(
        OneSided(), beta=beta, repeats=reads, interleave=False, attenuation=False, nudge_limit=None
    )
    substrate = quiet.substrate
    pool = NoisePool(substrate.network, substrate.capabilities)
    directed = controller.held is not None and controller.held.directed
    chunks = []
    for number, rows in enumerate(quiet.chunks(samples)):
        one = quiet.free_round(inputs[rows], targets[rows], (*address, number), "probe")
        chunks.append(_Chunk(one, options, pool))
        chunks[-1].measure()
    signed, noise = substrate.capabilities.signed_nudge, pool.noise()
    profile, averaged = pool.profile(), noise.averaged(reads)
    found = [
        terms
        for chunk in chunks
        for sample in chunk.found
        if (
            terms := sample_terms(
                substrate.network, sample, profile, averaged, signed=signed, directed=directed
            )
        )
    ]

    def column(name: str) -> FloatArray:
        return np.array([getattr(terms, name) for terms in found], dtype=np.float64)

    def curvature(kind: Statistic) -> Curvature:
        every = np.array([terms.curvature[kind] for terms in found]).reshape(-1, 3)
        return Curvature(*every.T)

    return Figures(
        response=column("response"),
        amplitude=column("amplitude"),
        tried_beta=column("tried_beta"),
        slope=column("slope"),
        spread=column("spread"),
        curvature={"energy": curvature("energy"), "displacement": curvature("displacement")},
        noise=noise,
        hop_beta=column("hop_beta"),
        samples=samples,
        hops=sum(chunk.hops for chunk in chunks),
        reads=sum(chunk.reads for chunk in chunks),
        directed=directed,
    )


@final
class _Chunk:
    """The samples that relax side by side."""

    def __init__(self, one: Round, options: ProbeOptions, pool: NoisePool) -> None:
        able = one.substrate.capabilities
        self.found: list[ProbedSample] = []
        self.hops = self.reads = self._states = 0
        self._one, self._options, self._pool = one, options, pool
        self._signs = (1.0, -1.0) if able.signed_nudge else (1.0,)
        self._restores = able.state_restore
        self._allowed = AllowedNudges(able)
        self._amplitude = np.abs(one.field).max(axis=1)
        self._hop_beta = np.full(one.batch, np.inf)
        self._usable = one.active & (self._amplitude > 0)

    def measure(self) -> None:
        """Measure all; what comes of it is in ``found``."""
        one = self._one
        self._note(one.free)
        beta = self._search(self._allowed.nearest(one.beta, self._amplitude))
        middle = self._rest()
        fraction = self._allowed.fraction(beta, self._amplitude)
        known = np.isfinite(fraction)
        steps = [sign * np.ones(one.batch) for sign in self._signs]
        if known.any():
            steps += [np.where(known, sign * fraction, sign) for sign in self._signs]
            if self._fine():
                steps += [sign * BETWEEN * np.ones(one.batch) for sign in self._signs]
        measured, hopped = self._nudge(beta, np.array(steps), one.repeats)
        good = self._usable & ~hopped
        last = self._rest()
        if good.any():
            self._pool.add_series(one.free, middle, last, good, self._states)
        for k in np.flatnonzero(good):
            states = measured if known[k] else measured[: len(self._signs)]
            phases = np.stack([one.free.phases[k], *(m.reading.phases[k] for m in states)])
            self.found.append(
                ProbedSample(
                    beta=float(beta[k]),
                    fraction=float(fraction[k]),
                    phases=phases,
                    amplitude=float(self._amplitude[k]),
                    hop_beta=float(self._hop_beta[k]),
                )
            )

    def _fine(self) -> bool:
        """Return whether a further term of G(β) is worth measuring: where it matters."""
        noise = self._pool.noise_of_one_read() / np.sqrt(self._one.repeats)
        return self._allowed.continuous and len(self._signs) > 1 and noise < _QUIET

    def _search(self, beta: FloatArray) -> FloatArray:
        """Return β at which the largest shift is about what is wanted, as far as that goes."""
        options, done = self._options, ~self._usable
        for _ in range(options.search_rounds):
            factors = np.array([sign * np.ones(len(beta)) for sign in self._signs])
            measured, hopped = self._nudge(beta, factors, options.search_reads)
            shift, seen = self._shift(measured)
            factor = np.where(seen, options.displacement / np.maximum(shift, 1e-12), 4.0)
            factor = np.where(hopped, 0.5, np.clip(factor, 0.25, 4.0))
            wanted = np.minimum(beta * factor, 0.7 * self._hop_beta)
            new = self._allowed.nearest(wanted, self._amplitude)
            near = np.abs(np.log(np.maximum(new, 1e-300) / np.maximum(beta, 1e-300))) < 0.3
            if not self._restores:
                self._usable &= ~hopped  # the free state is lost
            done |= ~self._usable | (near & ~hopped)
            beta = np.where(done, beta, new)
            if done.all():
                break
        return beta

    def _shift(self, measured: list[Measurement]) -> tuple[FloatArray, BoolArray]:
        """Return the largest shift of each sample, and whether it stands out of the noise."""
        first, last = measured[0].reading, measured[-1].reading
        signed = len(measured) > 1
        shift = wrap(first.phases - (last if signed else self._one.free).phases)
        shift = np.abs(shift) / (2 if signed else 1)
        error = self._one.errors(first) / np.sqrt(2 if signed else 1)
        # Standard errors of few reads scatter; all nodes together do not.
        level = 4 * np.sqrt((error**2).mean(axis=1))
        largest = shift.max(axis=1)
        return largest, largest > np.maximum(level, 1e-12)

    def _nudge(
        self, beta: FloatArray, factors: FloatArray, reads: int
    ) -> tuple[list[Measurement], BoolArray]:
        one = dataclasses.replace(self._one, beta=beta, active=self._usable.copy(), repeats=reads)
        measured = one.nudge(factors)
        for m in measured:
            self._note(m.reading)
        hopped = np.any([m.outcome.hop | ~m.outcome.settled for m in measured], axis=0)
        hopped &= self._usable
        self.hops += int(hopped.sum())
        self._hop_beta[hopped] = np.minimum(self._hop_beta, beta)[hopped]
        return measured, hopped

    def _rest(self) -> Reading:
        """Read the free state once more: no nudge."""
        nothing = np.zeros((self._one.batch, len(self._one.network.outputs)), dtype=complex)
        measured = self._one.measure([(self._one.sites(nothing), 1.0)])
        self._note(measured[0].reading)
        return measured[0].reading

    def _note(self, reading: Reading) -> None:
        self._pool.add(reading, self._usable)
        self.reads += reading.count * self._one.batch
        self._states += 1
