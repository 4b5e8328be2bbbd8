"""Probe torques by the bias channels, around equilibria drawn at random."""

from __future__ import annotations

import numpy as np

from eqp_hw.calibration.fits.ellipse import Detection
from eqp_hw.calibration.fits.network_model import Elements, NetworkModel
from eqp_hw.calibration.fits.probes import Probes, join_probes, probed_response, torque_for
from eqp_hw.calibration.session import Session
from eqp_hw.calibration.step import StepData
from eqp_hw.drivers.errors import LimitError
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.reciprocity import random_torques
from eqp_hw.rig.calibration import RigCalibration
from eqp_hw.rig.load import Rig

from .broken import held_at_zero
from .drives import random_powers
from .injections import Injections

__all__ = ["fit_probes", "measure_probes", "patterns_for"]

TURN = 0.06
"""Rms turn, rad, of the softest phase: the cubic part of its response is then some 10⁻³."""
_LEAST, _MOST = 0.2, 0.6
"""Bias fields at the equilibria, in shares of their maxima: room for torques on both sides."""
_LARGEST = 0.25
"""Torque, in shares of the smallest maximum."""
_SHRINK, _TRIES, _ATTEMPTS = 0.85, 40, 8


def patterns_for(nodes: int) -> int:
    """Return the fewest patterns of signs that can be orthogonal: a power of two, 2 at least."""
    return max(2, 1 << (nodes - 1).bit_length())


def measure_probes(session: Session, equilibria: int, samples: int) -> StepData:
    """Apply torques of both signs in orthogonal patterns at each of some equilibria.

    Records, one row an equilibrium: ``probe_free_V``, ``probe_end_V`` (n_detectors,) without
    torques, before and after; ``probe_V`` (p, 2, n_detectors); and the set-points of both,
    ``probe_free_setpoint_V`` (n_heaters,) and ``probe_setpoint_V`` (p, 2, n_heaters). Nothing
    where a bias channel is broken: it makes no torque.
    """
    held = held_at_zero(session)
    fields = Injections.of(session, "bias", held)
    if held[fields.amplitudes].any() or held[fields.angles].any():
        return session.recorded()
    done, n = session.recorded(), len(session.rig.network.free)
    first = len(done["probe_V"]) if "probe_V" in done else 0
    drives = random_powers(session, np.full(equilibria, 2.0), held)
    shares = session.rng.uniform(_LEAST, _MOST, (equilibria, n))
    signs = [random_torques(patterns_for(n), n, session.rng) for _ in range(equilibria)]
    for k in range(first, equilibria):
        session.progress(k, equilibria, "probe torques")
        for attempt in range(_ATTEMPTS):
            base = _base(session, fields, _SHRINK**attempt * drives[k], shares[k])
            try:
                _probe(session, fields, base, signs[k], samples)
            except LimitError:
                # Torques take some power more than the equilibrium.
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                break
        session.checkpoint()
    session.progress(equilibria, equilibria, "probe torques")
    return session.recorded()


def _base(
    session: Session, fields: Injections, power_W: FloatArray, shares: FloatArray
) -> FloatArray:
    """Return powers with bias fields of these shares of their maxima, within all limits."""
    for _ in range(_TRIES):
        angle = np.angle(fields.fields(power_W))
        field = shares * session.known.bias_maximum * np.exp(1j * angle)
        try:
            made = fields.powers(power_W, field)
            session.refuse(np.sqrt(made * session.known.resistance_ohm))
        except LimitError:
            power_W = _SHRINK * power_W
        else:
            return made
    return power_W


def _probe(
    session: Session, fields: Injections, base_W: FloatArray, signs: FloatArray, samples: int
) -> None:
    known, model = session.known, NetworkModel(session.rig)
    base_W = session.write_powers(base_W)
    session.settle()
    setpoint, read = session.setpoint_V, session.read_detectors(samples).mean(axis=0)
    phases, _ = Detection.of(known).phases(read[None, :])
    elements = Elements.of(known, model.n_edges)
    local = model.local_fields(elements, elements.theta(base_W[None, :]), phases)
    most = _LARGEST * float(known.bias_maximum.min())
    torque = torque_for(local.stiffness[0], TURN, most)
    bias, across = fields.fields(base_W), 1j * np.exp(1j * phases[0])
    seen = np.empty((len(signs), 2, session.n_detectors))
    made = np.empty((len(signs), 2, session.n_heaters))
    for k, pattern in enumerate(signs):
        # + -, then - +: what drifts evenly cancels over two patterns.
        for side in (0, 1) if k % 2 == 0 else (1, 0):
            field = bias + (torque if side == 0 else -torque) * pattern * across
            session.write_powers(fields.powers(base_W, field))
            session.settle()
            made[k, side] = session.setpoint_V
            seen[k, side] = session.read_detectors(samples).mean(axis=0)
    session.write_powers(base_W)
    session.settle()
    session.record("probe_free_setpoint_V", setpoint, "V", "without torques")
    session.record("probe_free_V", read, "V", "without torques, before")
    session.record("probe_end_V", session.read_detectors(samples).mean(axis=0), "V", "and after")
    session.record("probe_setpoint_V", made, "V", "with torques of both signs, by pattern")
    session.record("probe_V", seen, "V", "with torques of both signs, by pattern")


def fit_probes(data: StepData, known: RigCalibration, rig: Rig, noise: FloatArray) -> Probes:
    """Return what the probes say; ``noise`` (n_free,) rad of one read."""
    model, detection = NetworkModel(rig), Detection.of(known)
    elements = Elements.of(known, model.n_edges)
    found = []
    for k, seen in enumerate(data["probe_V"]):
        patterns = len(seen)
        free, _ = detection.phases(np.stack([data["probe_free_V"][k], data["probe_end_V"][k]]))
        phases, _ = detection.phases(seen.reshape(2 * patterns, -1))
        found.append(
            probed_response(
                model,
                elements,
                data["probe_free_setpoint_V"][k] ** 2 / known.resistance_ohm,
                data["probe_setpoint_V"][k] ** 2 / known.resistance_ohm,
                free[0],
                free[1],
                phases.reshape(patterns, 2, -1),
                noise,
            )
        )
    return join_probes(found)
