"""What a probe finds, against what is true of the emulator and of its imperfections."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from random_networks import random_network, sample_of

from eqp_hw.learning.controller import Controller, ControllerOptions
from eqp_hw.learning.costs import Cosine, Cost, LogCosine
from eqp_hw.learning.estimators import Centred, OneSided, make_estimator
from eqp_hw.learning.tuning.decision import Demands, decide
from eqp_hw.learning.tuning.figures import Figures
from eqp_hw.learning.tuning.planner import AutoPlanner
from eqp_hw.learning.tuning.probe import ProbeOptions, probe
from eqp_hw.randomness import RandomStreams
from eqp_hw.sim_backends.emulator import EmulatorOptions, XYEmulator
from eqp_hw.sim_backends.imperfections.registry import parse_imperfections, wrap_substrate
from eqp_hw.substrate import Substrate

OPTIONS = EmulatorOptions(threads=1)


def _probed(
    substrate: Substrate, seed: int, cost: Cost | None = None, **options: int
) -> tuple[Figures, Controller]:
    _, parameters, inputs, targets = random_network(seed)
    inputs = inputs + np.linspace(0, 0.3, 4)[:, None]
    controller = Controller(
        substrate,
        LogCosine() if cost is None else cost,
        OneSided(),
        ControllerOptions(),
        RandomStreams(1),
    )
    controller.program(parameters)
    made = ProbeOptions(**options)
    return probe(controller, inputs, np.tile(targets, (4, 1)), (0,), 0.05, made), controller


def _imperfect(seed: int, *tables: dict[str, object]) -> Substrate:
    network = random_network(seed)[0]
    return wrap_substrate(
        lambda graph: XYEmulator(graph, OPTIONS), network, parse_imperfections(list(tables)), seed
    )


def _limited(seed: int, **able: object) -> XYEmulator:
    """Return an emulator that says it can do less."""
    emulator = XYEmulator(random_network(seed)[0], OPTIONS)
    emulator._capabilities = dataclasses.replace(emulator.capabilities, **able)
    return emulator


@pytest.mark.parametrize("seed", range(4))
def test_response_slope_and_curvature_are_those_of_the_network(seed: int) -> None:
    network, parameters, inputs, targets = random_network(seed)
    emulator = XYEmulator(network, OPTIONS)
    sample = sample_of(XYEmulator(network, OPTIONS), parameters, inputs, targets)
    controller = Controller(
        emulator, LogCosine(), OneSided(), ControllerOptions(), RandomStreams(1)
    )
    controller.program(parameters)
    found = probe(controller, inputs, targets, (0,), 0.05)
    assert found.samples == len(found.slope) == 1
    # At half the probe's nudge G is not quite linear any more.
    assert found.slope[0] == pytest.approx(np.linalg.norm(sample.exact), rel=0.1)
    beta = 0.02 * found.tried_beta[0]
    states, good = sample.states(np.array([beta, -beta]))
    assert good.all()
    linear = np.abs(states[0] - states[1]).max() / (2 * beta)
    assert found.response[0] == pytest.approx(linear, rel=0.2)
    # The bias of a centred estimate at β is ‖a₃‖β², whatever the probe used.
    small = np.array([0.3 * found.tried_beta[0]])
    bias = sample.relative_errors(Centred(), small, 0.0, 2)[0] / small[0] ** 2
    assert found.curvature["energy"].odd[0] == pytest.approx(bias, rel=0.35)


def test_exact_reads_show_no_noise_and_no_drift() -> None:
    found, _ = _probed(_imperfect(2), 2)
    assert found.noise.single == found.noise.lasting == found.noise.drift == 0


@pytest.mark.parametrize("sigma", [1e-3, 0.03])
def test_noise_of_one_read_is_measured(sigma: float) -> None:
    for seed in range(3):
        found, _ = _probed(_imperfect(seed, {"kind": "readout-noise", "sigma": sigma}), seed)
        assert found.noise.single == pytest.approx(sigma, rel=0.06)
        assert found.noise.lasting == found.noise.drift == 0


def test_steps_of_the_read_out_stay_however_often_it_is_read() -> None:
    bits = {"kind": "phase-bits", "bits": 6}
    step = 2 * np.pi / 64
    coarse, _ = _probed(_imperfect(1, bits), 1)
    assert coarse.noise.lasting == pytest.approx(step / np.sqrt(12))
    # Noise of a step before the converter dithers it.
    noise = {"kind": "readout-noise", "sigma": step}
    dithered, _ = _probed(_imperfect(1, noise, bits), 1)
    assert dithered.noise.lasting == 0
    assert dithered.noise.averaged(64) < coarse.noise.averaged(64)


def test_drift_is_seen_where_it_is_and_only_there() -> None:
    clock = {"kind": "clock", "settle_s": 1.0, "read_s": 0.0}
    noise = {"kind": "readout-noise", "sigma": 0.01}
    for seed in range(6):
        still, _ = _probed(_imperfect(seed, clock, noise), seed)
        assert still.noise.drift == 0
        drift = {"kind": "drift", "rate": 2e-3}
        moving, controller = _probed(_imperfect(seed, clock, drift, noise), seed)
        expected = 2e-3 * moving.noise.drift_states
        assert moving.noise.drift == pytest.approx(expected, rel=0.6)
        assert decide(moving, controller.substrate.capabilities, Demands()).interleave


def test_a_linear_drift_is_no_noise_that_stays_however_the_probe_spends_its_time() -> None:
    clock = {"kind": "clock", "settle_s": 1.0, "read_s": 0.0}
    tables = clock, {"kind": "drift", "rate": 5e-3}, {"kind": "readout-noise", "sigma": 1e-3}
    for seed in range(4):
        moving, _ = _probed(_imperfect(seed, *tables), seed)
        assert moving.noise.lasting == 0
        assert moving.noise.drift > 0


def test_without_nudges_away_from_the_target_the_even_term_is_measured() -> None:
    found, controller = _probed(_limited(3, signed_nudge=False), 3)
    both, _ = _probed(_limited(3), 3)
    np.testing.assert_allclose(found.slope, both.slope, rtol=0.35)
    np.testing.assert_allclose(
        found.curvature["energy"].even, both.curvature["energy"].even, rtol=0.6
    )
    plan = decide(found, controller.substrate.capabilities, Demands())
    assert plan.kind == "one-sided"


@pytest.mark.parametrize("levels", [(0.05,), (0.02, 0.1, 0.5)])
def test_few_nudge_levels_are_enough_to_probe(levels: tuple[float, ...]) -> None:
    emulator = _limited(3, nudge_levels=levels)
    made: set[float] = set()
    apply = emulator.measure_nudged

    def spy(free, fields, repeats=1):
        made.update(np.abs(field * beta).round(9).max() for field, beta in fields)
        return apply(free, fields, repeats)

    emulator.measure_nudged = spy
    found, controller = _probed(emulator, 3, Cosine())
    assert made <= {0.0, *levels}
    assert len(found.response)
    plan = decide(found, controller.substrate.capabilities, Demands())
    assert plan.beta in levels


def test_hops_on_the_way_are_counted_and_beta_stays_below_them() -> None:
    hopped = 0
    for seed in range(12):
        network, parameters, inputs, targets = random_network(seed)
        controller = Controller(
            XYEmulator(network, OPTIONS),
            LogCosine(),
            OneSided(),
            ControllerOptions(),
            RandomStreams(1),
        )
        controller.program(parameters)
        far = ProbeOptions(displacement=1.2)
        found = probe(controller, inputs, targets, (0,), 0.05, far)
        assert (found.hops > 0) == bool(np.isfinite(found.hop_beta).any())
        if not found.hops:
            continue
        hopped += 1
        assert found.tried_beta[0] < found.hop_beta[0]
        plan = decide(found, controller.substrate.capabilities, Demands())
        assert plan.beta <= 0.7 * found.hop_beta[0] * (1 + 1e-9)
        estimate = controller.changed(
            make_estimator(plan.kind, plan.options), beta=plan.beta, max_halvings=0, max_restarts=0
        ).gradient(inputs, targets, (0,))
        assert estimate.used + estimate.excluded == 1
    assert hopped >= 3


def test_batches_of_one_give_what_batches_give() -> None:
    one, _ = _probed(_limited(5, batch_limit=1), 5)
    assert one.samples == 4
    assert len(one.response) == 4


def test_the_cost_of_a_probe_is_modest_and_told() -> None:
    noisy = _imperfect(2, {"kind": "readout-noise", "sigma": 0.01})
    found, _ = _probed(noisy, 2)
    assert found.reads <= 4 * 120
    less, _ = _probed(noisy, 2, samples=2)
    assert less.samples == 2
    assert less.reads < found.reads


def test_the_planner_probes_when_it_is_due() -> None:
    planner = AutoPlanner(Demands(), retune_every=5)
    assert [epoch for epoch in range(12) if planner.due(epoch)] == [0, 5, 10]
