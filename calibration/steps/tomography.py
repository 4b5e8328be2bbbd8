"""Tomography: the couplings of the calibrated network, measured in place at fresh settings.

Reciprocity is measured twice, by ways that share nothing but the read-out: from the couplings as
each end of a bond shows them, and from the response to probe torques, whatever the couplings are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from eqp_hw.calibration.fits.ellipse import Detection
from eqp_hw.calibration.fits.network_model import Elements, NetworkModel
from eqp_hw.calibration.fits.probes import Probes
from eqp_hw.calibration.fits.tomography import Tomography, swapped_bonds, tomography
from eqp_hw.calibration.pictures.tomography import tomography_pictures
from eqp_hw.calibration.session import Session
from eqp_hw.calibration.step import Finding, Plot, Step, StepData, StepFit
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.reciprocity import TOLERATED
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig

from .broken import held_at_zero, recorded_broken
from .drives import fitting, measure_drives, random_powers
from .network import at_rest, typical_scatter
from .probes import fit_probes, measure_probes, patterns_for

__all__ = ["TomographyStep"]

_SIGNIFICANT = 5.0
_PATTERNS = 128
"""Torques of each sign in all; two equilibria are probed in any case."""
_SHARE = 0.02
"""Of the maximum: a coupling that is off by less does no harm."""


@final
class TomographyStep(Step):
    """Couplers held at random values, inputs and fields driven at random; then probe torques.

    Parameters
    ----------
    per_bond
        Equilibria for each bond of the node that has most.
    least
        Fewest equilibria.
    samples
        Conversions averaged at each.
    probed
        Equilibria whose response is probed by torques; fewer on large rigs, two at least.
    """

    name: ClassVar[str] = "tomography"
    description: ClassVar[str] = "couplings measured in place; reciprocity; an independent check"
    needs: ClassVar[tuple[str, ...]] = ("network",)

    def __init__(
        self, per_bond: float = 6.0, least: int = 40, samples: int = 32, probed: int = 4
    ) -> None:
        self.per_bond, self.least, self.samples = per_bond, least, samples
        self.probed = probed

    @override
    def unavailable_because(self, rig: Rig) -> str | None:
        if rig.settings.readout.kind != "iq":
            return "only for in-phase and quadrature detectors so far"
        if not rig.wiring.bias_amplitude:
            return "without bias fields there is no scale for the couplings"
        return None

    @override
    def measure(self, session: Session) -> StepData:
        model = NetworkModel(session.rig)
        most = int(np.bincount(model.terms.node[~model.terms.injected]).max())
        count = max(self.least, int(np.ceil(self.per_bond * most)))
        powers = random_powers(session, np.full(count, 2.6), held_at_zero(session))
        couplers = model.rows["couplings"]
        powers[:, couplers] = powers[0, couplers]
        # With the first drive's couplers another one may be above the limit of the sum.
        powers = np.stack([fitting(session, one, couplers) for one in powers])
        measure_drives(session, powers, self.samples)
        patterns = patterns_for(model.n_free)
        equilibria = min(self.probed, max(2, _PATTERNS // patterns))
        return measure_probes(session, equilibria, self.samples)

    @override
    def fit(self, data: StepData, known: RigCalibration, rig: Rig) -> StepFit:
        model, quiet = NetworkModel(rig), at_rest(data, rig)
        elements = Elements.of(known, model.n_edges)
        phases, _ = Detection.of(known).phases(data["detector_V"][quiet])
        scatter = typical_scatter(data["scatter_V"], self.samples).reshape(2, -1)
        noise = np.sqrt(((scatter / known.readout_amplitude_V) ** 2).mean(axis=0) / self.samples)
        power = data["setpoint_V"][quiet] ** 2 / known.resistance_ohm
        noise = np.maximum(noise, 1e-6)
        made = tomography(model, elements, power, phases, noise)
        probes = fit_probes(data, known, rig, noise) if "probe_V" in data else None
        broken = recorded_broken(data, model.n_heaters)
        maximum = elements.maximum[rig.network.coupling_group]
        return StepFit(
            figures={
                "coupling_commanded": made.commanded,
                "coupling_forward": made.found[0],
                "coupling_reverse": made.found[1],
                "reciprocity_index": np.asarray(made.index),
                "prediction_error": np.sqrt((made.prediction**2).mean(axis=0)),
                **_probed(probes),
            },
            uncertainties={
                "coupling_forward": made.error[0],
                "coupling_reverse": made.error[1],
                "reciprocity_index": np.asarray(made.index_error),
                **({} if probes is None else {"probed_index": np.asarray(probes.index_error)}),
            },
            residuals={"predicted_phase": made.prediction},
            findings=[*_findings(made, maximum, rig, _of_broken(broken, rig)), *_of_probes(probes)],
            units={"prediction_error": "rad", "predicted_phase": "rad"},
        )

    @override
    def plots(self, data: StepData, fit: StepFit, rig: Rig) -> Sequence[Plot]:
        return tomography_pictures(data, fit, rig)


def _of_broken(broken: npt.NDArray[np.bool_], rig: Rig) -> set[int]:
    """Return the bonds that a broken heater drives: they have been told of."""
    model, found = NetworkModel(rig), set[int]()
    terms = model.terms
    for term in np.flatnonzero(~terms.injected):
        rows = [terms.strength[term], *([terms.angle[term]] if terms.angle[term] >= 0 else [])]
        if broken[rows].any():
            found.add(int(terms.edge[term]))
    return found


def _probed(probes: Probes | None) -> dict[str, FloatArray]:
    if probes is None:
        return {}
    return {
        "probed_index": np.asarray(probes.index),
        "probed_index_each": probes.each,
        "response_mismatch": np.asarray(probes.mismatch),
    }


def _findings(made: Tomography, maximum: FloatArray, rig: Rig, told: set[int]) -> list[Finding]:
    found, told = [], set(told)
    for one, two in swapped_bonds(made, _SHARE * maximum):
        if told & {one, two}:
            continue
        text = f"makes what {_bond(rig, two)} is told to, and the other way round: swapped"
        found.append(Finding("fault", _bond(rig, one), text))
        told |= {one, two}
    mean, error = made.both_ends
    for edge in range(len(maximum)):
        if edge in told or not np.isfinite(mean[edge]):
            continue
        apart = made.found[0, edge] - made.found[1, edge]
        apart_error = np.hypot(made.error[0, edge], made.error[1, edge])
        away, limit = mean[edge] - made.commanded[edge], _SHARE * maximum[edge]
        if abs(apart) > max(_SIGNIFICANT * apart_error, limit):
            text = (
                f"not reciprocal: {made.found[0, edge]:.3f} one way, "
                f"{made.found[1, edge]:.3f} the other (+- {apart_error:.3f})"
            )
            found.append(Finding("fault", _bond(rig, edge), text))
        elif abs(away) > max(_SIGNIFICANT * error[edge], limit):
            dead = abs(mean[edge]) < limit < abs(made.commanded[edge]) / 4
            text = (
                f"{'dead: ' if dead else ''}makes {mean[edge]:.3f} +- {error[edge]:.3f} where "
                f"{made.commanded[edge]:.3f} is commanded"
            )
            found.append(Finding("fault" if dead else "warning", _bond(rig, edge), text))
    return found


def _of_probes(probes: Probes | None) -> list[Finding]:
    found = []
    if probes is None:
        text = "left out: a channel of the bias fields is broken, and makes no torque"
        return [Finding("note", "probe torques", text)]
    if probes.hopped:
        text = f"{probes.hopped} of {len(probes.each)} equilibria left their basin under torques"
        found.append(Finding("note", "probe torques", text))
    if probes.index > max(_SIGNIFICANT * probes.index_error, TOLERATED):
        text = (
            f"the response to torques is not reciprocal: index {probes.index:.3f} +- "
            f"{probes.index_error:.3f}, so that plain nudges are off by about "
            f"{100 * 2 * probes.index:.2g} %"
        )
        found.append(Finding("warning", "network", text))
    return found


def _bond(rig: Rig, edge: int) -> str:
    one, two = rig.network.edges[edge]
    return f"bond {edge} ({one}-{two})"
