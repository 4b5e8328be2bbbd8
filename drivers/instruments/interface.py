"""The faces of instruments that actuators and read-outs build on.

Set-points and measured values are kept apart: ``setpoint_V`` is what was accepted by the
instrument, ``measure_*`` asks it. Limits refuse before the first byte and never clip.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Self, final

from eqp_hw.network.graph import FloatArray, IntArray
from eqp_hw.substrate import SelfTestStep

__all__ = ["Digitiser", "Identity", "Instrument", "MultichannelSource", "Samples"]


@final
@dataclass(frozen=True)
class Identity:
    """What an instrument says it is; "" where it does not say."""

    maker: str
    model: str
    serial: str
    firmware: str
    raw: str

    @property
    def lasting(self) -> str:
        """Who it is whatever firmware it runs: maker, model and serial number.

        All that it says where it tells no firmware, as a chain of modules that lists them.
        """
        return ",".join((self.maker, self.model, self.serial)) if self.firmware else self.raw


@final
@dataclass(frozen=True, eq=False)
class Samples:
    """Detector voltages.

    Attributes
    ----------
    voltage_V
        (n_samples, n_channels).
    started_s, ended_s
        Monotonic clock, s.
    """

    voltage_V: FloatArray
    started_s: float
    ended_s: float


class Instrument(ABC):
    """One instrument; closed until `connect`."""

    description: ClassVar[str]
    """One line for ``eqp-hw list``."""

    name: str
    """Name in the rig file."""

    @abstractmethod
    def connect(self) -> Identity:
        """Open the wire, check the identity, read limits; moves no output.

        Raises
        ------
        IdentityError
            Another instrument answers.
        BusyError, LostError, TransportTimeout
            The wire cannot be opened or nobody answers.
        """

    @abstractmethod
    def recover(self) -> bool:
        """After a transport error: drain or reopen, identify again, apply limits again.

        Returns
        -------
        Whether the state survived: True when outputs read back as they were accepted, False
        when the instrument has restarted and everything must be written again.

        Raises
        ------
        InstrumentError
            It cannot be recovered; safe outputs cannot be promised.
        """

    @abstractmethod
    def check_errors(self) -> None:
        """Ask for (or look at) errors that the instrument has reported since the last look.

        Raises
        ------
        DeviceError
            The first one, with code and channel.
        """

    @abstractmethod
    def self_test(self) -> list[SelfTestStep]:
        """Named steps; never raises for a failed one."""

    @abstractmethod
    def safe(self) -> None:
        """Drive outputs to zero; idempotent; tries its best on a broken wire."""

    @abstractmethod
    def close(self) -> None:
        """Make safe and release the wire; idempotent."""

    @abstractmethod
    def safe_messages(self) -> Sequence[bytes]:
        """Return the raw bytes that make this instrument safe without any dialogue.

        The guardian process sends them when the owner of the wire has died.
        """

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class MultichannelSource(Instrument):
    """A voltage source with many channels."""

    @property
    @abstractmethod
    def n_channels(self) -> int:
        """Number of channels, known after `connect`."""

    @property
    @abstractmethod
    def full_scale_V(self) -> float:
        """Largest drive that the instrument can make, V."""

    @property
    @abstractmethod
    def resolution_V(self) -> float:
        """Smallest step of a set-point, V."""

    @property
    @abstractmethod
    def setpoint_V(self) -> FloatArray:
        """(n_channels,) last accepted set-points as quantised; NaN where unknown."""

    @abstractmethod
    def write_voltages(self, channels: IntArray, voltage_V: FloatArray) -> None:
        """Set channels, together where the instrument can; returns when all is accepted.

        Limits are checked for all of them first: either all are sent or none. A channel whose
        quantised set-point is unchanged is not sent again.

        Raises
        ------
        LimitError
            Not finite, above a limit, no such channel; nothing was sent.
        DeviceError
            The instrument objected.
        """

    @abstractmethod
    def measure_voltages(self, channels: IntArray) -> FloatArray:
        """Return measured voltages (len(channels),), V."""

    @abstractmethod
    def measure_currents(self, channels: IntArray) -> FloatArray:
        """Return measured currents (len(channels),), A; CapabilityError where impossible."""


class Digitiser(Instrument):
    """Many detector voltages at once."""

    @property
    @abstractmethod
    def n_channels(self) -> int:
        """Number of channels, known after `connect`."""

    @abstractmethod
    def read(self, channels: IntArray, n_samples: int = 1) -> Samples:
        """Convert the channels ``n_samples`` times.

        Raises
        ------
        ProtocolError
            A block of another length or an impossible value; never returned as data.
        """
