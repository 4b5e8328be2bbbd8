"""What the calibration recommends, and that it is used: waits, read counts, the nudge, drift."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from memory_session import rig_of
from waiting_session import WaitingSession

from eqp_hw.calibration.fits.dynamics import best_nudge, drift_of, nudge_response, time_to_rest
from eqp_hw.calibration.fits.network_model import Elements, NetworkModel
from eqp_hw.calibration.steps.dynamics import DynamicsStep
from eqp_hw.drivers.rig.settling import StabilityRule, wait_until_stable
from eqp_hw.drivers.rig.substrate import RigSubstrate
from eqp_hw.errors import ConfigurationError
from eqp_hw.experiment.assemble import Experiment
from eqp_hw.experiment.listener import RunInterrupted
from eqp_hw.experiment.run import resume_run, run_experiment
from eqp_hw.learning.controller import Controller, ControllerOptions
from eqp_hw.learning.costs import LogCosine
from eqp_hw.learning.estimators import make_estimator
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.parameters import Parameters
from eqp_hw.randomness import RandomStreams
from eqp_hw.records.reader import read_run
from eqp_hw.registry import make_substrate
from eqp_hw.rig.load import Rig, make_rig
from eqp_hw.sim_backends.virtual_lab.twin import Twin
from eqp_hw.substrate import Substrate

SEEDS = range(1, 8)

# --- the nudge: gradients on a noisy network, against exact ones


def some_parameters(network: Network, rng: np.random.Generator) -> Parameters:
    coupling = np.clip(0.75 * rng.normal(size=network.n_couplings), -2.9, 2.9)
    bias, n = np.zeros(network.n_nodes, complex), len(network.free)
    bias[network.free] = rng.uniform(-0.5, 0.5, n) * np.exp(1j * rng.uniform(-np.pi, np.pi, n))
    return Parameters(coupling, bias)


def gradient_of(
    network: Network, parameters: Parameters, kind: str, beta: float, *, noise: float, seed: int
) -> FloatArray:
    rng = np.random.default_rng(seed)
    inputs = rng.uniform(-np.pi / 2, np.pi / 2, (4, len(network.inputs)))
    targets = rng.choice([-np.pi / 2, np.pi / 2], (4, len(network.outputs)))
    errors = [{"kind": "readout-noise", "sigma": noise}] if noise else []
    options = {"imperfections": errors} if errors else {}
    found = []
    for repeat in range(4 if noise else 1):
        with make_substrate("emulator", network, options, seed=repeat) as substrate:
            controller = Controller(
                substrate,
                LogCosine(),
                make_estimator(kind, {}),
                ControllerOptions(beta=beta),
                RandomStreams(seed),
            )
            controller.program(parameters)
            made = controller.gradient(inputs, targets, (0,)).gradient
        found.append(np.concatenate([made.coupling, made.bias.real, made.bias.imag]))
    return np.array(found)


@pytest.mark.parametrize("noise_V", [0.002, 0.02])
def test_the_recommended_nudge_is_the_best_of_a_wide_choice(noise_V: float) -> None:
    logging.disable(logging.WARNING)
    try:
        errors = np.concatenate([_errors_of_nudges(seed, noise_V) for seed in SEEDS])
    finally:
        logging.disable(logging.NOTSET)
    weaker, recommended, stronger = np.median(errors, axis=0)
    assert recommended < 1.2 * min(weaker, stronger)
    assert recommended < 0.25


def _errors_of_nudges(seed: int, noise_V: float) -> FloatArray:
    """Return (3, 3) relative errors of gradients, of three networks, at β/4, β and 4β."""
    session = WaitingSession(rig_of(detector_noise_V=noise_V), seed)
    fit = session.take(DynamicsStep(jumps=2, reads=16))
    beta = float(fit.figures["estimator.beta"])
    network, samples = session.rig.network, session.rig.settings.readout.samples
    rng, errors = np.random.default_rng(seed), []
    for _ in range(3):
        parameters = some_parameters(network, rng)
        exact = gradient_of(network, parameters, "richardson", 0.005, noise=0.0, seed=seed)
        errors.append(
            [
                np.sqrt(((made - exact) ** 2).sum(axis=1).mean()) / np.linalg.norm(exact)
                for made in (
                    gradient_of(
                        network,
                        parameters,
                        "centred",
                        factor * beta,
                        noise=noise_V / np.sqrt(samples),
                        seed=seed,
                    )
                    for factor in (0.25, 1.0, 4.0)
                )
            ]
        )
    return np.array(errors)


def test_more_noise_asks_for_stronger_nudges_and_longer_reads() -> None:
    found = []
    for noise_V in (2e-4, 2e-3, 2e-2):
        session = WaitingSession(rig_of(detector_noise_V=noise_V), 1)
        found.append(session.take(DynamicsStep(jumps=2, reads=16)).figures)
    beta = [float(one["estimator.beta"]) for one in found]
    assert beta[1] / beta[0] == pytest.approx(10 ** (1 / 3), rel=0.35)
    assert beta[2] / beta[1] == pytest.approx(10 ** (1 / 3), rel=0.35)
    # 2 mrad of one conversion to a quarter of the tolerance, 2 mrad: sixteen.
    samples = [int(one["readout.samples"]) for one in found]
    assert samples[0] == 1
    assert 12 <= samples[1] <= 24
    assert samples[2] == 256


def test_one_equilibrium_near_a_fold_does_not_decide() -> None:
    amplitude = np.array([0.1, 0.2, 0.3, 0.4])

    def response(cubic: float) -> FloatArray:
        made: FloatArray = (0.5 * amplitude + cubic * amplitude**3)[:, None]
        return made

    noise = np.array([1e-3])
    calm = [nudge_response(amplitude, response(c), noise) for c in (0.2, 0.25, 0.3, 0.22)]
    wild = [*calm, nudge_response(amplitude, response(1e3), noise)]
    beta, error = best_nudge(calm, noise)
    assert best_nudge(wild, noise)[0] > beta / 2
    assert 0 < error < beta / 5
    assert best_nudge(calm, noise, torque=2.0)[0] == pytest.approx(beta / 2)
    assert np.isnan(best_nudge([], noise)).all()


# --- waits


@pytest.mark.parametrize("thermal_time_s", [2e-3, 2e-2])
@pytest.mark.parametrize("noise_V", [5e-4, 5e-3])
def test_relaxation_and_wait_follow_the_hidden_thermal_time(
    thermal_time_s: float, noise_V: float
) -> None:
    rig = rig_of(thermal_time_s=thermal_time_s, detector_noise_V=noise_V)
    session = WaitingSession(rig, 4)
    fit = session.take(DynamicsStep(reads=16, repeats=2))
    assert fit.figures["relaxation_s"] == pytest.approx(thermal_time_s, rel=0.15)
    error = float(fit.uncertainties["relaxation_s"])
    assert abs(float(fit.figures["relaxation_s"]) - thermal_time_s) < 3 * error
    # What is left of a jump after the recommended wait, of the hidden phases themselves.
    left = []
    for _ in range(20):
        session.write_powers(session.rng.uniform(0, 0.04, session.n_heaters))
        session.plant.elapse(float(fit.figures["settle.typical_s"]))
        after = session.plant.phases()
        session.plant.elapse(40 * thermal_time_s)
        left.append(np.abs(np.angle(np.exp(1j * (session.plant.phases() - after)))).max())
    assert np.median(left) < 2 * rig.settings.settle.tolerance
    assert float(fit.figures["settle.typical_s"]) < 14 * thermal_time_s


def test_time_to_rest() -> None:
    time = np.linspace(0.01, 1, 100)
    distance = np.exp(-time / 0.1)
    clear = time_to_rest(time, distance, 1e-4, 1e-2, 0.1)
    assert clear == pytest.approx(0.1 * np.log(100), abs=0.011)
    # Noise hides the last part, which the exponential makes up for.
    assert time_to_rest(time, distance, 0.1, 1e-2, 0.1) == pytest.approx(clear, abs=0.011)
    assert time_to_rest(time, distance, 0.1, 1e-2, np.nan) < 0.3
    assert time_to_rest(time[:5], distance[:5], 1e-4, 1e-2, 0.1) == np.inf


def test_the_rig_waits_at_least_that_long() -> None:
    """Slow heaters beside a noisy read-out: from look to look nothing shows."""
    rng, tau, clock = np.random.default_rng(1), 1.0, [0.0]

    def look() -> FloatArray:
        clock[0] += 0.002
        made: FloatArray = 0.1 * np.exp(-clock[0] / tau) + rng.normal(0, 0.01, 3)
        return made

    rule = StabilityRule(tolerance=0.002, noise=0.01, resolution=0.0, agreeing=4)
    now: Any = lambda: clock[0]  # noqa: E731 - a clock in one line
    hasty = wait_until_stable(look, rule, 20.0, now)
    assert hasty.stable
    assert hasty.duration_s < 0.1
    clock[0] = 0.0
    patient = wait_until_stable(look, rule, 20.0, now, least_s=4.0)
    assert patient.stable
    assert 4.0 <= patient.duration_s < 4.2


# --- drift


def hidden_walk(session: WaitingSession, per_sqrt_s: float) -> FloatArray:
    """Return (n_free,) rad/√s of phases whose heaters all walk by so much."""
    model, step = NetworkModel(session.rig), 1e-6
    elements = Elements.of(session.plant.truths.figures, model.n_edges)
    theta = session.plant.shifter_phases()[None, :]
    free = session.plant.phases()[session.rig.network.free][None, :]
    still = model.local_fields(elements, theta, free)
    n = theta.shape[1]
    moved = model.local_fields(elements, theta + step * np.eye(n), np.repeat(free, n, axis=0))
    torque = (moved.field - still.field).imag.T / step
    made: FloatArray = np.linalg.norm(np.linalg.solve(still.stiffness[0], torque), axis=1)
    return per_sqrt_s * made


def test_drift_is_that_of_the_hidden_heaters() -> None:
    walk = 0.01
    share, in_sigma = [], []
    for seed in range(1, 11):
        rig = rig_of(drift_per_sqrt_s=walk)
        session = WaitingSession(rig, seed)
        fit = session.take(DynamicsStep(jumps=1, looks=8, repeats=1, reads=96))
        exact = hidden_walk(session, walk)
        found, error = fit.figures["drift_walk"], fit.uncertainties["drift_walk"]
        share += list(found / exact)
        in_sigma += list((found - exact) / error)
    assert np.median(share) == pytest.approx(1.0, abs=0.1)
    assert np.sqrt(np.mean((np.array(share) - 1) ** 2)) < 0.3
    assert (np.abs(in_sigma) < 1).mean() == pytest.approx(0.68, abs=0.17)


def test_where_no_drift_shows_its_error_says_what_may_hide() -> None:
    walks, below = [], []
    rng = np.random.default_rng(5)
    time = np.cumsum(rng.uniform(0.5, 1.5, 60))
    for hidden in (0.0, 3e-4, 1e-3):
        for _ in range(40):
            steps = hidden * rng.normal(size=(60, 3)) * np.sqrt(np.diff(time, prepend=0))[:, None]
            found = drift_of(
                time, np.cumsum(steps, axis=0) + 1e-3 * rng.normal(size=(60, 3)), np.full(3, 1e-3)
            )
            walks.append((hidden, found.walk))
            below.append(hidden < found.walk + 2 * found.walk_error)
    assert not any(walk.any() for hidden, walk in walks if hidden == 0)
    shown = np.concatenate([walk for hidden, walk in walks if hidden == 1e-3])
    assert np.median(shown) == pytest.approx(1e-3, rel=0.15)
    assert np.mean(below) > 0.85


# --- where they are used


def test_a_read_count_left_out_is_recommended_with_its_noise() -> None:
    session = WaitingSession(_without(rig_of(), "readout", "samples"), 1)
    fit = session.take(DynamicsStep(jumps=2, reads=16, repeats=2))
    samples = int(fit.figures["readout.samples"])
    assert samples > 8
    assert fit.figures["readout_noise"] == pytest.approx(2e-3 / np.sqrt(samples), rel=0.2)
    rig, taken = session.rig.with_recommended({"readout.samples": float(samples)})
    assert taken
    assert rig.settings.readout.samples == samples
    stated = WaitingSession(rig_of(), 1).take(DynamicsStep(jumps=2, reads=16, repeats=2))
    assert "readout_noise" not in stated.figures


def _without(rig: Rig, table: str, key: str) -> Rig:
    content = rig.settings.model_dump(exclude_unset=True)
    del content[table][key]
    return make_rig(content)


class Recommending:
    """The emulator, as if a calibration stood behind it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, beta: float) -> None:
        record = {
            "path": "/somewhere/latest.h5",
            "sha256": "0" * 64,
            "measured": "2026-01-01T00:00:00+00:00",
            "recommended": {"estimator.beta": beta, "settle.typical_s": 0.01},
        }
        plain = Experiment._substrate

        def made(experiment: Experiment, network: Network) -> Substrate:
            substrate = plain(experiment, network)
            substrate.calibration_record = record  # type: ignore[attr-defined]
            return substrate

        monkeypatch.setattr(Experiment, "_substrate", made)


def experiment(**estimator: Any) -> Experiment:
    return Experiment.from_dict(
        {
            "task": {"kind": "xor"},
            "encoding": {"input": "bits", "target": "binary"},
            "network": {"kind": "all-to-all", "n_nodes": 5},
            "estimator": estimator,
            "run": {"epochs": 2, "seed": 1},
        }
    )


@pytest.fixture
def recommended(monkeypatch: pytest.MonkeyPatch) -> float:
    Recommending(monkeypatch, 0.03127)
    return 0.0313


def test_an_experiment_without_beta_takes_the_recommended_one(
    recommended: float, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run.h5"
    run_experiment(experiment(kind="centred"), path)
    told = [one.getMessage() for one in caplog.records if "recommends" in one.getMessage()]
    assert len(told) == 1
    assert "estimator.beta = 0.0313, as the calibration recommends" in told[0]
    resolved = read_run(path).resolved
    assert resolved["estimator"]["beta"] == recommended
    assert resolved["derived"]["beta_from"] == "calibration"
    assert resolved["derived"]["calibration"]["recommended"]["estimator.beta"] == 0.03127


def test_a_stated_beta_stays_and_a_different_one_is_told(
    recommended: float, caplog: pytest.LogCaptureFixture
) -> None:
    for beta, told in ((0.04, False), (0.2, True), (0.01, True)):
        caplog.clear()
        with experiment(kind="centred", beta=beta).build() as assembly:
            assert assembly.controller.options.beta == beta
        said = [one.getMessage() for one in caplog.records if "recommends" in one.getMessage()]
        assert bool(said) == told
    assert recommended < 0.04


@pytest.mark.parametrize(
    ("estimator", "beta"),
    [
        ({"kind": "alternative"}, 0.0313),
        ({"kind": "auto"}, 0.0313),
        ({"kind": "one-sided"}, 0.1),
        ({"kind": "centred", "beta": "auto"}, 0.05),
    ],
)
def test_who_takes_it(recommended: float, estimator: dict[str, Any], beta: float) -> None:
    with experiment(**estimator).build() as assembly:
        assert assembly.controller.options.beta == beta
    assert recommended != 0.1


def test_a_run_that_took_it_is_resumed_with_it(
    recommended: float, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.h5"

    _unfinished(path, experiment(kind="centred"))
    monkeypatch.undo()
    Recommending(monkeypatch, 0.5)  # by then another one, of the same check sum
    again = experiment(kind="centred")
    outcome = resume_run(path, experiment=again)
    assert outcome.summary["finished"]
    assert read_run(path).resolved["estimator"]["beta"] == recommended
    _unfinished(tmp_path / "other.h5", experiment(kind="centred", beta=0.2))
    with pytest.raises(ConfigurationError, match="not the one"):
        resume_run(tmp_path / "other.h5", experiment=experiment(kind="centred", beta=0.3))


def _unfinished(path: Any, one: Experiment) -> None:
    with pytest.raises(RunInterrupted):
        run_experiment(one, path, stop=lambda: True)


def test_the_rig_waits_and_reads_as_recommended() -> None:
    plain = _without(rig_of(**{"detector_noise_V": 0.0}), "readout", "samples")
    rig, taken = plain.with_recommended({"settle.typical_s": 0.15, "readout.samples": 16.0})
    assert len(taken) == 2
    with (
        Twin(rig, truth_seed=0) as twin,
        RigSubstrate.open(
            replace(twin.rig, settings=rig.with_addresses(twin.addresses).settings), guarded=False
        ) as substrate,
    ):
        assert substrate.capabilities.settle_s == 0.15
        substrate.write_parameters(some_parameters(rig.network, np.random.default_rng(1)))
        substrate.set_inputs(np.zeros((1, 2)))
        substrate.reset(1)
        outcome = substrate.settle()
        assert outcome.settled.all()
        assert 0.15 <= outcome.duration_s < 1.0
