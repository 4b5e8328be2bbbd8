"""Dual propagation: what nulling the mismatch of two replicas repairs, and what it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_bench import (
    N_SAMPLES,
    NETWORK,
    controller,
    emulator,
    exact,
    free_round,
    log_slope,
    measured,
    relative,
    setting,
)

from eqp_hw.learning.costs import Cosine
from eqp_hw.learning.estimators import Centred, DualPropagation
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.exact_gradient import exact_gradient
from eqp_hw.physics.parameters import Parameters
from eqp_hw.registry import make_substrate
from eqp_hw.replica_pair import ReplicaPair
from eqp_hw.sim_backends.imperfections.substrate import ImperfectSubstrate
from eqp_hw.substrate import Substrate

BETA = 0.01


def _pair(*imperfections: dict[str, object]) -> ReplicaPair:
    table = {"kind": "emulator", "threads": 1, "imperfections": list(imperfections)}
    pair = make_substrate("replica-pair", NETWORK, {"first": table}, seed=3)
    assert isinstance(pair, ReplicaPair)
    return pair


def _run(substrate: Substrate, beta: float, *, null: bool) -> FloatArray:
    made = controller(DualPropagation(null_mismatch=null), beta, substrate=substrate)
    return measured(made).gradient.flatten()


def test_equal_replicas_give_the_centred_estimate() -> None:
    centred = measured(controller(Centred(), BETA)).gradient.flatten()
    for substrate in (emulator(), ReplicaPair(emulator(), emulator())):
        for null in (True, False):
            assert np.allclose(_run(substrate, BETA, null=null), centred, atol=1e-9)


def test_the_null_repairs_offsets() -> None:
    """Constant read-out offsets enter divided by β; nulled, as they do with one substrate."""
    offset = {"kind": "readout-offset", "sigma": 0.02}
    pair = _pair(offset)
    plain, nulled = (_run(pair, BETA, null=null) for null in (False, True))
    assert relative(plain, exact()) > 0.5
    assert relative(nulled, exact()) < 0.05
    # What is left is what an offset does to any contrast: it does not grow as β falls.
    weaker = _run(pair, BETA / 10, null=True)
    assert relative(weaker, exact()) == pytest.approx(relative(nulled, exact()), rel=0.2)
    assert relative(_run(pair, BETA / 10, null=False), exact()) > 5
    single = make_substrate("emulator", NETWORK, {"imperfections": [offset]}, seed=3)
    alone = measured(controller(Centred(), BETA, substrate=single)).gradient.flatten()
    assert 0.1 < relative(nulled, exact()) / relative(alone, exact()) < 10


def _limit(pair: ReplicaPair) -> FloatArray:
    """The mean of the exact gradients of both replicas, each with its own couplings."""
    one = free_round(controller(DualPropagation(), BETA, substrate=pair))
    targets, total = setting()[2], np.zeros_like(exact())
    for replica in (pair.first, pair.second):
        assert isinstance(replica, ImperfectSubstrate)
        hidden = replica.truth()
        assert hidden.parameters is not None
        phases = replica.read_phases().phases
        slope = np.zeros_like(phases)
        slope[:, NETWORK.outputs] = Cosine().gradient(phases[:, NETWORK.outputs], targets)
        weights = np.full(N_SAMPLES, 1 / N_SAMPLES)
        # Inside, every bond has a coupling of its own.
        found = exact_gradient(hidden.network, hidden.parameters, phases, slope, weights)
        tied = np.bincount(NETWORK.coupling_group, found.coupling)
        total += Parameters(tied, found.bias).flatten() / 2
    assert one.active.all()
    return total


def test_the_null_cannot_repair_unequal_couplings() -> None:
    """The limit is the mean of two gradients, and curvature no longer cancels: order β."""
    pair = _pair({"kind": "coupling-disorder", "relative": 0.1})
    limit = _limit(pair)
    assert relative(_run(pair, 1e-3, null=False), limit) > 1  # unequal free states, over β
    betas = (1e-3, 2e-3, 4e-3)
    errors = [relative(_run(pair, beta, null=True), limit) for beta in betas]
    assert log_slope(betas, errors) == pytest.approx(1, abs=0.1)
    # As hardware, the pair has a gradient of its own; it is not that of the nominal network.
    assert 0.02 < relative(limit, exact()) < 1


def test_displacement_is_counted_from_each_replicas_own_free_state() -> None:
    """An offset of the read-out is no displacement: a response limit must not see it."""
    found = [
        measured(controller(DualPropagation(), BETA, substrate=pair)).displacement_max
        for pair in (emulator(), _pair({"kind": "readout-offset", "sigma": 0.3}))
    ]
    assert found[0] > BETA / 10
    assert found[1] == pytest.approx(found[0], rel=1e-6)


def test_stated_errors_hold_the_noise_of_the_free_readings_too() -> None:
    table = {
        "kind": "emulator",
        "threads": 1,
        "imperfections": [{"kind": "readout-noise", "sigma": 1e-3}],
    }
    runs, stated = [], []
    for seed in range(30):
        pair = make_substrate("replica-pair", NETWORK, {"first": table}, seed=seed)
        found = measured(controller(DualPropagation(), BETA, substrate=pair, repeats=16))
        runs.append(found.gradient.flatten())
        stated.append(np.linalg.norm(found.standard_error.flatten()))
    spread = np.sqrt(np.var(runs, axis=0, ddof=1).sum())
    assert np.mean(stated) == pytest.approx(spread, rel=0.15)
