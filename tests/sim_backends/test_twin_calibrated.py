"""What of a calibration file reaches the twin: noise, faults, figures that were never measured."""

from __future__ import annotations

import dataclasses
import logging
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eqp_hw.errors import ConfigurationError
from eqp_hw.experiment.toml_file import render_toml
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.parameters import Parameters
from eqp_hw.registry import make_substrate
from eqp_hw.rig.calibration import RigCalibration, nominal_calibration
from eqp_hw.rig.calibrations import CalibrationTools, MeasuredCalibration
from eqp_hw.rig.load import Rig, load_rig, make_rig
from eqp_hw.sim_backends.twin import factory
from eqp_hw.sim_backends.twin.factory import make_twin
from eqp_hw.sim_backends.twin.substrate import TwinSubstrate
from eqp_hw.sim_backends.twin.unmeasured import standard_errors

XOR_RIG = Path(__file__).parents[2] / "examples" / "rigs" / "xor_array.toml"
FREE = slice(2, 5)
AVERAGED = 2.0 ** np.arange(7)
WHITE_V = np.array([8e-3, 4e-3, 2e-3])


def xor_rig(**tables: dict[str, Any]) -> Rig:
    content = tomllib.loads(XOR_RIG.read_text(encoding="utf-8"))
    for name, table in tables.items():
        content[name] = content[name] | table
    return make_rig(content)


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, used by other tests, keeps the log to itself."""
    monkeypatch.setattr(logging.getLogger("eqp_hw"), "propagate", True)


def settled(twin: TwinSubstrate) -> TwinSubstrate:
    made, rng = Parameters.zeros(twin.network), np.random.default_rng(1)
    made.coupling[:] = rng.uniform(-1, 1, len(made.coupling))
    made.bias[FREE] = rng.normal(size=3) + 1j * rng.normal(size=3)
    twin.write_parameters(made)
    twin.set_inputs(np.array([[0.4, -1.0]]))
    twin.reset(5)
    twin.settle()
    return twin


def measured_noise(floor_V: float = 0.0) -> dict[str, np.ndarray]:
    """Return the noise figures of a read-out step, detectors I and Q of a node alike."""
    white = np.tile(WHITE_V, 2)
    return {
        "noise_averaged": AVERAGED,
        "noise_scaling_V": np.sqrt(white**2 / AVERAGED[:, None] + floor_V**2),
        "noise_floor_V": np.full(6, floor_V),
    }


def spread(twin: TwinSubstrate, repeats: int = 1, reads: int = 400) -> np.ndarray:
    found = [settled(twin).read_phases(repeats).phases[0, FREE]]
    found += [twin.read_phases(repeats).phases[0, FREE] for _ in range(reads)]
    return np.std(wrap(np.array(found) - found[0]), axis=0)


@pytest.mark.parametrize("samples", [1, 4, 16, 256])
def test_noise_of_each_node_is_that_measured_at_so_many_samples(samples: int) -> None:
    rig = xor_rig(readout={"samples": samples})
    known = dataclasses.replace(nominal_calibration(rig), readout_noise=0.7)
    twin = make_twin(rig, known, further=measured_noise())
    # Amplitudes are 1 V; three standard errors of 400 reads.
    assert spread(twin) == pytest.approx(WHITE_V / np.sqrt(samples), rel=3 / np.sqrt(800))


def test_noise_leaves_as_many_bits_as_were_found_usable() -> None:
    rig = xor_rig(readout={"samples": 1})
    bits = np.log2(2 * np.pi / (np.sqrt(12) * WHITE_V))
    found = spread(make_twin(rig, nominal_calibration(rig), further=measured_noise()))
    assert np.log2(2 * np.pi / (np.sqrt(12) * found)) == pytest.approx(bits, abs=0.16)


def test_a_floor_stays_however_many_reads_are_averaged() -> None:
    rig = xor_rig(readout={"samples": 4})
    twin = make_twin(rig, nominal_calibration(rig), further=measured_noise(2e-3))
    assert spread(twin) == pytest.approx(np.hypot(WHITE_V / 2, 2e-3), rel=0.11)
    expected = np.hypot(WHITE_V / 2 / np.sqrt(64), 2e-3)
    assert spread(twin, 64) == pytest.approx(expected, rel=0.11)


def test_without_its_scaling_noise_and_bits_are_those_stated() -> None:
    rig = xor_rig(readout={"bits": 8})
    known = dataclasses.replace(nominal_calibration(rig), readout_noise=0.05)
    twin = settled(make_twin(rig, known))
    assert (twin.capabilities.readout_noise, twin.capabilities.readout_bits) == (0.05, 8)
    reads = np.array([twin.read_phases().phases[0, FREE] for _ in range(300)])
    levels = reads / (2 * np.pi / 256)
    assert np.abs(levels - np.rint(levels)).max() < 1e-9
    assert wrap(reads - reads[0]).std(axis=0) == pytest.approx(np.full(3, 0.05), rel=0.15)


def scattered(rig: Rig, seed: int = 1) -> RigCalibration:
    known, rng = nominal_calibration(rig), np.random.default_rng(seed)
    n = len(known.phase_offset)
    return dataclasses.replace(
        known,
        phase_offset=rng.normal(0, 0.2, n),
        half_wave_power_W=0.025 * (1 + rng.normal(0, 0.05, n)),
        coupling_maximum=3.0 * (1 + rng.normal(0, 0.03, 10)),
    )


def test_what_was_never_measured_errs_as_the_others_scatter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = xor_rig()
    known, nominal = scattered(rig), nominal_calibration(rig)
    stated = {
        "phase_offset": np.full(20, 1e-4),
        "half_wave_power_W": np.full(20, 1e-6),
        "resistance_ohm": np.full(20, np.nan),
        "coupling_maximum": np.full(10, 1e-4),
        "nudge_maximum": np.full(1, np.nan),
        "crosstalk": np.full((20, 20), np.nan),
    }
    # Coupling 0 joins the two inputs: it does nothing, whatever its heater.
    assert rig.network.edges[0].tolist() == [0, 1]
    for name in ("phase_offset", "half_wave_power_W", "coupling_maximum"):
        stated[name][[0, 7]] = np.nan
    with caplog.at_level(logging.WARNING, logger="eqp_hw"):
        errors = standard_errors(rig, known, stated)
    rest = np.delete(np.arange(20), [0, 7])
    offsets = np.sqrt(np.mean(known.phase_offset[rest] ** 2))
    assert errors["phase_offset"][7] == pytest.approx(offsets)
    assert errors["phase_offset"][0] == 0.0
    assert errors["phase_offset"][rest] == pytest.approx(1e-4)
    relative = (known.half_wave_power_W / nominal.half_wave_power_W - 1)[rest]
    expected = np.sqrt(np.mean(relative**2)) * known.half_wave_power_W[7]
    assert errors["half_wave_power_W"][7] == pytest.approx(expected)
    own = np.delete(known.coupling_maximum / 3.0 - 1, [0, 7])
    expected = np.sqrt(np.mean(own**2)) * known.coupling_maximum[7]
    assert errors["coupling_maximum"][7] == pytest.approx(expected)
    assert not errors["resistance_ohm"].any()
    # Two tell of one element each, one of a whole field; far neighbours are not heated.
    told = [record.getMessage() for record in caplog.records]
    assert sum("heaters:7" in line for line in told) == 2
    assert any("nudge_maximum" in line and "nor of any other" in line for line in told)
    assert len(told) == 5
    assert not errors["crosstalk"][known.crosstalk == 0].any()


def test_neighbours_whose_heat_was_not_measured_err_as_the_others() -> None:
    rig = xor_rig()
    nominal = nominal_calibration(rig)
    near = (nominal.crosstalk != 0) & ~np.eye(20, dtype=bool)
    assert near.any()
    known = dataclasses.replace(nominal, crosstalk=nominal.crosstalk + 0.003 * near)
    stated = np.where(near, 1e-5, np.nan)
    stated[4, 5] = np.nan
    errors = standard_errors(rig, known, {"crosstalk": stated})["crosstalk"]
    assert errors[4, 5] == pytest.approx(0.003)
    assert errors[5, 4] == pytest.approx(1e-5)
    assert not errors[~near].any()


def test_an_unmeasured_heater_is_another_in_each_twin() -> None:
    rig = xor_rig()
    known = scattered(rig)
    stated = {"phase_offset": np.full(20, 1e-4)}
    stated["phase_offset"][3] = np.nan
    errors = [
        make_twin(rig, known, stated, seed=seed).truth().figures.phase_offset - known.phase_offset
        for seed in range(40)
    ]
    size = np.sqrt(np.mean(np.square(errors), axis=0))
    assert size[3] == pytest.approx(0.2, rel=0.5)
    assert np.delete(size, 3).max() < 3e-4


class OneCalibration(CalibrationTools):
    """A room that has measured one calibration."""

    def __init__(self, found: MeasuredCalibration) -> None:
        self.found = found

    def load(self, rig, identities):  # type: ignore[no-untyped-def]
        assert identities is None
        return self.found

    def _none(self, *arguments: object) -> Any:
        raise AssertionError(arguments)

    identities = calibrate = status = write_report = _none


def broken(rig: Rig, tmp_path: Path) -> MeasuredCalibration:
    dead = np.zeros(20)
    dead[4] = 1.0
    return MeasuredCalibration(
        nominal_calibration(rig),
        tmp_path / "c.h5",
        "0" * 64,
        datetime(2026, 3, 1, tzinfo=UTC),
        faults=("heaters:4: open: no current flows", "bond 2: swapped"),
        uncertainties={"phase_offset": np.full(20, 1e-4)},
        further={"open_heaters": dead},
    )


def test_a_calibration_with_faults_is_refused_unless_they_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "rig.toml"
    path.write_text(render_toml(tomllib.loads(XOR_RIG.read_text("utf-8"))), encoding="utf-8")
    rig = load_rig(path)
    found = broken(rig, tmp_path)
    monkeypatch.setattr(factory, "calibration_tools", lambda: OneCalibration(found))
    options = {"file": str(path), "calibration": "c.h5"}
    with pytest.raises(ConfigurationError, match="heaters:4: open") as refused:
        make_substrate("twin", rig.network, options)
    assert "bond 2: swapped" in str(refused.value)
    assert "substrate.faults" in str(refused.value)
    with caplog.at_level(logging.INFO, logger="eqp_hw"):
        twin = make_substrate("twin", rig.network, {**options, "faults": "accept"})
    assert "heaters:4: open" in caplog.text
    assert f"rig 'xor-array' with the calibration {found.path}" in caplog.text
    assert isinstance(twin, TwinSubstrate)
    phases = settled(twin).truth().phases
    offset = twin.truth().figures.phase_offset
    leak = nominal_calibration(rig).crosstalk - np.eye(20)
    volts = twin.truth().setpoint_V
    heat = np.where(np.arange(20) == 4, 0.0, volts**2 / 500.0)
    assert volts[4] > 0.5
    # It holds its phase at rest but for what its neighbours heat it.
    assert phases[4] - offset[4] == pytest.approx(np.pi / 0.025 * (leak @ heat)[4], abs=1e-12)
    twin.close()
