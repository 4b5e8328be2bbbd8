"""How far from reciprocal a network is, measured with torques alone (ep_methods §3).

Formulas, and what the index means for learning: `eqp_hw.physics.reciprocity`. Here the torques are
nudges at all free nodes of a substrate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.capabilities import Capabilities, Requirements
from eqp_hw.errors import ConfigurationError
from eqp_hw.learning.controller import Controller
from eqp_hw.learning.estimators import ESTIMATORS, Round
from eqp_hw.learning.nudge_strength import NudgeStrength
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.physics.reciprocity import TOLERATED, random_torques, reciprocity_of

__all__ = ["ReciprocityIndex", "measure_reciprocity", "reciprocity_of", "remedy_for"]

_PORTION = 16


@final
@dataclass(frozen=True, eq=False)
class ReciprocityIndex:
    """What `measure_reciprocity` found.

    Attributes
    ----------
    index
        r, mean over the samples; NaN if no sample could be probed.
    standard_error
        Of ``index``: jackknife over the torques, which bounds it from above where they are
        orthogonal, and spread over samples.
    probes
        Torques that were applied to each sample.
    per_sample
        (batch,) r of each sample, NaN where it did not settle or hopped.
    """

    index: float
    standard_error: float
    probes: int
    per_sample: FloatArray

    @property
    def plain_error(self) -> float:
        """Relative error, r.m.s. over directions, of a displacement by plain nudges: 2r."""
        return 2.0 * self.index

    def __str__(self) -> str:
        return (
            f"reciprocity index {self.index:.3g} ± {self.standard_error:.1g} from {self.probes} "
            f"torques at each of {len(self.per_sample)} samples: plain nudges are off by about "
            f"{100 * self.plain_error:.2g} %"
        )


def measure_reciprocity(
    controller: Controller,
    inputs: FloatArray,
    address: tuple[int, ...] = (0,),
    *,
    probes: int = 64,
    torque: float | None = None,
) -> ReciprocityIndex:
    """Measure the reciprocity index at the free states of some samples.

    Parameters
    ----------
    controller
        Of a programmed substrate with nudges at all free nodes.
    inputs
        (batch, n_inputs) probe samples, rad.
    address
        Counters that address the random starts and torques.
    probes
        Torques a sample, 2 at least; best a power of two >= the number of free nodes.
    torque
        Torque on each node, or the nudge level nearest to it; ± where the substrate can, else
        one side. By default 1e-3, or ten times the noise of a reading where that is more (at
        most .1): phases must turn by more than their noise.

    Raises
    ------
    CapabilityError
        The substrate cannot nudge hidden nodes.
    ConfigurationError
        Too few probes, or a torque that is none.
    """
    if probes < 2:
        raise ConfigurationError("too few", field="probes", value=probes, allowed=">= 2")
    capabilities = controller.substrate.capabilities
    if torque is None:
        noise = capabilities.readout_noise / np.sqrt(controller.options.repeats)
        torque = min(max(1e-3, 10.0 * noise), 0.1)
    if not torque > 0:
        raise ConfigurationError("not a torque", field="torque", value=torque, allowed="> 0")
    Requirements(hidden_nudge=True).check(capabilities, "reciprocity", ())
    unit = np.ones((1, 1), dtype=complex)
    torque = float(NudgeStrength(capabilities).of(unit, torque)[1][0])
    outputs = len(controller.substrate.network.outputs)
    indices, errors = [], []
    for number, rows in enumerate(controller.chunks(len(inputs))):
        targets = np.zeros((len(rows), outputs))
        one = controller.free_round(inputs[rows], targets, (*address, number), "reciprocity")
        signs, turned, noise = _probe(one, probes, torque)
        for sample in range(len(rows)):
            index, error = reciprocity_of(signs, turned[:, sample], noise[:, sample])
            indices.append(index)
            errors.append(error)
    per_sample = np.array(indices)
    known = np.isfinite(per_sample)
    count = int(known.sum())
    if not count:
        return ReciprocityIndex(np.nan, np.nan, probes, per_sample)
    of_torques = np.sqrt((np.array(errors)[known] ** 2).sum()) / count
    of_samples = per_sample[known].std(ddof=1) / np.sqrt(count) if count > 1 else 0.0
    return ReciprocityIndex(
        float(per_sample[known].mean()), float(np.hypot(of_torques, of_samples)), probes, per_sample
    )


def remedy_for(index: float, capabilities: Capabilities) -> tuple[str, str]:
    """Return the estimator for a network of this index, and why, in one sentence.

    Parameters
    ----------
    index
        Reciprocity index, as measured.
    capabilities
        Of the substrate.

    Returns
    -------
    "centred" where the network is near enough to reciprocal; else "transposed" (two nudged
    phases) or "asymmetric" (many) where the substrate can serve them; else "alternative", which
    needs `UpdateOptions.homeostasis` beside it, and couplings that can be set apart.
    """
    found = f"the reciprocity index is {index:.2g}"
    if not index > TOLERATED:
        return "centred", f"{found}: plain nudges are off by {100 * 2 * index:.2g} % only"
    off = f"{found}, so plain nudges would be off by about {100 * min(2 * index, 1):.2g} %"
    for kind in ("transposed", "asymmetric"):
        if not ESTIMATORS[kind].requirements.missing(capabilities):
            return kind, f"{off}; {kind} stays exact, and this substrate can serve it"
    if capabilities.directed_couplings:
        return "alternative", (
            f"{off}, and this substrate can nudge no hidden node or not return to its free state: "
            "set optimiser.homeostasis to draw J_ij and J_ji together"
        )
    return "centred", f"{off}, and this substrate offers no remedy: expect slow or failed learning"


def _probe(one: Round, probes: int, torque: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return torques (probes, n), and displacements and noise (probes, batch, n) per unit."""
    network, signed = one.network, one.substrate.capabilities.signed_nudge
    drawn = random_torques(probes, len(network.free), one.rng)
    free, batch = one.free.phases, one.batch
    sides = (1.0, -1.0) if signed else (1.0,)
    turned = np.full((probes, batch, len(network.free)), np.nan)
    noise = np.zeros_like(turned)
    unit: ComplexArray = 1j * np.exp(1j * free)
    # Many at a time where the substrate fuses them; one by one where each goes to and fro.
    portion = 1 if one.interleave else _PORTION
    for first in range(0, probes, portion):
        part = drawn[first : first + portion]
        fields = []
        for signs in part:
            full = np.zeros(network.n_nodes)
            full[network.free] = signs
            field: ComplexArray = unit * full
            fields += [(one.everywhere(field), side * torque) for side in sides]
        found = one.measure(fields)
        for number in range(len(part)):
            pair = found[number * len(sides) : (number + 1) * len(sides)]
            good = one.active.copy()
            for measurement in pair:
                good &= measurement.outcome.settled & ~measurement.outcome.hop
            base = pair[1].reading if signed else one.free
            shift = wrap(pair[0].reading.phases - base.phases)[:, network.free]
            error = np.hypot(one.errors(pair[0].reading), one.errors(base))[:, network.free]
            turned[first + number, good] = shift[good] / (torque * len(sides))
            noise[first + number] = error / (torque * len(sides))
    return drawn, turned, noise
