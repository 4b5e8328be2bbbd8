"""Virtual labs with something broken behind their wires, and the program called on them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner
from typing_extensions import override

from eqp_hw.cli.app import app
from eqp_hw.experiment.toml_file import render_toml
from eqp_hw.network.graph import FloatArray
from eqp_hw.rig.load import make_rig
from eqp_hw.sim_backends.virtual_lab.instruments import SIMULATORS
from eqp_hw.sim_backends.virtual_lab.interface import PlantFace
from eqp_hw.sim_backends.virtual_lab.twin import Twin

EXAMPLES = Path(__file__).parents[2] / "examples"
XOR = EXAMPLES / "xor.toml"
SPREADS = {
    "half_wave_power_spread": 0.1,
    "resistance_spread": 0.05,
    "phase_offset_spread": 1.0,
    "crosstalk_spread": 0.2,
    "coupling_spread": 0.1,
    "splitting_imbalance": 0.05,
    "quadrature_error": 0.05,
    "detector_offset_V": 0.02,
}
SEED = 3
Tables = Mapping[str, Mapping[str, Any]]
Wire = tuple[str, int]


def xor_rig(**tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the example's tables with spreads; keywords replace keys of a table."""
    made = tomllib.loads((EXAMPLES / "rigs" / "xor_array.toml").read_text(encoding="utf-8"))
    made["virtual_lab"] |= SPREADS
    for name, table in tables.items():
        made[name] = {**made.get(name, {}), **table}
    return made


def heaters(**options: Any) -> dict[str, Any]:
    """Return the table of instruments with other options, or limits, of the heaters' driver."""
    table = xor_rig()["instruments"]
    limits = {**table["heaters"]["limits"], **options.pop("limits", {})}
    return {**table, "heaters": {**table["heaters"], **options, "limits": limits}}


@dataclass(frozen=True)
class Broken:
    """What stands between instruments and plant.

    Attributes
    ----------
    wired
        Source channels that drive another heater than their own.
    stuck
        Source channels that drive one voltage, whatever they are told.
    frozen
        Detector channels that show one voltage.
    """

    wired: Mapping[Wire, Wire] = field(default_factory=dict)
    stuck: Mapping[Wire, float] = field(default_factory=dict)
    frozen: Mapping[int, float] = field(default_factory=dict)


class BrokenFace(PlantFace):
    """The plant as broken instruments have it."""

    def __init__(self, plant: PlantFace, broken: Broken) -> None:
        self._plant, self._broken = plant, broken

    @property
    @override
    def now_s(self) -> float:
        return self._plant.now_s

    @override
    def elapse(self, duration_s: float) -> None:
        self._plant.elapse(duration_s)

    def _end(self, instrument: str, channel: int) -> Wire:
        return self._broken.wired.get((instrument, channel), (instrument, channel))

    @override
    def set_voltage(self, instrument: str, channel: int, voltage_V: float) -> None:
        driven = self._broken.stuck.get((instrument, channel), voltage_V)
        self._plant.set_voltage(*self._end(instrument, channel), driven)

    @override
    def voltage_V(self, instrument: str, channel: int) -> float:
        return self._plant.voltage_V(*self._end(instrument, channel))

    @override
    def current_A(self, instrument: str, channel: int) -> float:
        return self._plant.current_A(*self._end(instrument, channel))

    @override
    def detector_V(self, instrument: str, channels: list[int], n_samples: int) -> FloatArray:
        seen = self._plant.detector_V(instrument, channels, n_samples)
        for column, channel in enumerate(channels):
            if channel in self._broken.frozen:
                seen[:, column] = self._broken.frozen[channel]
        return seen


def _behind(factory: Any, broken: Broken, name: str, table: Any, plant: Any, *more: Any) -> Any:
    return factory(name, table, BrokenFace(plant, broken), *more)


@contextmanager
def lab(
    folder: Path,
    *,
    name: str = "rig.toml",
    seed: int = SEED,
    told: Tables | None = None,
    true: Tables | None = None,
    broken: Broken | None = None,
) -> Iterator[tuple[Path, Twin]]:
    """Run a virtual lab, and write the rig file of somebody who believes ``told`` of it.

    Parameters
    ----------
    told, true
        Tables of the rig file, and those of the bench where they differ.
    """
    content = xor_rig(**(told or {}))
    simulators = {
        kind: partial(_behind, factory, broken or Broken()) for kind, factory in SIMULATORS.items()
    }
    bench = make_rig(xor_rig(**{**(told or {}), **(true or {})}))
    with Twin(bench, truth_seed=seed, simulators=simulators) as twin:
        for instrument, address in twin.addresses.items():
            content["instruments"][instrument]["address"] = address
        path = folder / name
        path.write_text(render_toml(content), encoding="utf-8")
        yield path, twin
        assert twin.failures == []


def varied(rig: Path, name: str, /, **tables: Mapping[str, Any]) -> Path:
    """Write a copy of a rig file with other values."""
    content = tomllib.loads(rig.read_text(encoding="utf-8"))
    for key, table in tables.items():
        content[key] = {**content.get(key, {}), **table}
    path = rig.with_name(name)
    path.write_text(render_toml(content), encoding="utf-8")
    return path


def call(*words: object) -> Any:
    """Run a command of the program; a traceback is an error."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def words_of(text: str) -> str:
    """Return a text without its line breaks."""
    return " ".join(text.split())


def in_force(rig: Path) -> str | None:
    """Return the file that the instruments' own ``latest`` is."""
    done = call("calibrate", "status", rig, "--ask", "--calibration", "latest", "--json")
    found: str | None = json.loads(done.stdout)["in_force"]
    return found


def largest_V(twin: Twin) -> float:
    """Return the largest voltage that any source drives now."""
    return float(np.max([abs(one) for one in twin.plant.voltages().values()]))
