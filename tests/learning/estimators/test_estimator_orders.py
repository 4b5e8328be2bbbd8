"""Bias of every estimator against β: the order that its description states (ep_methods §2)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from bench_substrates import QuasiStatic
from estimator_bench import (
    N_SAMPLES,
    NETWORK,
    controller,
    differences,
    emulator,
    estimate,
    exact,
    free_round,
    log_slope,
    relative,
)

from eqp_hw.errors import ConfigurationError
from eqp_hw.learning.costs import Cost, CrossEntropy, LogCosine
from eqp_hw.learning.estimators import Cauchy, Chebyshev, RandomSign, Richardson, make_estimator
from eqp_hw.network.graph import FloatArray

LOW, MIDDLE, HIGH = (1e-3, 2e-3, 4e-3), (4e-3, 8e-3, 1.6e-2), (1.6e-2, 3.2e-2, 6.4e-2)
TOP = (0.05, 0.06, 0.07)
ORDERS = [
    ("one-sided", {}, 1, LOW),
    ("centred", {}, 2, MIDDLE),
    ("alternative", {}, 2, MIDDLE),
    ("dual", {}, 2, MIDDLE),
    ("chebyshev", {"nodes": 2}, 2, MIDDLE),
    ("cauchy", {"nodes": 2}, 2, MIDDLE),
    ("cauchy", {"nodes": 3}, 3, HIGH),
    ("richardson", {}, 4, HIGH),
    ("chebyshev", {"nodes": 4}, 4, HIGH),
    ("cauchy", {"nodes": 4}, 4, HIGH),
    ("chebyshev", {"nodes": 8}, 8, TOP),
    ("cauchy", {"nodes": 8}, 8, TOP),
    ("lock-in", {"harmonics": 1}, 2, MIDDLE),
    ("lock-in", {"harmonics": 3}, 4, HIGH),
    ("lock-in", {"harmonics": 5}, 6, TOP),
]


def test_the_two_truths_agree() -> None:
    assert relative(differences(), exact()) < 1e-11


@pytest.mark.parametrize(
    ("kind", "options", "order", "betas"),
    ORDERS,
    ids=[f"{kind}{''.join(map(str, options.values()))}" for kind, options, _, _ in ORDERS],
)
@pytest.mark.parametrize("truth", [exact, differences], ids=["exact", "differences"])
def test_bias_falls_with_the_order(kind, options, order, betas, truth) -> None:
    substrate = QuasiStatic(emulator()) if kind == "lock-in" else None
    errors = [
        relative(estimate(kind, beta, options, substrate=substrate), truth()) for beta in betas
    ]
    assert log_slope(betas, errors) == pytest.approx(order, abs=0.1)
    stated = getattr(make_estimator(kind, options), "order", order)
    assert stated == order


@pytest.mark.parametrize("cost", [LogCosine(), CrossEntropy()], ids=lambda c: c.name)
def test_high_orders_do_not_depend_on_the_form_of_the_nudge(cost: Cost) -> None:
    """A frozen torque carries curvature beyond β = 0, but it is a smooth nudge all the same."""
    best = estimate("chebyshev", 0.01, {"nodes": 8}, cost=cost)
    for kind, nodes in (("chebyshev", 4), ("cauchy", 4)):
        errors = [relative(estimate(kind, b, {"nodes": nodes}, cost=cost), best) for b in HIGH]
        assert log_slope(HIGH, errors) == pytest.approx(4, abs=0.1)


def test_random_sign_is_of_second_order_in_expectation() -> None:
    """The mean over a draw and its mirror image, sample by sample."""
    estimator = RandomSign()

    def signs(seed: int) -> FloatArray:
        return estimator.contrast(N_SAMPLES, np.random.default_rng(seed)).factors[0]

    mirror = next(seed for seed in range(1, 1000) if np.array_equal(signs(seed), -signs(0)))
    assert 0 < (signs(0) > 0).sum() < N_SAMPLES
    one = free_round(controller(estimator, 0.1))
    scale = np.full(N_SAMPLES, 1 / N_SAMPLES)

    def run(beta: float, seed: int) -> FloatArray:
        beta_each, rng = np.full(N_SAMPLES, beta), np.random.default_rng(seed)
        found = estimator.measure(dataclasses.replace(one, beta=beta_each, rng=rng))
        assert found.good.all()
        return found.gradient(NETWORK, found.good, scale).flatten()

    both = [relative((run(b, 0) + run(b, mirror)) / 2, exact()) for b in MIDDLE]
    single = [relative(run(b, 0), exact()) for b in LOW]
    assert log_slope(MIDDLE, both) == pytest.approx(2, abs=0.1)
    assert log_slope(LOW, single) == pytest.approx(1, abs=0.1)


def test_weights_are_those_of_the_formulas() -> None:
    rng = np.random.default_rng(0)
    four, eight = (Chebyshev(nodes).contrast(1, rng) for nodes in (4, 8))
    k = np.arange(8)
    assert np.allclose(eight.factors[:, 0], np.cos(np.pi * (k + 0.5) / 8), atol=1e-15)
    # Noise variance x β²/σ² of ep_methods §2.
    assert (four.weights**2).sum() == pytest.approx(5, abs=0.01)
    assert (eight.weights**2).sum() == pytest.approx(21, abs=0.2)
    assert (Richardson().contrast(1, rng).weights ** 2).sum() == pytest.approx(3.6, abs=0.02)
    # Exact for polynomials of the degree that M nodes determine, and 0 for even ones.
    for power in range(8):
        slope = (eight.weights * eight.factors**power).sum()
        assert slope == pytest.approx(float(power == 1), abs=1e-13)
    circle = Cauchy(8).contrast(1, rng)
    assert len(circle.factors) == 5
    for power in range(9):
        slope = (circle.weights * circle.factors**power).sum().real
        assert slope == pytest.approx(float(power == 1), abs=1e-13)


@pytest.mark.parametrize("nodes", [2, 3, 4, 5, 8])
def test_conjugate_symmetry_saves_equilibria(nodes: int) -> None:
    """⌈(N+1)/2⌉ points give what the whole circle gives."""
    half = Cauchy(nodes).contrast(1, np.random.default_rng(0))
    assert len(half.factors) == -(-(nodes + 1) // 2)
    circle = np.exp(2j * np.pi * np.arange(nodes) / nodes)

    def response(beta: complex) -> complex:
        return np.exp(beta) / (3 - beta)  # real coefficients

    whole = np.mean([(response(b) / b).real for b in circle])
    pairs = zip(half.factors[:, 0], half.weights[:, 0], strict=True)
    assert sum((w * response(f)).real for f, w in pairs) == pytest.approx(whole, rel=1e-14)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("chebyshev", {"nodes": 7}, "nodes = 7: .*node 0, which is the free state.*even"),
        ("chebyshev", {"nodes": 0}, "nodes = 0: too few"),
        ("chebyshev", {"nodes": 8.5}, "nodes = 8.5: .*whole number"),
        ("cauchy", {"nodes": 1}, "nodes = 1: too few.*2 to 64"),
        # Refused before they cost memory.
        ("chebyshev", {"nodes": 100_000}, "even numbers from 2 to 64"),
        ("cauchy", {"nodes": 10**9}, "too many.*2 to 64"),
        ("lock-in", {"periods": 10**9}, "1 to 1000"),
        ("lock-in", {"reads_per_period": 10**9}, "even, 4 to 1000"),
        ("lock-in", {"harmonics": 2}, "harmonics = 2: .*1, 3"),
        ("lock-in", {"angular_frequency": -1.0}, "angular_frequency = -1.0"),
        ("lock-in", {"reads_per_period": 8, "harmonics": 5}, "even, 12 to"),
        ("lock-in", {"reads_per_period": 9}, "even, 4 to"),
        ("lock-in", {"periods": 0}, "periods = 0.*1 to"),
        ("lock-in", {"settling_error": 0.0}, "settling_error = 0.0"),
        ("coupled", {"two_side": True}, "unknown key; did you mean 'two_sided'"),
        ("dual", {"null_mismatch": 1}, "null_mismatch = 1: .*true or false"),
    ],
)
def test_bad_options_are_refused(kind: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^estimator\..*{message}"):
        make_estimator(kind, options)
