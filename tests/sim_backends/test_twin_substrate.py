"""The twin of a calibrated rig: its capabilities, its errors, and what its rehearsal predicts."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from eqp_hw.cli.app import app
from eqp_hw.conformance.suite import SubstrateConformance
from eqp_hw.drivers.rig.substrate import RigSubstrate
from eqp_hw.errors import ConfigurationError, NetworkError, ParameterError
from eqp_hw.experiment.toml_file import render_toml
from eqp_hw.network.registry import build_network
from eqp_hw.physics.averaging import wrap
from eqp_hw.physics.parameters import Parameters
from eqp_hw.registry import list_substrates, make_substrate
from eqp_hw.rig.calibration import nominal_calibration
from eqp_hw.rig.load import Rig, load_rig, make_rig
from eqp_hw.sim_backends.twin.factory import make_twin
from eqp_hw.sim_backends.virtual_lab.twin import Twin
from eqp_hw.substrate import Substrate

EXAMPLES = Path(__file__).parents[2] / "examples"
XOR_RIG = EXAMPLES / "rigs" / "xor_array.toml"


def xor_rig(**tables: dict[str, Any]) -> Rig:
    content = tomllib.loads(XOR_RIG.read_text(encoding="utf-8"))
    for name, table in tables.items():
        content[name] = content[name] | table
    return make_rig(content)


def some_parameters(rig: Rig, seed: int = 1) -> Parameters:
    rng = np.random.default_rng(seed)
    made = Parameters.zeros(rig.network)
    made.coupling[:] = rng.uniform(-1, 1, rig.network.n_couplings)
    free = rig.network.free
    made.bias[free] = rng.normal(size=len(free)) + 1j * rng.normal(size=len(free))
    return made


def relaxed(substrate: Any, parameters: Parameters, repeats: int = 1) -> np.ndarray:
    """Return the free phases next to zero."""
    substrate.write_parameters(parameters)
    substrate.set_inputs(np.array([[0.4, -1.0]]))
    substrate.reset(5)
    substrate.settle()
    return substrate.read_phases(repeats).phases[0]


@pytest.mark.parametrize("name", ["xor_array", "heater_array"])
def test_capabilities_are_those_of_the_rig(name: str) -> None:
    rig = load_rig(EXAMPLES / "rigs" / f"{name}.toml")
    twin = make_twin(rig, nominal_calibration(rig))
    with Twin(rig) as lab, RigSubstrate.open(lab.rig, guarded=False) as substrate:
        assert twin.capabilities == substrate.capabilities


def test_what_is_held_is_what_the_rig_holds_up_to_steps_of_its_sources() -> None:
    rig = xor_rig()
    parameters = some_parameters(rig)
    twin = make_twin(rig, nominal_calibration(rig))
    held = twin.write_parameters(parameters)
    with Twin(rig) as lab, RigSubstrate.open(lab.rig, guarded=False) as substrate:
        really = substrate.write_parameters(parameters)
    step = 6.0 / 2**12
    for one in (held, really):
        assert np.abs(one.coupling - parameters.coupling).max() < step
        assert np.abs(one.bias - parameters.bias).max() < step
        assert (one.coupling != parameters.coupling).any()


def test_out_of_range_is_refused_as_the_rig_refuses() -> None:
    rig = xor_rig()
    twin = make_twin(rig, nominal_calibration(rig))
    for change, words in (({"coupling": 3.01}, "coupler"), ({"bias": 3.01}, "injection")):
        wrong = some_parameters(rig)
        if "coupling" in change:
            wrong.coupling[2] = 3.01
        else:
            wrong.bias[3] = 3.01
        with pytest.raises(ParameterError, match=words):
            twin.write_parameters(wrong)


def test_without_stated_uncertainties_the_twin_is_the_emulator_within_steps() -> None:
    """Wherever the heaters' phases are at zero power, with the nudge as well."""
    rig = xor_rig(calibration={"readout_noise": 0.0})
    parameters, rng = some_parameters(rig), np.random.default_rng(4)
    nominal, nudge = nominal_calibration(rig), np.array([[0.2 - 0.1j]])
    with make_substrate("emulator", rig.network, {"nudge_sites": "outputs"}) as emulator:
        exact = relaxed(emulator, parameters)
        emulator.apply_nudge(nudge)
        emulator.settle()
        nudged = emulator.read_phases().phases[0]
    for _ in range(6):
        offset = rng.uniform(-7.0, 7.0, len(rig.wiring.heaters))
        twin = make_twin(rig, dataclasses.replace(nominal, phase_offset=offset))
        assert np.abs(wrap(relaxed(twin, parameters) - exact)).max() < 5e-3
        twin.apply_nudge(nudge)
        twin.settle()
        assert np.abs(wrap(twin.read_phases().phases[0] - nudged)).max() < 5e-3
    assert np.abs(wrap(nudged - exact)).max() > 0.02


@pytest.mark.parametrize(
    ("name", "sigma"),
    [
        ("phase_offset", 0.02),
        ("half_wave_power_W", 1e-4),
        ("crosstalk", 1e-3),
        ("coupling_maximum", 0.05),
        ("bias_maximum", 0.05),
        ("quadrature_error", 0.02),
        ("readout_offset_V", 0.02),
        ("readout_amplitude_V", 0.02),
    ],
)
def test_each_stated_uncertainty_moves_the_phases_and_follows_the_seed(
    name: str, sigma: float
) -> None:
    rig = xor_rig(calibration={"readout_noise": 0.0})
    known, parameters = nominal_calibration(rig), some_parameters(rig)
    exact = relaxed(make_twin(rig, known), parameters)
    stated = {name: np.full(np.shape(getattr(known, name)), sigma)}
    twins = [make_twin(rig, known, stated, seed=seed) for seed in (1, 1, 2)]
    one, same, other = (relaxed(twin, parameters) for twin in twins)
    assert 1e-4 < np.abs(wrap(one - exact)).max() < 1.0
    assert np.array_equal(one, same)
    assert not np.allclose(one, other, atol=1e-6)
    # What is hidden is not told: what is held does not depend on it.
    exactly = make_twin(rig, known)
    relaxed(exactly, parameters)
    held = [twin.write_parameters(parameters).flatten() for twin in (*twins, exactly)]
    assert all(np.array_equal(held[0], each) for each in held)


def test_measured_reciprocity_is_taken_over() -> None:
    rig = xor_rig(calibration={"readout_noise": 0.0}, settle={"typical_s": 0.5})
    known, parameters = nominal_calibration(rig), some_parameters(rig)
    exact = relaxed(make_twin(rig, known), parameters)
    ends = {name: np.full(rig.network.n_edges, 2.0) for name in ("forward", "reverse")}
    ends["reverse"][:] = 1.9  # 3 % of the maximum apart: may be the fit's error
    ends["forward"][0] = np.nan  # a clamped end
    measured = {f"coupling_{name}": values for name, values in ends.items()}
    assert np.array_equal(relaxed(make_twin(rig, known, further=measured), parameters), exact)
    ends["reverse"][-1] = 1.6
    one_sided = make_twin(rig, known, further=measured)
    assert np.abs(wrap(relaxed(one_sided, parameters) - exact)).max() > 1e-3
    assert not one_sided.capabilities.directed_couplings


def test_noise_and_bits_are_those_of_the_calibration() -> None:
    rig = xor_rig(readout={"bits": 8})
    known = dataclasses.replace(nominal_calibration(rig), readout_noise=0.05)
    twin = make_twin(rig, known)
    assert (twin.capabilities.readout_noise, twin.capabilities.readout_bits) == (0.05, 8)
    relaxed(twin, some_parameters(rig))
    reads = np.array([twin.read_phases().phases[0, 2:] for _ in range(300)])
    levels = reads / (2 * np.pi / 256)
    assert np.abs(levels - np.rint(levels)).max() < 1e-9
    assert wrap(reads - reads[0]).std(axis=0) == pytest.approx(np.full(3, 0.05), rel=0.15)


def test_it_is_a_substrate_of_experiment_files(tmp_path: Path) -> None:
    assert "twin" in {listing.name for listing in list_substrates()}
    network = load_rig(XOR_RIG).network
    options = {"file": str(XOR_RIG), "calibration": "nominal"}
    with make_substrate("twin", network, options, seed=3) as twin:
        assert twin.capabilities.batch_limit == 1
    with pytest.raises(NetworkError, match="another network"):
        make_substrate("twin", build_network("layered", {"sizes": [2, 3, 1]}), options)
    with pytest.raises(ConfigurationError, match=r"substrate\.fil"):
        make_substrate("twin", network, {"fil": "x"})
    content = tomllib.loads(XOR_RIG.read_text(encoding="utf-8"))
    path = tmp_path / "rig.toml"
    path.write_text(render_toml(content), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="no calibration to use"):
        make_substrate("twin", network, {"file": str(path), "calibration": "latest"})


def call(*words: Any) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


class TestTwinConformance(SubstrateConformance):
    @pytest.fixture
    def substrate(self) -> Iterator[Substrate]:
        rig = xor_rig()
        with make_twin(rig, nominal_calibration(rig)) as twin:
            yield twin


def test_rehearsal_predicts_what_the_virtual_rig_does(tmp_path: Path) -> None:
    short = [
        *("--set", "run.epochs=60", "--set", "run.evaluation_starts=2", "--set", "run.seed=4"),
        *("--set", "optimiser.learning_rate=0.3", "--set", "run.validate_every=0", "--json"),
    ]
    ways = {
        "twin": ["--rehearse"],
        "rig": ["--virtual-lab", "--truth-seed", 3],
    }
    found = {}
    for name, words in ways.items():
        done = call(
            *("run", EXAMPLES / "xor.toml", "--rig", XOR_RIG, *words, *short),
            *("-o", tmp_path / f"{name}.h5"),
        )
        assert done.exit_code == 0, done.output
        found[name] = json.loads(done.stdout.splitlines()[-1])
    assert found["twin"]["steps"] == found["rig"]["steps"] == 60
    assert found["twin"]["test_accuracy"] == pytest.approx(found["rig"]["test_accuracy"], abs=0.02)
    distances = [found[name]["test_distance"] for name in ways]
    assert max(distances) < 0.1
    assert abs(distances[0] - distances[1]) < 0.02


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rehearse"], "--rig"),
        (["--rig", XOR_RIG, "--rehearse", "--virtual-lab"], "--rehearse"),
        (["--rig", XOR_RIG, "--rehearse", "--truth-seed", "1"], "--truth-seed"),
    ],
)
def test_rehearsals_that_mean_nothing_are_refused(words: list[object], message: str) -> None:
    done = call("run", EXAMPLES / "xor.toml", *words)
    assert done.exit_code == 2
    assert message in done.output
