"""The joint calibration of heaters, crosstalk, couplers, injections and detectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, final

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from eqp_hw.calibration.errors import FitError
from eqp_hw.calibration.fits.clipping import unclipped
from eqp_hw.calibration.fits.crosstalk import expected_crosstalk
from eqp_hw.calibration.fits.diagnosis import Diagnosis, diagnose_network, with_drift
from eqp_hw.calibration.fits.ellipse import Detection, fit_ellipse
from eqp_hw.calibration.fits.network_drift import Drift, walk_of
from eqp_hw.calibration.fits.network_equations import Equilibria
from eqp_hw.calibration.fits.network_fit import NetworkFit
from eqp_hw.calibration.fits.network_model import Elements, NetworkModel
from eqp_hw.calibration.fits.resistance import fit_resistances
from eqp_hw.calibration.fits.stepped_network import SteppedNetwork
from eqp_hw.calibration.pictures.network import network_pictures
from eqp_hw.calibration.session import Session
from eqp_hw.calibration.step import Finding, Plot, Step, StepData, StepFit
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.rig.calibration import RigCalibration, nominal_calibration
from eqp_hw.rig.load import Rig

from .broken import broken_figures, rows_of
from .drives import measure_drives, random_powers
from .frames import framed_powers, is_stepped, measure_frames
from .stepped_network import of_frames, stepped_network, take_over_stepping

_BoolArray = npt.NDArray[np.bool_]
__all__ = ["NetworkStep", "at_rest", "equilibria_of", "typical_scatter"]

_LARGE_RADIUS = 0.2
_POOR_FIT = 1.5
_BROKEN = 0.1
"""Residuals, rad, that no experiment would get on with."""
_NOT_NOISE = 25.0
"""Chi-square per degree of freedom: residuals five times the noise are something else."""
_TOO_FAR = 0.005
"""Residuals, rad, that do no harm by themselves: a quarter of what commanded phases may be off."""
_UNFINISHED = 0.5
"""Standard errors by which another step of the fit may still move a figure."""
_LEAST_WHOLE = 0.5
"""Share of the drives at which no detector may be clipped."""
_SIGNIFICANT = 4.0
_STAGES = ((0.35, 0.7), (0.15, 1.6), (0.5, 3.6))
"""Shares of the drives, and how far they go in half-wave powers."""


@final
class NetworkStep(Step):
    """All heaters driven at random at once; all figures fitted together.

    Parameters
    ----------
    equations_per_figure
        How many equations a figure to be fitted; the number of drives follows.
    least
        Fewest drives.
    samples
        Conversions averaged at each.
    read_backs
        Of voltages and currents on the way: the resistances, and with them the scale of powers,
        are those of the same drives.
    """

    name: ClassVar[str] = "network"
    description: ClassVar[str] = "half-wave powers, offsets, crosstalk, couplings and fields"
    needs: ClassVar[tuple[str, ...]] = ("resistance", "readout")

    bound_to: ClassVar[tuple[str, ...]] = ("resistance",)
    bound_because: ClassVar[str] = (
        "phases tell half-wave power times resistance, so that another resistance asks for "
        "another half-wave power"
    )

    def __init__(
        self,
        equations_per_figure: float = 10.0,
        least: int = 300,
        samples: int = 32,
        read_backs: int = 24,
    ) -> None:
        self.equations_per_figure, self.least = equations_per_figure, least
        self.samples, self.read_backs = samples, read_backs

    @override
    def unavailable_because(self, rig: Rig) -> str | None:
        if not rig.wiring.bias_amplitude:
            return "without bias fields nothing turns the phases about a known direction"
        return None

    def n_drives(self, rig: Rig) -> int:
        """Return how many drives the rig needs."""
        model = NetworkModel(rig)
        figures = int(expected_crosstalk(rig)[model.seen].sum()) + 2 * int(model.seen.sum())
        figures += model.n_maxima + 5 * model.n_free
        return max(self.least, int(np.ceil(self.equations_per_figure * figures / model.n_free)))

    @override
    def measure(self, session: Session) -> StepData:
        count = self.n_drives(session.rig)
        tops = np.concatenate([np.full(int(np.ceil(share * count)), top) for share, top in _STAGES])
        if "half_waves" not in session.recorded():
            session.record("half_waves", tops, "", "upper end of the powers of each drive")
        if is_stepped(session.rig):
            framed = framed_powers(session, tops, from_zero=False)
            return measure_frames(session, framed, self.samples, meters=self.read_backs)
        powers = random_powers(session, tops)
        return measure_drives(session, powers, self.samples, meters=self.read_backs)

    @override
    def fit(self, data: StepData, known: RigCalibration, rig: Rig) -> StepFit:
        model, nominal = NetworkModel(rig), nominal_calibration(rig)
        resistance, resistance_error = _resistances(data, known)
        known = replace(known, resistance_ohm=resistance)
        stable = at_rest(data, rig)
        rough = Elements.of(nominal, model.n_edges)
        free = rig.network.free_index[rig.network.edges] >= 0

        def diagnose(some: Equilibria, chosen: _BoolArray, detection: Detection) -> Diagnosis:
            return diagnose_network(
                model,
                rough,
                detection,
                some,
                data["half_waves"][0][: len(stable)][chosen],
                expected_crosstalk(rig),
                np.asarray(free.all(axis=1)),
            )

        stepped: SteppedNetwork | None = None
        if is_stepped(rig):
            stepped = stepped_network(data, known, rig, stable, diagnose)
            diagnosis, phase_noise = stepped.diagnosis, stepped.noise
            fitted = stable.copy()
            fitted[stable] = stepped.used
        else:
            seen, detection = equilibria_of(data, known, rig, stable)
            diagnosis = with_drift(model, diagnose(seen, stable, detection))
            phase_noise = seen.noise
            fitted = stable
        fit = diagnosis.solution.fit
        _refuse_misfit(model, fit, diagnosis, float(phase_noise.mean()))
        findings = _findings(diagnosis, model, rig)
        findings += _of_misfit(fit, diagnosis.drift, data["time_s"][stable])
        if diagnosis.turn is not None:
            findings.append(_of_turn(diagnosis.turn, data["time_s"][fitted]))
        findings += _left_out(data, rig)
        figures, errors = _figures(fit, model, nominal)
        if stepped is not None:
            findings += of_frames(stepped)
            take_over_stepping(stepped, nominal, figures, errors)
        # P = V²/R: what R errs by, the half-wave power errs by as well.
        errors["half_wave_power_W"] = figures["half_wave_power_W"] * np.hypot(
            errors["half_wave_power_W"] / figures["half_wave_power_W"],
            np.where(np.isfinite(resistance_error), resistance_error, 0.0) / resistance,
        )
        figures["resistance_ohm"], errors["resistance_ohm"] = resistance, resistance_error
        for row in rows_of(diagnosis):
            # Nominal half-wave powers stand here: what heats such a shifter is stated by them.
            own, stated = fit.elements.slope[row, row], np.pi / nominal.half_wave_power_W[row]
            others = np.arange(model.n_heaters) != row
            figures["crosstalk"][row, others] *= own / stated
            errors["crosstalk"][row, others] *= own / stated
            figures["half_wave_power_W"][row], errors["half_wave_power_W"][row] = np.nan, np.nan
        drift = _drift(model, diagnosis, data["time_s"][fitted])
        return StepFit(
            figures={**figures, **drift.figures, **broken_figures(diagnosis, model.n_heaters)},
            uncertainties={**errors, **drift.uncertainties},
            residuals={"phase": np.clip(fit.residual, -np.pi, np.pi), "radius": fit.radius},
            findings=findings,
            units={"phase": "rad", **drift.units},
        )

    @override
    def plots(self, data: StepData, fit: StepFit, rig: Rig) -> Sequence[Plot]:
        return network_pictures(data, fit, rig)


def typical_scatter(scatter_V: FloatArray, samples: int) -> FloatArray:
    """Return (n_detectors,) standard deviations of one conversion, from those of all drives.

    By the median, which a few drives that had not come to rest do not move.
    """
    freedom = samples - 1
    median = np.median(scatter_V**2, axis=0) / (1 - 2 / (9 * freedom)) ** 3
    typical: FloatArray = np.sqrt(median)
    return typical


def at_rest(data: StepData, rig: Rig) -> npt.NDArray[np.bool_]:
    """Return (m,) which drives can be judged: they had settled, and no detector was clipped.

    They say that they had settled, and did not move while being read.
    """
    whole = _whole(data, rig)
    typical = typical_scatter(data["scatter_V"][whole], int(data["samples"][0]))
    quiet = (data["scatter_V"] <= 3 * np.maximum(typical, 1e-12)).all(axis=1)
    return np.asarray(quiet & data["stable"].astype(bool) & whole)


def _whole(data: StepData, rig: Rig) -> _BoolArray:
    """Return (m,) drives at which no detector was clipped.

    Raises
    ------
    FitError
        Too few are left to fit anything to.
    """
    voltage = data["frame_V"] if "frame_V" in data else data["detector_V"]
    m, columns = len(voltage), voltage.shape[-1]
    if "frame_V" in data:
        whole = unclipped(voltage.reshape(-1, columns)).reshape(m, -1, columns).all(axis=1)
    else:
        whole = unclipped(voltage, data["scatter_V"])
    every: _BoolArray = np.logical_and.reduce(whole, axis=1)
    if every.sum() < _LEAST_WHOLE * m:
        worst = rig.wiring.detectors[int(np.argmin(whole.sum(axis=0)))]
        raise FitError(
            f"{worst}: clipped; detectors are at {m - int(every.sum())} of {m} drives, and too few "
            "are left to fit: widen the range of the digitiser"
        )
    return every


def _left_out(data: StepData, rig: Rig) -> list[Finding]:
    """Tell of drives that were left out, and why."""
    stable, whole = at_rest(data, rig), _whole(data, rig)
    found, reasons = (
        [],
        ((~whole, "had clipped detectors"), (whole & ~stable, "did not come to rest")),
    )
    for which, reason in reasons:
        if which.any():
            text = f"{int(which.sum())} of {len(stable)} drives {reason}, and were left out"
            found.append(Finding("warning", "network", text))
    return found


def _that_matter(model: NetworkModel, fit: NetworkFit, diagnosis: Diagnosis) -> _BoolArray:
    """Return (n,) parameters of all that is whole.

    Of a heater without effect the equilibria see the product of its maximum and a function of its
    offset: both may wander together for ever, and do no harm.
    """
    bad, terms = rows_of(diagnosis), model.terms
    maxima = np.unique(terms.maximum[np.isin(terms.strength, bad)])
    judged = np.ones(len(fit.downhill), dtype=bool)
    judged[fit.layout["offset"]] = ~np.isin(fit.rows["offset"], bad)
    judged[fit.layout["slope"]] = ~np.isin(fit.rows["slope"], bad).any(axis=1)
    judged[fit.layout["maximum"]] = ~np.isin(fit.rows["maximum"], maxima)
    return judged


def _refuse_misfit(
    model: NetworkModel, fit: NetworkFit, diagnosis: Diagnosis, noise: float
) -> None:
    """Refuse a fit whose figures nobody should use.

    Raises
    ------
    FitError
        It has not converged, or leaves more than any experiment, or the noise, would bear.
    """
    rms = float(np.sqrt((fit.residual**2).mean()))
    remain = (
        f"residuals of {1e3 * rms:.3g} mrad remain where the read-out's noise is "
        f"{1e3 * noise:.2g} mrad"
    )
    if rms > _BROKEN:
        raise FitError(
            f"the equilibria do not fit the wiring: {remain}, and neither dead or swapped channels "
            "nor a drifting reference explain them; is the network of the rig file that of the "
            "bench?"
        )
    unfinished = fit.unfinished(_that_matter(model, fit, diagnosis))
    if unfinished > _UNFINISHED:
        raise FitError(
            f"the fit did not converge: after {len(fit.history) - 1} steps another one would move "
            f"its figures by {unfinished:.2g} of their standard errors ({remain}). "
            "Are calibration.half_wave_power_W and crosstalk of the rig file right to within some "
            "30 %, and do the drives come to rest?"
        )
    if diagnosis.drift is None and fit.chi_square > _NOT_NOISE and rms > _TOO_FAR:
        raise FitError(
            f"the fit is a poor one: {remain} (chi-square {fit.chi_square:.3g} per degree of "
            "freedom), and nothing that is known explains them: no broken channel, no drift. See "
            "the findings of the readout step, the light, settle.typical_s, and whether "
            "resistances change with power"
        )


def _drift(model: NetworkModel, diagnosis: Diagnosis, time_s: FloatArray) -> StepFit:
    """Return the walk of shifters, and that of the free nodes' phases that follows from it."""
    walk = walk_of(model, diagnosis.solution.fit, diagnosis.seen)
    interval_s = float(np.ptp(time_s)) / (len(time_s) - 1)
    per_root = 1 / np.sqrt(interval_s) if interval_s > 0 else np.nan
    # Where a drift explains the residuals their excess tells it best; where none shows, or may
    # hide, what is slow among them.
    found = walk.step if diagnosis.drift is None else diagnosis.drift.step
    step, error = found * per_root, walk.error * per_root
    return StepFit(
        figures={"shifter_walk": np.asarray(step), "drift_walk": step * walk.response},
        uncertainties={"shifter_walk": np.asarray(error), "drift_walk": error * walk.response},
        units={"shifter_walk": "rad/sqrt(s)", "drift_walk": "rad/sqrt(s)"},
    )


def _resistances(data: StepData, known: RigCalibration) -> tuple[FloatArray, FloatArray]:
    """Return resistances and their errors from the read-backs; known ones where there are none."""
    nothing = np.full(len(known.resistance_ohm), np.nan)
    if "back_current_A" not in data or len(data["back_current_A"]) < 4:
        return known.resistance_ohm, nothing
    fit = fit_resistances(
        data["back_setpoint_V"],
        data["back_voltage_V"],
        data["back_current_A"],
        known.resistance_ohm,
    )
    found = np.isfinite(fit.resistance_ohm)
    return np.where(found, fit.resistance_ohm, known.resistance_ohm), fit.error_ohm


def equilibria_of(
    data: StepData, known: RigCalibration, rig: Rig, chosen: _BoolArray
) -> tuple[Equilibria, Detection]:
    """Return (m,) chosen equilibria, and detectors' figures, of drives of `measure_drives`.

    The ellipses are fitted anew: no step before needs to have found them.

    Raises
    ------
    FitError
        A node's detectors give no phase.
    """
    n, voltage = len(rig.network.free), data["detector_V"][chosen]
    values = np.empty((5, n))
    for node in range(n):
        name = f"node {rig.network.free[node]}"
        try:
            fit = fit_ellipse(voltage[:, node], voltage[:, n + node])
        except FitError as error:
            raise FitError(f"{name}: {error}; mend its detectors first") from None
        if float(np.std(fit.residual)) > _LARGE_RADIUS:
            raise FitError(f"{name}: its detectors make no ellipse; mend or swap them first")
        values[:, node] = fit.values
    scatter = typical_scatter(data["scatter_V"][chosen], int(data["samples"][0])).reshape(2, n)
    conversions = np.sqrt(float(data["samples"][0]))
    noise = np.sqrt(((scatter / values[2:4]) ** 2).mean(axis=0)) / conversions
    power = data["setpoint_V"][chosen] ** 2 / known.resistance_ohm
    return Equilibria(power, voltage, np.maximum(noise, 1e-6)), Detection(values)


def _figures(
    fit: NetworkFit, model: NetworkModel, nominal: RigCalibration
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    n = model.n_heaters
    own = np.diag(fit.elements.slope)
    offset, offset_error = np.full(n, np.nan), np.full(n, np.nan)
    offset[fit.rows["offset"]] = fit.elements.offset[fit.rows["offset"]]
    deviation = np.sqrt(np.diag(fit.covariance))
    offset_error[fit.rows["offset"]] = deviation[fit.layout["offset"]]
    half_wave, half_wave_error = np.full(n, np.nan), np.full(n, np.nan)
    crosstalk, crosstalk_error = np.full((n, n), np.nan), np.full((n, n), np.nan)
    seen = model.seen
    crosstalk[seen] = fit.elements.slope[seen] / own[seen, None]
    half_wave[seen] = np.pi / own[seen]
    place = {
        (int(h), int(j)): k
        for k, (h, j) in enumerate(fit.rows["slope"], start=fit.layout["slope"].start)
    }
    for (h, j), k in place.items():
        mine = place[h, h]
        if h == j:
            half_wave_error[h] = half_wave[h] * deviation[k] / own[h]
            crosstalk_error[h, h] = 0.0
            continue
        x = crosstalk[h, j]
        variance = fit.covariance[k, k] + x**2 * fit.covariance[mine, mine]
        variance -= 2 * x * fit.covariance[k, mine]
        crosstalk_error[h, j] = np.sqrt(max(variance, 0.0)) / own[h]
    maximum, maximum_error = np.full(model.n_maxima, np.nan), np.full(model.n_maxima, np.nan)
    known: IntArray = fit.rows["maximum"]
    maximum[known] = fit.elements.maximum[known]
    maximum_error[known] = maximum[known] * deviation[fit.layout["maximum"]]
    stated = Elements.of(nominal, model.n_edges).maximum
    spread = np.std(np.log(maximum[known] / stated[known]), ddof=1) / np.sqrt(len(known))
    ends = np.cumsum([len(nominal.coupling_maximum), len(nominal.bias_maximum)])
    values, errors = fit.detection.values, deviation[fit.layout["detection"]].reshape(5, -1)

    def named(
        maxima: FloatArray, detectors: FloatArray, offsets: FloatArray, powers: FloatArray
    ) -> dict[str, FloatArray]:
        couplings, bias, nudge = np.split(maxima, ends)
        return {
            "half_wave_power_W": powers,
            "phase_offset": offsets,
            "coupling_maximum": couplings,
            "bias_maximum": bias,
            "nudge_maximum": nudge,
            "readout_offset_V": detectors[:2],
            "readout_amplitude_V": detectors[2:4],
            "quadrature_error": detectors[4],
        }

    figures = named(maximum, values, offset, half_wave)
    uncertainties = named(maximum_error, errors, offset_error, half_wave_error)
    figures |= {
        "crosstalk": crosstalk,
        "chi_square": np.asarray(fit.chi_square),
        "scale_error": np.asarray(spread),
    }
    return figures, uncertainties | {"crosstalk": crosstalk_error}


def _findings(diagnosis: Diagnosis, model: NetworkModel, rig: Rig) -> list[Finding]:
    fit, heaters = diagnosis.solution.fit, rig.wiring.heaters
    found = []
    for row in diagnosis.without_effect:
        text = "has no effect on any phase: dead, stuck, or not connected"
        found.append(Finding("fault", str(heaters[row]), text))
    for one, two in diagnosis.swapped:
        text = f"swapped with {heaters[two]}: exchange them in the rig file, or the cables"
        found.append(Finding("fault", str(heaters[one]), text))
    found += _of_bonds(diagnosis, rig)
    reads = [len(heaters) - 1] if is_stepped(rig) else []
    for idle in np.setdiff1d(np.flatnonzero(~model.seen), reads):
        text = "acts on clamped nodes only: nominal figures are kept, and do no harm"
        found.append(Finding("note", str(heaters[idle]), text))
    for h, j in diagnosis.solution.found_crosstalk:
        share = fit.elements.slope[h, j] / fit.elements.slope[h, h]
        text = f"heats {heaters[h]} by {100 * share:.2f} % though it is no close neighbour"
        found.append(Finding("note", str(heaters[j]), text))
    return found


def _of_misfit(fit: NetworkFit, drift: Drift | None, time_s: FloatArray) -> list[Finding]:
    rms, found = float(np.sqrt((fit.residual**2).mean())), []
    if drift is not None:
        lasted = float(np.ptp(time_s))
        rate = drift.step / np.sqrt(lasted / (len(time_s) - 1))
        text = (
            f"shifters drift, by some {1e3 * rate:.2g} mrad/sqrt(s): residuals of {1e3 * rms:.2g} "
            f"mrad are alike in time. Figures are means over the {lasted:.3g} s of the step, with "
            "errors that count the drift; it will go on"
        )
        found.append(Finding("warning", "network", text))
    elif fit.chi_square > _POOR_FIT:
        text = (
            f"residuals of {1e3 * rms:.2g} mrad are {np.sqrt(fit.chi_square):.1f} times what the "
            "read-out's noise explains"
        )
        found.append(Finding("warning", "network", text))
    return found


def _of_turn(turn: FloatArray, time_s: FloatArray) -> Finding:
    rate = np.polyfit(time_s - time_s[0], turn, 1)[0]
    text = (
        f"the reference drifts: all phases turned alike, by {np.ptp(turn):.2g} rad within "
        f"{np.ptp(time_s):.3g} s ({rate:+.2g} rad/s); taken off here, but it will go on"
    )
    return Finding("fault", "reference", text)


def _of_bonds(diagnosis: Diagnosis, rig: Rig) -> list[Finding]:
    fit, found = diagnosis.solution.fit, []
    deviation = np.sqrt(np.diag(fit.covariance))[fit.layout["ratio"]]
    for edge, error in zip(fit.rows["ratio"].tolist(), deviation, strict=True):
        ratio = fit.elements.log_ratio[edge]
        if abs(ratio) < max(_SIGNIFICANT * error, 0.01):
            continue
        text = f"not reciprocal: J_ij/J_ji = {np.exp(ratio):.3f} +- {error * np.exp(ratio):.3f}"
        if diagnosis.rivals and edge == diagnosis.one_sided[0]:
            others = ", ".join(_bond(rig, rival) for rival in diagnosis.rivals)
            text += f"; equilibria cannot tell it from {others} in the same loop"
        found.append(Finding("fault", _bond(rig, edge), text))
    if found:
        for rival in diagnosis.rivals:
            text = "may be the one that is not reciprocal, in place of that named before"
            found.append(Finding("warning", _bond(rig, rival), text))
    return found


def _bond(rig: Rig, edge: int) -> str:
    one, two = rig.network.edges[edge]
    return f"bond {edge} ({one}-{two})"
