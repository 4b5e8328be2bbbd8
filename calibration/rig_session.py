"""A calibration session over the connected instruments of a rig file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, final

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from eqp_hw.drivers.actuators.side_by_side import side_by_side
from eqp_hw.drivers.errors import LimitError, ProtocolError
from eqp_hw.drivers.instruments.interface import MultichannelSource
from eqp_hw.drivers.readout.readouts import DetectorArray
from eqp_hw.drivers.rig.bench import Bench
from eqp_hw.errors import CapabilityError
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.calibration import RigCalibration, nominal_calibration
from eqp_hw.rig.load import Channel, Rig

from .errors import CalibrationError
from .limits import ChannelLimits
from .session import Ledger, ReadBack, Session, Settling
from .settling import NoiseMeter, wait_for_detectors
from .step import RawArray, StepData

__all__ = ["RigSession", "open_session"]

_log = logging.getLogger("eqp_hw.calibration")

T = TypeVar("T")
Progress = Callable[[int, int, str], None]
Sink = Callable[[str, RawArray], None]

LOOKS = 3
"""Fewest looks that must agree: two may lie on both sides of a turning point."""
ATTEMPTS = 4
"""How often detectors are read before sources that lose their outputs are an error."""


def _nothing(*_: object) -> None:
    """Take no notice."""


@final
class RigSession(Session):
    """Drives and reads all that a rig file wires; a context manager that ends at safe outputs.

    Parameters
    ----------
    bench
        Connected instruments; closed with the session.
    known
        Figures to begin with, the nominal ones of the rig file by default.
    progress
        Told how far a step is.
    guarded
        Start the guardian process. A simulated twin that ends with this process needs none.

    Raises
    ------
    LimitError
        A channel that its instrument has not, or a gain switch beyond its limits; nothing is
        sent.
    """

    def __init__(
        self,
        bench: Bench,
        known: RigCalibration | None = None,
        *,
        progress: Progress = _nothing,
        guarded: bool = True,
    ) -> None:
        self.rig = bench.rig
        self.known = nominal_calibration(bench.rig) if known is None else known
        self.rng = np.random.default_rng(0)
        self.bench = bench
        self._progress = progress
        bench.refuse_missing_channels()
        self._limits = ChannelLimits(bench.rig, bench.sources)
        self._limits.refuse_gain(bench.rig.settings.wiring.gain_off_V)
        self._detectors = DetectorArray(bench.digitisers, bench.rig.wiring.detectors, bench.retry)
        self._noise = NoiseMeter(self.n_detectors)
        self._wanted_V = np.full(self.n_heaters, np.nan)
        self._gain_V: float | None = None
        self._sink: Sink = _nothing
        self._checkpoint: Callable[[], None] = _nothing
        self._rows: dict[str, list[RawArray]] = {}
        self._began_s = time.monotonic()
        self._cpu_at_start_s = time.process_time()
        self._transport_s = self._settling_s = 0.0
        self._transactions = 0
        self._busy = False
        if guarded:
            bench.start_guard()

    # --- drives -------------------------------------------------------------------------------
    @property
    @override
    def highest_V(self) -> FloatArray:
        return self._limits.highest_V(self.known.resistance_ohm)

    @property
    @override
    def resolution_V(self) -> FloatArray:
        return self._limits.resolution_V

    @property
    @override
    def setpoint_V(self) -> FloatArray:
        voltage = np.empty(self.n_heaters)
        for name, (rows, numbers) in self._limits.owners.items():
            voltage[rows] = self.bench.sources[name].setpoint_V[numbers]
        return voltage

    @override
    def refuse(self, voltage_V: FloatArray) -> None:
        self._checked(voltage_V)

    @override
    def write_voltages(self, voltage_V: FloatArray | Mapping[Channel, float]) -> FloatArray:
        wanted = self._checked(voltage_V)
        changed = np.isfinite(wanted)
        self._wanted_V[changed] = wanted[changed]
        with self._in_transport():
            self._send(changed)
            self._repair()
        return self.setpoint_V

    @override
    def all_zero(self) -> None:
        self.write_voltages(np.zeros(self.n_heaters))

    def _checked(self, voltage_V: FloatArray | Mapping[Channel, float]) -> FloatArray:
        """Return (n_heaters,) drives, NaN where nothing is wanted; LimitError."""
        if isinstance(voltage_V, Mapping):
            wanted = np.full(self.n_heaters, np.nan)
            for channel, value in voltage_V.items():
                if channel not in self.rig.wiring.heaters:
                    raise LimitError(
                        "no heater is wired there",
                        field="channel",
                        value=str(channel),
                        allowed=f"{len(self.rig.wiring.heaters)} channels of [wiring]",
                    )
                if not np.isfinite(value):
                    raise LimitError("not finite", field=f"{channel}.voltage_V", value=value)
                wanted[self.row_of(channel)] = value
        else:
            wanted = np.array(voltage_V, dtype=float)
            if wanted.shape != (self.n_heaters,):
                raise LimitError(
                    f"drives of shape {wanted.shape}",
                    field="voltage_V",
                    allowed=f"({self.n_heaters},), NaN for those that stay as they are",
                )
        held = np.where(np.isfinite(self._wanted_V), self._wanted_V, 0.0)
        self._limits.refuse(wanted, held, self.known.resistance_ohm, self._gain_V or 0.0)
        return wanted

    def _send(self, changed: npt.NDArray[np.bool_]) -> None:
        jobs = {}
        for name, (rows, numbers) in self._limits.owners.items():
            some = changed[rows] & np.isfinite(self._wanted_V[rows])
            if some.any():
                action = partial(
                    self.bench.sources[name].write_voltages,
                    numbers[some],
                    self._wanted_V[rows][some],
                )
                jobs[name] = partial(self.bench.retry, name, action)
        side_by_side(jobs)

    def _repair(self) -> bool:
        """Write again what sources have lost; tell whether any had."""
        repaired = False
        while lost := self.bench.take_lost():
            repaired = True
            names = [channel.instrument for channel in self.rig.wiring.heaters]
            self._send(np.array([name in lost for name in names]))
            if self._gain_V is not None:
                self._write_gain(self._gain_V)
        return repaired

    @override
    def read_back(self, rows: npt.NDArray[np.int64] | None = None) -> ReadBack:
        asked = np.arange(self.n_heaters) if rows is None else np.asarray(rows, dtype=np.int64)
        voltage, current = np.full(self.n_heaters, np.nan), np.full(self.n_heaters, np.nan)
        with self._in_transport():
            for name, (own, numbers) in self._limits.owners.items():
                some = np.isin(own, asked)
                if not some.any():
                    continue
                source, n = self.bench.sources[name], numbers[some]
                voltage[own[some]] = self._measured(name, source, "measure_voltages", n)
                current[own[some]] = self._measured(name, source, "measure_currents", n)
        return ReadBack(voltage[asked], current[asked])

    def _measured(
        self, name: str, source: MultichannelSource, how: str, numbers: npt.NDArray[np.int64]
    ) -> FloatArray:
        try:
            found: FloatArray = self.bench.retry(name, partial(getattr(source, how), numbers))
        except CapabilityError:
            return np.full(len(numbers), np.nan)
        return found

    @property
    @override
    def has_gain_switch(self) -> bool:
        return self.rig.wiring.gain_switch is not None

    @override
    def gain(self, on: bool) -> None:
        if not self.has_gain_switch:
            raise CapabilityError(
                "the oscillators of this rig cannot be turned off",
                field="wiring.gain_switch",
                allowed='a source channel, e.g. "heaters:106"',
            )
        wanted = 0.0 if on else self.rig.settings.wiring.gain_off_V
        held = np.where(np.isfinite(self._wanted_V), self._wanted_V, 0.0)
        nothing = np.full(self.n_heaters, np.nan)
        self._limits.refuse(nothing, held, self.known.resistance_ohm, wanted)
        self._gain_V = wanted
        with self._in_transport():
            self._write_gain(wanted)
            self._repair()

    def _write_gain(self, voltage_V: float) -> None:
        channel = self.rig.wiring.gain_switch
        assert channel is not None
        source = self.bench.sources[channel.instrument]
        number = np.array([channel.number])
        action = partial(source.write_voltages, number, np.array([voltage_V]))
        self.bench.retry(channel.instrument, action)

    # --- detectors ----------------------------------------------------------------------------
    @override
    def read_detectors(self, samples: int = 1) -> FloatArray:
        with self._in_transport():
            for _ in range(ATTEMPTS):
                found = self._detectors.read(samples).voltage_V
                self.bench.watch()
                if not self._repair():
                    return found
                # What was read belongs to outputs that were gone.
                self._wait(None, None)
        raise ProtocolError(
            f"a source has lost its outputs during each of {ATTEMPTS} reads",
            instrument=", ".join(self.bench.sources),
            advice="a supply that breaks down, or a bad line",
        )

    @override
    def settle(
        self, *, timeout_s: float | None = None, tolerance_V: float | None = None
    ) -> Settling:
        with self._in_transport(settling=True):
            while True:
                settled = self._wait(timeout_s, tolerance_V)
                self.bench.watch()
                if not self._repair():
                    return settled

    def _wait(self, timeout_s: float | None, tolerance_V: float | None) -> Settling:
        policy = self.rig.settings.settle
        tolerance: float | FloatArray
        if tolerance_V is None:
            # Rows of amplitudes belong to detectors in the same order: I then Q, or one each.
            tolerance = policy.tolerance * np.abs(self.known.readout_amplitude_V.ravel())
        else:
            tolerance = tolerance_V
        return wait_for_detectors(
            lambda n: self._detectors.read(n).voltage_V,
            self._noise,
            tolerance_V=tolerance,
            agreeing=max(policy.agreeing, LOOKS),
            samples=self.rig.settings.readout.samples,
            timeout_s=policy.timeout_s if timeout_s is None else timeout_s,
            least_s=policy.typical_s or 0.0,
        )

    # --- records ------------------------------------------------------------------------------
    def begin_step(
        self,
        rng: np.random.Generator,
        sink: Sink = _nothing,
        *,
        before: StepData | None = None,
        checkpoint: Callable[[], None] = _nothing,
    ) -> None:
        """Begin a step.

        Parameters
        ----------
        rng
            Its random numbers.
        sink
            Takes its rows as they come.
        before
            Rows that it recorded before it was cut off.
        checkpoint
            Told of its checkpoints.
        """
        self.rng = rng
        self._sink, self._checkpoint = sink, checkpoint
        self._rows = {
            name: [RawArray(np.asarray(row), a.unit, a.description) for row in a.values]
            for name, a in ({} if before is None else before.arrays).items()
        }

    @override
    def checkpoint(self) -> None:
        self._checkpoint()

    @override
    def record(self, name: str, values: object, unit: str = "", description: str = "") -> None:
        row: npt.NDArray[Any] = np.asarray(values)
        rows = self._rows.get(name, [])
        if row.dtype.kind not in "biufcU":
            raise CalibrationError(f"raw array {name!r}: {row.dtype} cannot be recorded")
        if rows and rows[0].values.shape != row.shape:
            raise CalibrationError(
                f"raw array {name!r}: a row of shape {row.shape} after rows of shape "
                f"{rows[0].values.shape}"
            )
        made = RawArray(row.copy(), unit, description)
        self._rows.setdefault(name, []).append(made)
        self._sink(name, made)

    @override
    def recorded(self) -> StepData:
        return StepData(
            {
                name: RawArray(
                    np.stack([r.values for r in rows]), rows[0].unit, rows[0].description
                )
                for name, rows in self._rows.items()
            }
        )

    @override
    def progress(self, done: int, total: int, doing: str = "") -> None:
        self._progress(done, total, doing)

    @override
    def now_s(self) -> float:
        return time.monotonic() - self._began_s

    @override
    def ledger(self) -> Ledger:
        total = self.now_s()
        return Ledger(
            self._transport_s,
            self._settling_s,
            max(0.0, total - self._transport_s - self._settling_s),
            time.process_time() - self._cpu_at_start_s,
            self._transactions,
        )

    @contextmanager
    def _in_transport(self, *, settling: bool = False) -> Iterator[None]:
        """Count the time of the block; the outermost block decides whose it is."""
        self._transactions += 1
        if self._busy:
            yield
            return
        self._busy, started = True, time.monotonic()
        try:
            yield
        finally:
            self._busy = False
            spent = time.monotonic() - started
            if settling:
                self._settling_s += spent
            else:
                self._transport_s += spent

    # --- end ----------------------------------------------------------------------------------
    def safe(self) -> None:
        """Drive all outputs to zero, whatever else is wrong."""
        self._wanted_V[:] = np.nan
        self._gain_V = None
        self.bench.safe()

    def close(self) -> None:
        """Make safe and release all instruments; idempotent, never raises."""
        self.bench.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@contextmanager
def open_session(
    rig: Rig, known: RigCalibration | None = None, *, guarded: bool = True
) -> Iterator[RigSession]:
    """Connect the instruments of a rig for measurements of one's own; for scripts and notebooks.

    Raises
    ------
    InstrumentError
        An instrument is not there, busy, or another one.
    ConfigurationError
        Wiring or limits do not fit the instruments.
    """
    bench = Bench(rig)
    bench.connect()
    try:
        session = RigSession(bench, known, guarded=guarded)
    except BaseException:
        bench.close()
        raise
    with session:
        yield session
