"""`Plant`: the one physical world that all simulated instruments of a rig drive and see."""

from __future__ import annotations

import threading
import time
from typing import Any, Final, final

import numpy as np
from typing_extensions import override

from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.physics.parameters import ComplexArray
from eqp_hw.randomness import RandomStreams
from eqp_hw.rig.load import Channel, Rig
from eqp_hw.sim_backends.virtual_lab.clock import Clock, TransactionClock
from eqp_hw.sim_backends.virtual_lab.interface import PlantFace

from . import formulas
from .oscillators import Oscillators
from .shifters import Shifters
from .truths import Truths, draw_truths

__all__ = ["GAIN_OFF_V", "Plant"]

GAIN_OFF_V: Final = 1.0
"""Above this voltage of the gain switch the oscillators are off."""


@final
class Plant(PlantFace):
    """Heaters, oscillators and detectors of one rig.

    Parameters
    ----------
    rig
        Wiring, network and the spreads of ``[virtual_lab]``.
    seed
        Of the hidden truths and of all noise.
    clock
        The plant's time.
    truths
        In place of those drawn from the seed.
    """

    def __init__(
        self, rig: Rig, seed: int = 0, clock: Clock | None = None, truths: Truths | None = None
    ) -> None:
        self.rig = rig
        self.truths = draw_truths(rig, seed) if truths is None else truths
        self.clock: Clock = TransactionClock() if clock is None else clock
        self._lock = threading.RLock()
        table, wiring, streams = rig.settings.virtual_lab, rig.wiring, RandomStreams(seed)
        self._shifters = Shifters(
            self.truths.figures,
            [channel in self.truths.dead for channel in wiring.heaters],
            table.thermal_time_s,
            table.drift_per_sqrt_s,
            streams.generator("plant: drift"),
        )
        self._directed = bool(self.truths.reciprocity.any())
        self._oscillators = Oscillators(
            rig.network, self._directed, streams.generator("plant: phases")
        )
        self._noise = streams.generator("plant: detectors")
        self._noise_V = table.detector_noise_V
        self._heater = {channel: index for index, channel in enumerate(wiring.heaters)}
        self._parts = _parts(rig)
        self._sites = rig.network.free_index[rig.network.outputs]
        self._detector = _detector_index(rig, self.truths.dead)
        self._picks: dict[tuple[str, tuple[int, ...]], IntArray] = {}
        self._voltages: dict[Channel, float] = dict.fromkeys(_sources(rig), 0.0)
        self._on = True
        self._looked = -1
        self._advanced_s = self.clock.now_s
        self._changed_s = time.monotonic()

    @property
    @override
    def now_s(self) -> float:
        with self._lock:
            return self.clock.now_s

    @override
    def elapse(self, duration_s: float) -> None:
        with self._lock:
            self.clock.elapse(duration_s)

    @override
    def set_voltage(self, instrument: str, channel: int, voltage_V: float) -> None:
        voltage_V = float(voltage_V)
        if not np.isfinite(voltage_V):
            raise ValueError(f"{instrument}:{channel} driven with {voltage_V} V")
        with self._lock:
            wire = Channel(instrument, channel)
            if self._voltages.get(wire, 0.0) == voltage_V:
                self._voltages[wire] = voltage_V
                return
            self._advance()
            self._voltages[wire] = voltage_V
            self._changed_s = time.monotonic()
            heater = self._heater.get(wire)
            if heater is not None:
                self._shifters.set_voltage(heater, voltage_V)
            elif wire == self.rig.wiring.gain_switch:
                self._switch_gain(voltage_V <= GAIN_OFF_V)

    @override
    def voltage_V(self, instrument: str, channel: int) -> float:
        with self._lock:
            return self._voltages.get(Channel(instrument, channel), 0.0)

    @override
    def current_A(self, instrument: str, channel: int) -> float:
        with self._lock:
            heater = self._heater.get(Channel(instrument, channel))
            return 0.0 if heater is None else self._shifters.current_A(heater)

    @override
    def detector_V(self, instrument: str, channels: list[int], n_samples: int) -> FloatArray:
        with self._lock:
            signal = self._signals()[self._pick(instrument, tuple(channels))]
            samples = np.tile(signal, (n_samples, 1))
            if self._noise_V > 0.0:
                samples += self._noise_V * self._noise.standard_normal(samples.shape)
            return samples

    # -- what only the truth port and tests may see -------------------------------------------

    def shifter_phases(self) -> FloatArray:
        """Return (n_heaters,) phases θ of all shifters now, in the order of `Wiring.heaters`."""
        with self._lock:
            self._advance()
            return self._shifters.phases

    def phases(self) -> FloatArray:
        """Return (N,) phases of all nodes now; NaN at free nodes while the gain is off."""
        with self._lock:
            network = self.rig.network
            free = self._look()
            phases = np.empty(network.n_nodes)
            phases[network.free] = free if self._on else np.nan
            phases[network.inputs] = self.inputs()
            return phases

    def couplings(self) -> tuple[FloatArray, FloatArray]:
        """Return (J_ij, J_ji) of each bond now, both (n_edges,)."""
        with self._lock:
            return self._bond_couplings(self.shifter_phases())

    def coupling_parameters(self) -> FloatArray:
        """Return (n_couplings,) J of each coupling parameter now (reciprocal part)."""
        with self._lock:
            return self._couplings(self.shifter_phases())

    def inputs(self) -> FloatArray:
        """Return (n_inputs,) phases of the clamped inputs now."""
        with self._lock:
            return self.shifter_phases()[self._parts["inputs"]]

    def bias(self) -> ComplexArray:
        """Return (N,) bias field now; zero at the inputs."""
        with self._lock:
            field = np.zeros(self.rig.network.n_nodes, dtype=np.complex128)
            field[self.rig.network.free] = self._bias(self.shifter_phases())
            return field

    def nudge(self) -> ComplexArray:
        """Return (n_outputs,) nudge field now."""
        with self._lock:
            return self._nudge(self.shifter_phases())

    def voltages(self) -> dict[str, float]:
        """Return the voltage of every source channel that is wired or was ever driven."""
        with self._lock:
            return {str(channel): value for channel, value in sorted(self._voltages.items())}

    def state(self) -> dict[str, Any]:
        """Return time, how well the oscillators rest, and when a voltage last changed.

        ``changed_s`` is on the machine's monotonic clock.
        """
        with self._lock:
            self._look()
            return {
                "now_s": self.clock.now_s,
                "gain": self._on,
                "settled": self._on and self._oscillators.settled,
                "residual": self._oscillators.residual,
                "relaxations": self._oscillators.relaxations,
                "largest_voltage_V": max((abs(v) for v in self._voltages.values()), default=0.0),
                "changed_s": self._changed_s,
            }

    # -- physics ----------------------------------------------------------------------------

    def _advance(self) -> None:
        now = self.clock.now_s
        self._shifters.advance(now - self._advanced_s)
        self._advanced_s = now

    def _switch_gain(self, on: bool) -> None:
        if on and not self._on:
            self._oscillators.scatter()
            self._looked = -1
        self._on = on

    def _look(self) -> FloatArray:
        """Return the free phases now."""
        self._advance()
        known = self._looked == self._shifters.version and self._oscillators.settled
        if known or not self._on:
            return self._oscillators.phases
        self._looked = self._shifters.version
        theta = self._shifters.phases
        forward, reverse = self._bond_couplings(theta)
        field = self._bias(theta)
        field[self._sites] += self._nudge(theta)
        return self._oscillators.follow(forward, reverse, theta[self._parts["inputs"]], field)

    def _couplings(self, theta: FloatArray) -> FloatArray:
        return formulas.coupling(
            self.truths.figures.coupling_maximum, theta[self._parts["couplings"]]
        )

    def _bond_couplings(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        value = self._couplings(theta)[self.rig.network.coupling_group]
        if not self._directed:
            return value, value
        return formulas.directed_pair(value, self.truths.reciprocity)

    def _bias(self, theta: FloatArray) -> ComplexArray:
        if not self.rig.wiring.bias_amplitude:
            return np.zeros(len(self.rig.network.free), dtype=np.complex128)
        return formulas.injection(
            self.truths.figures.bias_maximum,
            theta[self._parts["bias_amplitude"]],
            theta[self._parts["bias_phase"]],
        )

    def _nudge(self, theta: FloatArray) -> ComplexArray:
        return formulas.injection(
            self.truths.figures.nudge_maximum,
            theta[self._parts["nudge_amplitude"]],
            theta[self._parts["nudge_phase"]],
        )

    def _signals(self) -> FloatArray:
        """Return the voltages of all wired detectors, and a last 0 for those that see nothing."""
        free, figures = self._look(), self.truths.figures
        # Without gain there is no light, only what the electronics add.
        amplitude = figures.readout_amplitude_V if self._on else 0 * figures.readout_amplitude_V
        offset = figures.readout_offset_V
        if self.rig.settings.readout.kind == "iq":
            signal = formulas.quadratures(free, amplitude, offset, figures.quadrature_error)
        else:
            step = float(self._shifters.phases[self._parts["step"]][0])
            signal = formulas.interference(free, step, amplitude, offset)
        return np.append(signal.ravel(), 0.0)

    def _pick(self, instrument: str, channels: tuple[int, ...]) -> IntArray:
        known = self._picks.get((instrument, channels))
        if known is None:
            known = np.array(
                [self._detector.get(Channel(instrument, number), -1) for number in channels],
                dtype=np.int64,
            )
            self._picks[instrument, channels] = known
        return known


def _parts(rig: Rig) -> dict[str, slice]:
    """Return where each role stands in `Wiring.heaters`."""
    wiring = rig.wiring
    lengths = {
        "couplings": len(wiring.couplings),
        "inputs": len(wiring.inputs),
        "bias_amplitude": len(wiring.bias_amplitude),
        "bias_phase": len(wiring.bias_phase),
        "nudge_amplitude": len(wiring.nudge_amplitude),
        "nudge_phase": len(wiring.nudge_phase),
        "step": 0 if wiring.step_shifter is None else 1,
    }
    parts, start = {}, 0
    for name, length in lengths.items():
        parts[name] = slice(start, start + length)
        start += length
    return parts


def _sources(rig: Rig) -> tuple[Channel, ...]:
    switch = rig.wiring.gain_switch
    return rig.wiring.heaters + (() if switch is None else (switch,))


def _detector_index(rig: Rig, dead: frozenset[Channel]) -> dict[Channel, int]:
    """Return the place of each detector channel in the signals; -1 for a dead one."""
    return {
        channel: -1 if channel in dead else index
        for index, channel in enumerate(rig.wiring.detectors)
    }
