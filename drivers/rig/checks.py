"""Named steps that tell a healthy rig from one that is not, each failure with a likely cause."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import final

import numpy as np

from eqp_hw.drivers.errors import BusyError, IdentityError, LostError, TransportTimeout
from eqp_hw.drivers.instruments.interface import Identity, Instrument, MultichannelSource
from eqp_hw.errors import CapabilityError, EqpError, SubstrateError
from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.averaging import phasor_average, wrap
from eqp_hw.physics.energy import force
from eqp_hw.physics.parameters import Parameters
from eqp_hw.rig.calibration import RigCalibration, nominal_calibration
from eqp_hw.rig.calibrations import MeasuredCalibration
from eqp_hw.rig.load import Rig
from eqp_hw.substrate import SelfTestStep

from .bench import Bench
from .measured import measured_calibration, names_calibration
from .substrate import RigSubstrate

__all__ = ["check_rig"]

NOISE_READS = 64
READ_BACK_V = 0.05
RESISTANCE_TOLERANCE = 0.5


def check_rig(rig: Rig) -> Iterator[SelfTestStep]:
    """Check a rig from its wires to its physics; outputs end at zero.

    Each step is yielded when it is done. After a failed one, those that build on it are left
    out.
    """
    bench = Bench(rig)
    try:
        identities: dict[str, Identity] = {}
        for name, instrument in bench.instruments.items():
            yield _named(f"{name}: connection", partial(_connect, name, instrument, identities))
        if len(identities) < len(bench.instruments):
            return
        bench.take_over(identities)
        for name, instrument in bench.instruments.items():
            for step in instrument.self_test():
                yield SelfTestStep(f"{name}: {step.name}", step.passed, step.detail)
        loaded: list[MeasuredCalibration] = []
        if names_calibration(bench):
            step = _named("calibration", partial(_load, bench, loaded))
            yield step
            if not step.passed:
                return
        made: list[RigSubstrate] = []

        def make() -> str:
            made.append(RigSubstrate(bench, loaded[0] if loaded else None))
            return f"{len(rig.wiring.heaters)} heaters, {len(rig.wiring.detectors)} detectors"

        step = _named("wiring", make)
        yield step
        if not step.passed:
            return
        yield _named("guardian", lambda: f"process {bench.start_guard()} watches")
        calibration = loaded[0].calibration if loaded else nominal_calibration(rig)
        for name, source in bench.sources.items():
            yield _named(
                f"{name}: round trip",
                partial(_round_trip, rig, calibration, name, source),
            )
        bench.safe()
        yield from _Physics(made[0]).steps()
        yield _named("safe outputs", lambda: _made_safe(bench))
    finally:
        bench.close()


def _named(name: str, run: Callable[[], str]) -> SelfTestStep:
    try:
        return SelfTestStep(name, True, run())
    except EqpError as error:
        return SelfTestStep(name, False, f"{error}{_cause(error)}")


def _connect(name: str, instrument: Instrument, identities: dict[str, Identity]) -> str:
    identities[name] = instrument.connect()
    return identities[name].raw


def _load(bench: Bench, loaded: list[MeasuredCalibration]) -> str:
    found = measured_calibration(bench)
    assert found is not None
    loaded.append(found)
    broken = f"; found broken then: {'; '.join(found.faults)}" if found.faults else ""
    return f"{found.path.name}, measured {found.record()['measured']}{broken}"


def _cause(error: EqpError) -> str:
    causes: tuple[tuple[type[EqpError], str], ...] = (
        (BusyError, "another program has the port, or you may not open it"),
        (IdentityError, "another instrument behind this address: check the cable"),
        (TransportTimeout, "switched off, another baud rate, or another instrument"),
        (LostError, "not plugged in, or another address"),
    )
    for kind, words in causes:
        if isinstance(error, kind):
            return f"; likely: {words}"
    return ""


def _round_trip(
    rig: Rig, calibration: RigCalibration, name: str, source: MultichannelSource
) -> str:
    """Drive every wired channel of one source to a voltage of its own; read back V and I."""
    rows, channels = _wired(rig, name)
    resistance = calibration.resistance_ohm[rows]
    # All different, so that swapped channels show; a tenth to a fifth of the half-wave power.
    share = 0.1 + 0.1 * np.arange(len(rows)) / max(1, len(rows))
    wanted = np.sqrt(share * calibration.half_wave_power_W[rows] * resistance)
    source.write_voltages(channels, wanted)
    try:
        voltage, measured = _voltages(source, channels)
        try:
            current = source.measure_currents(channels)
        except CapabilityError:
            current = np.full(len(channels), np.nan)
    finally:
        source.write_voltages(channels, np.zeros(len(channels)))
    problems = _gain_problems(rig, name, source)
    off = np.abs(voltage - wanted) > READ_BACK_V
    found = voltage / np.where(current > 0, current, np.nan)
    open_circuit = np.abs(current) < 0.1 * wanted / resistance
    other = np.abs(found / resistance - 1) > RESISTANCE_TOLERANCE
    for k, channel in enumerate(channels):
        if off[k]:
            problems.append(f"{name}:{channel} drives {voltage[k]:.3f} V of {wanted[k]:.3f} V")
        elif open_circuit[k]:
            problems.append(f"{name}:{channel} draws no current: open heater or cable")
        elif other[k]:
            problems.append(f"{name}:{channel} has {found[k]:.0f} ohm, not {resistance[k]:.0f}")
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise SubstrateError("; ".join(problems[:3]) + more)
    ohm = f", {np.nanmedian(found):.0f} ohm" if np.isfinite(found).any() else ""
    error = float(np.abs(voltage - wanted).max())
    return f"{len(channels)} channels within {1e3 * error:.1f} mV{measured}{ohm}"


def _gain_problems(rig: Rig, name: str, source: MultichannelSource) -> list[str]:
    """Drive the gain switch, where this source has it, to its voltage and back to zero."""
    switch, wanted = rig.wiring.gain_switch, rig.settings.wiring.gain_off_V
    if switch is None or switch.instrument != name:
        return []
    channel = np.array([switch.number])
    source.write_voltages(channel, np.array([wanted]))
    try:
        found = float(_voltages(source, channel)[0][0])
    finally:
        source.write_voltages(channel, np.zeros(1))
    if abs(found - wanted) > READ_BACK_V:
        return [f"{switch} (gain switch) drives {found:.3f} V of {wanted:.3f} V"]
    return []


def _voltages(source: MultichannelSource, channels: IntArray) -> tuple[FloatArray, str]:
    """Return measured voltages, or set-points and a remark where there is no voltmeter."""
    try:
        return source.measure_voltages(channels), ""
    except CapabilityError:
        return source.setpoint_V[channels], " (set-points: it has no voltmeter)"


def _wired(rig: Rig, name: str) -> tuple[IntArray, IntArray]:
    rows = [k for k, channel in enumerate(rig.wiring.heaters) if channel.instrument == name]
    numbers = [rig.wiring.heaters[k].number for k in rows]
    return np.array(rows, dtype=np.int64), np.array(numbers, dtype=np.int64)


@final
class _Physics:
    """Lets the network settle at a few settings: noise, settle time, equilibrium, nudge."""

    def __init__(self, substrate: RigSubstrate) -> None:
        self._substrate = substrate
        self._optics = substrate.optics
        self._network = substrate.network
        self._able = substrate.capabilities
        self._rng = np.random.default_rng(20260101)
        self._held = Parameters.zeros(self._network)
        edges = self._network.edges.ravel()
        self._degree = float(np.bincount(edges, minlength=self._network.n_nodes).mean())

    def steps(self) -> Iterator[SelfTestStep]:
        """Yield the steps; the first two are needed by the others."""
        for name, run in (
            ("programming", self._program),
            ("settle time", self._settle),
            ("read-out noise", self._noise),
            ("equilibrium", self._equilibrium),
            ("nudge", self._nudge),
        ):
            step = _named(name, run)
            yield step
            if not step.passed and name in ("programming", "settle time"):
                return

    def _program(self) -> str:
        network, (low, high) = self._network, self._able.coupling_range
        coupling = self._rng.normal(0, 0.5 * high / np.sqrt(self._degree), network.n_couplings)
        bias = np.zeros(network.n_nodes, dtype=complex)
        if self._able.bias_control != "none":
            size = 0.2 * float(self._optics.bias_maximum.min())
            angle = self._rng.uniform(-np.pi, np.pi, len(network.free))
            bias[network.free] = size * np.exp(1j * angle)
        asked = Parameters(np.clip(coupling, low, high), bias)
        self._held = self._substrate.write_parameters(asked)
        return f"{network.n_couplings} couplings to {self._able.coupling_bits} bits"

    def _settle(self) -> str:
        seconds = []
        for number in range(4):
            shape = (1, len(self._network.inputs))
            self._substrate.set_inputs(self._rng.uniform(-np.pi / 2, np.pi / 2, shape))
            self._substrate.reset(number)
            outcome = self._substrate.settle()
            if not outcome.settled.all():
                raise SubstrateError(
                    "phases still move at the time limit; likely: more noise than "
                    "calibration.readout_noise states, a settle.tolerance below it, or drift"
                )
            seconds.append(outcome.duration_s)
        return f"{np.median(seconds):.3g} s (settle.typical_s)"

    def _noise(self) -> str:
        reads = self._optics.single_reads(NOISE_READS)
        residual = wrap(reads - phasor_average(reads)[0])
        found = float(np.sqrt((residual**2).sum(axis=0).mean() / (NOISE_READS - 1)))
        stated = self._optics.noise
        if found > 1.3 * stated + 1e-6:
            raise SubstrateError(
                f"{found:.2e} rad, stated are {stated:.2e}; likely: calibration.readout_noise is "
                "too small, or readout.samples"
            )
        return f"{found:.2e} rad a read, stated are {stated:.2e}"

    def _equilibrium(self) -> str:
        phases = self._substrate.read_phases(NOISE_READS).phases
        rest = float(np.abs(force(self._network, self._held, phases)).max())
        scale = float(np.abs(self._held.coupling).max() * np.sqrt(self._degree))
        found = f"forces up to {rest:.2g} remain where couplings make {scale:.2g}"
        if rest > 0.25 * scale:
            raise SubstrateError(
                f"{found}; likely: the calibration does not fit, or a wire is swapped"
            )
        return found

    def _nudge(self) -> str:
        outputs = self._network.outputs
        free = self._substrate.read_phases(16).phases
        field = 0.5 * self._able.nudge_maximum * np.exp(1j * (free[:, outputs] + np.pi / 2))
        self._substrate.apply_nudge(field)
        self._substrate.settle()
        moved = wrap(self._substrate.read_phases(16).phases - free)[0, outputs]
        self._substrate.apply_nudge(None)
        wrong = outputs[~(moved > 4 * self._optics.noise)]
        if len(wrong):
            raise SubstrateError(
                f"node {wrong[0]} does not follow its nudge; likely: nudge channels swapped or dead"
            )
        return f"outputs follow by {moved.min():.2g} rad and more"


def _made_safe(bench: Bench) -> str:
    bench.safe()
    worst, remark = 0.0, ""
    for source in bench.sources.values():
        voltage, measured = _voltages(source, np.arange(source.n_channels))
        worst = max(worst, float(np.abs(voltage).max(initial=0.0)))
        remark = remark or measured
    if worst > READ_BACK_V:
        raise SubstrateError(f"an output still drives {worst:.3f} V after all were set to zero")
    return f"all outputs below {1e3 * worst:.1f} mV{remark}"
