"""Reading a rig file, and resolving its wiring against its network.

Everything that can be wrong in the file alone is found here, before any instrument is opened.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from eqp_hw.errors import ConfigurationError
from eqp_hw.experiment.toml_file import read_toml
from eqp_hw.network.graph import Network
from eqp_hw.network.registry import build_network
from eqp_hw.validation import validated

from .schema import RigSettings

__all__ = ["Channel", "Rig", "Wiring", "load_rig", "parse_channels"]

_CHANNELS = re.compile(r"(?P<name>[A-Za-z0-9_-]+):(?P<first>\d+)(?:-(?P<last>\d+))?")


@final
@dataclass(frozen=True, order=True)
class Channel:
    """One channel of one instrument; ``number`` counts from 0."""

    instrument: str
    number: int

    def __str__(self) -> str:
        return f"{self.instrument}:{self.number}"


@final
@dataclass(frozen=True)
class Wiring:
    """Channels by role, resolved; each tuple in the order `WiringSettings` names.

    Attributes
    ----------
    couplings, inputs, bias_amplitude, bias_phase, nudge_amplitude, nudge_phase
        Source channels.
    gain_switch, step_shifter
        Source channels, or None.
    in_phase, quadrature, intensity
        Detector channels of the free nodes.
    """

    couplings: tuple[Channel, ...]
    inputs: tuple[Channel, ...]
    bias_amplitude: tuple[Channel, ...]
    bias_phase: tuple[Channel, ...]
    nudge_amplitude: tuple[Channel, ...]
    nudge_phase: tuple[Channel, ...]
    gain_switch: Channel | None
    step_shifter: Channel | None
    in_phase: tuple[Channel, ...]
    quadrature: tuple[Channel, ...]
    intensity: tuple[Channel, ...]

    @property
    def heaters(self) -> tuple[Channel, ...]:
        """All channels that drive phase shifters, by role in the order of the attributes."""
        step = () if self.step_shifter is None else (self.step_shifter,)
        return (
            self.couplings
            + self.inputs
            + self.bias_amplitude
            + self.bias_phase
            + self.nudge_amplitude
            + self.nudge_phase
            + step
        )

    @property
    def detectors(self) -> tuple[Channel, ...]:
        """All detector channels."""
        return self.in_phase + self.quadrature + self.intensity


@final
@dataclass(frozen=True, eq=False)
class Rig:
    """A rig file, checked.

    Attributes
    ----------
    settings
        The tables.
    network
        The graph of the hardware.
    wiring
        Channels by role.
    path
        Where it was read, "" for one made in Python.
    """

    settings: RigSettings
    network: Network
    wiring: Wiring
    path: str = ""

    @property
    def base(self) -> Path:
        """Folder that relative paths in the file start from."""
        return Path(self.path).resolve().parent if self.path else Path()

    def with_addresses(self, addresses: Mapping[str, str]) -> Rig:
        """Return the same rig with other addresses, as of its simulated twin."""
        known = self.settings.instruments
        instruments = {
            name: table.model_copy(update={"address": addresses.get(name, table.address)})
            for name, table in known.items()
        }
        settings = self.settings.model_copy(update={"instruments": instruments})
        return dataclasses.replace(self, settings=settings)

    def with_calibration(self, file: str) -> Rig:
        """Return the same rig with another ``calibration.file``."""
        table = self.settings.calibration.model_copy(update={"file": file})
        settings = self.settings.model_copy(update={"calibration": table})
        return dataclasses.replace(self, settings=settings)

    def with_recommended(self, values: Mapping[str, float]) -> tuple[Rig, dict[str, float]]:
        """Return the same rig with values for keys that its file leaves out.

        Parameters
        ----------
        values
            By dotted name, e.g. "settle.typical_s". Keys that the file has are left alone, as
            are values that it could not have.

        Returns
        -------
        The rig, and what was taken.
        """
        tables: dict[str, Any] = {}
        taken: dict[str, float] = {}
        for name, value in values.items():
            head, _, key = name.partition(".")
            table = tables.get(head, getattr(self.settings, head, None))
            if table is None or key not in type(table).model_fields:
                continue
            if key in table.model_fields_set and name not in taken:
                continue
            plain = table.model_dump(exclude_unset=True)
            for candidate in (value, int(value)) if value == int(value) else (value,):
                try:
                    tables[head] = type(table).model_validate({**plain, key: candidate})
                except ValueError:
                    continue
                taken[name] = value
        if not tables:
            return self, taken
        settings = self.settings.model_copy(update=tables)
        return dataclasses.replace(self, settings=settings), taken


def load_rig(path: str | Path) -> Rig:
    """Read and check a rig file.

    Raises
    ------
    ConfigurationError
        Unreadable, not TOML, an unknown key, a channel wired twice, an instrument that is not
        there, a wrong number of channels; names file, field, value and what is allowed.
    """
    _, content = read_toml(Path(path))
    try:
        return make_rig(content, path=str(path))
    except ConfigurationError as error:
        raise error.with_source(path) from None


def make_rig(content: Mapping[str, Any], *, path: str = "") -> Rig:
    """Check a rig given as nested mappings that read like the file; see `load_rig`."""
    settings = validated(RigSettings, content)
    network = build_network(settings.network.kind, settings.network.options)
    return Rig(settings, network, _wiring(settings, network), path)


def parse_channels(entries: list[str], field: str) -> tuple[Channel, ...]:
    """Resolve ``["heaters:0-3", "heaters:9"]`` into single channels.

    Raises
    ------
    ConfigurationError
        An entry of another form, or a run that ends before it begins.
    """
    channels: list[Channel] = []
    for entry in entries:
        found = _CHANNELS.fullmatch(entry)
        first = int(found["first"]) if found else 0
        last = int(found["last"]) if found and found["last"] else first
        if found is None or last < first:
            raise ConfigurationError(
                "not a channel",
                field=field,
                value=entry,
                allowed='"name:number" or "name:first-last", e.g. "heaters:0-7"',
            )
        channels += [Channel(found["name"], number) for number in range(first, last + 1)]
    return tuple(channels)


def _wiring(settings: RigSettings, network: Network) -> Wiring:
    table, readout = settings.wiring, settings.readout
    counts = {
        "couplings": network.n_couplings,
        "inputs": len(network.inputs),
        "bias_amplitude": len(network.free),
        "bias_phase": len(network.free),
        "nudge_amplitude": len(network.outputs),
        "nudge_phase": len(network.outputs),
    }
    lists = {name: parse_channels(getattr(table, name), f"wiring.{name}") for name in counts}
    for name in ("bias_amplitude", "bias_phase"):
        if not lists["bias_amplitude"] and not lists["bias_phase"]:
            counts[name] = 0
    seen = ("in_phase", "quadrature") if readout.kind == "iq" else ("intensity",)
    for name in ("in_phase", "quadrature", "intensity"):
        lists[name] = parse_channels(getattr(readout, name), f"readout.{name}")
        counts[name] = len(network.free) if name in seen else 0
    for name, wanted in counts.items():
        if len(lists[name]) != wanted:
            place = "wiring" if hasattr(table, name) else "readout"
            raise ConfigurationError(
                f"wires {len(lists[name])} channels",
                field=f"{place}.{name}",
                value=list(getattr(table if place == "wiring" else readout, name)),
                allowed=f"{wanted} channels for this network ({network.n_nodes} nodes, "
                f"{network.n_couplings} couplings, {len(network.free)} free)",
            )
    step_shifter = _one(readout.step_shifter, "readout.step_shifter")
    if readout.kind == "n-step" and step_shifter is None:
        raise ConfigurationError(
            "an N-step read-out needs a phase shifter in its reference arm",
            field="readout.step_shifter",
            allowed='a source channel, e.g. "heaters:111"',
        )
    wiring = Wiring(
        gain_switch=_one(table.gain_switch, "wiring.gain_switch"),
        step_shifter=step_shifter,
        **lists,
    )
    _check_use(settings, wiring)
    return wiring


def _one(entry: str | None, field: str) -> Channel | None:
    if entry is None:
        return None
    channels = parse_channels([entry], field)
    if len(channels) != 1:
        raise ConfigurationError("is a run of channels", field=field, value=entry, allowed="one")
    return channels[0]


def _check_use(settings: RigSettings, wiring: Wiring) -> None:
    """Refuse a channel wired twice and an instrument that is not there."""
    taken: dict[Channel, str] = {}
    for item in dataclasses.fields(wiring):
        value = getattr(wiring, item.name)
        place = (
            f"wiring.{item.name}"
            if hasattr(settings.wiring, item.name)
            else (f"readout.{item.name}")
        )
        for channel in value if isinstance(value, tuple) else (value,) if value else ():
            if channel.instrument not in settings.instruments:
                raise ConfigurationError(
                    "there is no such instrument",
                    field=place,
                    value=str(channel),
                    allowed=", ".join(sorted(settings.instruments)),
                )
            if channel in taken:
                raise ConfigurationError(
                    f"the channel is wired already as {taken[channel]}",
                    field=place,
                    value=str(channel),
                    allowed="one role a channel",
                )
            taken[channel] = place
