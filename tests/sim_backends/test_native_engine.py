"""The compiled engine against independent libraries, exact properties and itself."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from eqp_hw.errors import SubstrateError
from eqp_hw.sim_backends.relaxation.interface import (
    Bonds,
    RelaxationOptions,
    RelaxationStatus,
)

if importlib.util.find_spec("eqp_hw.sim_backends.relaxation._native") is None:
    pytest.skip("the compiled extension is not installed", allow_module_level=True)

from eqp_hw.sim_backends.relaxation.native_engine import NativeEngine, usable_isas

ONE = RelaxationOptions(threads=1)


def lattice(length, rng, free=None):
    """Square lattice; with `free`, only that many random nodes of it."""
    index = np.arange(length * length).reshape(length, length)
    edges = np.concatenate(
        [
            np.stack([index[:, :-1].ravel(), index[:, 1:].ravel()], 1),
            np.stack([index[:-1].ravel(), index[1:].ravel()], 1),
        ]
    )
    kept = np.sort(rng.permutation(length**2)[: free or length**2])
    place = np.full(length**2, -1)
    place[kept] = np.arange(len(kept))
    edges = place[edges]
    return Bonds(len(kept), edges[(edges >= 0).all(axis=1)])


def dense(n):
    return Bonds(n, np.stack(np.triu_indices(n, 1), 1))


def layered(hidden, outputs):
    i, j = np.meshgrid(np.arange(hidden), hidden + np.arange(outputs), indexing="ij")
    return Bonds(hidden + outputs, np.stack([i.ravel(), j.ravel()], 1))


def tree(n, rng):
    return Bonds(n, np.array([(rng.integers(k), k) for k in range(1, n)]))


GRAPHS = {
    "lattice": lambda rng: lattice(7, rng, 42),
    "whole lattice": lambda rng: lattice(12, rng),
    "dense": lambda _: dense(20),
    "dense, several panels": lambda _: dense(77),
    "layered": lambda _: layered(40, 6),
    "layered, wide": lambda _: layered(75, 37),
    "tree": lambda rng: tree(33, rng),
    "no bonds": lambda _: Bonds(3, np.empty((0, 2), np.int64)),
    "one node": lambda _: Bonds(1, np.empty((0, 2), np.int64)),
}


def problem(name, seed, batch):
    rng = np.random.default_rng(seed)
    bonds = GRAPHS[name](rng)
    degree = max(1.0, 2 * len(bonds.edges) / bonds.n)
    coupling = rng.normal(size=len(bonds.edges)) * 2 / np.sqrt(degree)
    field = rng.normal(size=(batch, bonds.n)) * np.exp(2j * np.pi * rng.random((batch, bonds.n)))
    start = rng.uniform(-np.pi, np.pi, (batch, bonds.n))
    return bonds, coupling, field, start


def force(bonds, coupling, field, phases):
    i, j = bonds.edges.T
    matrix = np.zeros((bonds.n, bonds.n))
    matrix[i, j] = matrix[j, i] = coupling
    z = np.exp(1j * phases)
    return (np.conj(z) * (z @ matrix + field)).imag


def hessian(bonds, coupling, field, phases):
    i, j = bonds.edges.T
    weight = coupling * np.cos(phases[i] - phases[j])
    h = np.diag((np.conj(field) * np.exp(1j * phases)).real)
    np.add.at(h, (i, i), weight)
    np.add.at(h, (j, j), weight)
    h[i, j] = h[j, i] = -weight
    return h


def apart(a, b):
    return np.abs(np.remainder(a - b + np.pi, 2 * np.pi) - np.pi).max(axis=-1)


@pytest.mark.parametrize("isa", usable_isas())
def test_sine_and_cosine_are_accurate_to_an_ulp(isa):
    engine = NativeEngine(Bonds(1, np.empty((0, 2), np.int64)), isa=isa)
    rng = np.random.default_rng(1)
    multiples = np.arange(-40_000, 40_000, 37) * (np.pi / 2)
    x = np.concatenate(
        [rng.uniform(-10, 10, 20_000), rng.uniform(-1e5, 1e5, 20_000), multiples, [0.0, 1e-300]]
    )
    sine, cosine = engine.sincos(x)
    ulp = np.finfo(float).eps
    assert np.abs(sine - np.sin(x)).max() < ulp
    assert np.abs(cosine - np.cos(x)).max() < ulp
    # Relative accuracy near the zeros: multiples of pi/2 rounded to doubles.
    small = np.abs(np.sin(multiples)) < 0.5
    got, _ = engine.sincos(multiples[small])
    np.testing.assert_allclose(got, np.sin(multiples[small]), rtol=4 * ulp)


@pytest.mark.parametrize("isa", usable_isas())
@pytest.mark.parametrize("name", GRAPHS)
def test_solve_inverse_and_eigenvalue_against_dense_algebra(name, isa):
    bonds, coupling, field, start = problem(name, 2, 5)
    engine = NativeEngine(bonds, isa=isa)
    equilibrium = engine.relax(coupling, field, start, ONE).phases
    rhs = np.random.default_rng(3).normal(size=start.shape)
    for phases in (start, equilibrium):
        got = engine.solve(coupling, field, phases, rhs)
        lowest = engine.smallest_eigenvalue(coupling, field, phases)
        for b in range(len(start)):
            h = hessian(bonds, coupling, field[b], phases[b])
            scale = np.abs(np.linalg.inv(h)).max()
            assert np.abs(h @ got[b] - rhs[b]).max() < 1e-10 * max(1.0, scale)
            np.testing.assert_allclose(
                got[b], np.linalg.solve(h, rhs[b]), rtol=1e-7, atol=1e-9 * scale
            )
            exact = np.linalg.eigvalsh(h)[0]
            np.testing.assert_allclose(lowest[b], exact, rtol=1e-8, atol=1e-13)
    diagonal, at_bonds = engine.selected_inverse(coupling, field, equilibrium)
    i, j = bonds.edges.T
    for b in range(len(start)):
        inverse = np.linalg.inv(hessian(bonds, coupling, field[b], equilibrium[b]))
        scale = np.abs(inverse).max()
        np.testing.assert_allclose(diagonal[b], np.diag(inverse), atol=1e-11 * scale)
        np.testing.assert_allclose(at_bonds[b], inverse[i, j], atol=1e-11 * scale)


def test_solve_with_a_zero_pivot_and_with_a_singular_hessian():
    bonds = Bonds(2, np.array([[0, 1]]))
    engine = NativeEngine(bonds)
    start = np.zeros((2, 2))
    # H = [[1 + b, -1], [-1, 1 + b]]: b = -1 has zero pivots only, b = 0 is singular.
    field = np.array([[-1.0, -1.0], [0.0, 0.0]], complex)
    out = engine.solve(np.array([1.0]), field, start, np.array([[2.0, 3.0], [1.0, 1.0]]))
    np.testing.assert_allclose(out[0], [-3.0, -2.0])
    assert np.isnan(out[1]).all()


@pytest.mark.parametrize(("method", "order"), [("rodas4", 4), ("rodas3", 3)])
def test_convergence_order(method, order):
    bonds, coupling, field, start = problem("lattice", 4, 3)
    engine = NativeEngine(bonds)
    t = 1.0
    exact = np.array(
        [
            solve_ivp(
                lambda _, x, b=b: force(bonds, coupling, field[b], x),
                (0, t),
                start[b],
                method="DOP853",
                rtol=3e-14,
                atol=1e-14,
            ).y[:, -1]
            for b in range(3)
        ]
    )
    counts = np.array([32, 64, 128, 256])
    errors = np.array(
        [
            np.abs(engine.integrate(coupling, field, start, t / n, n, method) - exact).max()
            for n in counts
        ]
    )
    slopes = np.log2(errors[:-1] / errors[1:])
    assert slopes[-1] == pytest.approx(order, abs=0.35)
    assert errors[-1] < 1e-6


@pytest.mark.parametrize("name", ["lattice", "dense", "layered", "tree"])
def test_equilibrium_of_an_independent_accurate_flow(name):
    bonds, coupling, field, start = problem(name, 5, 5)
    result = NativeEngine(bonds).relax(coupling, field, start, ONE)
    assert (result.status == RelaxationStatus.EQUILIBRIUM).all()
    assert result.certified.all()
    assert result.positive_definite.all()
    assert result.residual.max() <= 1e-10
    np.testing.assert_allclose(
        np.abs(force(bonds, coupling, field, result.phases)).max(axis=1),
        result.residual,
        atol=2e-14,
    )
    for b in range(len(start)):
        assert np.linalg.eigvalsh(hessian(bonds, coupling, field[b], result.phases[b]))[0] > 0

        def settled(_, x, b=b):
            return np.abs(force(bonds, coupling, field[b], x)).max() - 1e-6

        settled.terminal = True
        flow = solve_ivp(
            lambda _, x, b=b: force(bonds, coupling, field[b], x),
            (0, 1e4),
            start[b],
            method="DOP853",
            rtol=1e-9,
            atol=1e-9,
            events=settled,
        )
        lowest = np.linalg.eigvalsh(hessian(bonds, coupling, field[b], result.phases[b]))[0]
        # Not modulo 2 pi: phases are unwrapped from the start.
        assert np.abs(flow.y[:, -1] - result.phases[b]).max() < 1e-5 / lowest


@pytest.mark.parametrize("method", ["rodas4", "rodas3"])
def test_certificate_changes_cost_but_not_the_end(method):
    bonds, coupling, field, start = problem("whole lattice", 6, 16)
    engine = NativeEngine(bonds)
    options = replace(ONE, method=method)
    with_proof = engine.relax(coupling, field, start, options)
    without = engine.relax(coupling, field, start, replace(options, certificate=False))
    assert not without.certified.any()
    assert without.positive_definite.all()
    np.testing.assert_allclose(with_proof.phases, without.phases, atol=1e-11)
    assert (with_proof.steps < without.steps).all()


SINGLE, DOUBLE = replace(ONE, tolerance=1e-3), replace(ONE, tolerance=0.9999e-3)
"""The flow runs in single precision from a tolerance of 1e-3 on."""


@pytest.mark.parametrize("name", ["lattice", "whole lattice", "dense", "layered"])
def test_flow_in_single_precision_is_that_in_double(name):
    bonds, coupling, field, start = problem(name, 40, 48)
    engine = NativeEngine(bonds)
    single = engine.relax(coupling, field, start, SINGLE)
    double = engine.relax(coupling, field, start, DOUBLE)
    np.testing.assert_allclose(single.phases, double.phases, atol=1e-10)
    assert single.certified.all()
    assert single.residual.max() <= 1e-12
    # The same steps, but where rounding tips the scales.
    assert abs(single.steps.mean() / double.steps.mean() - 1) < 0.02


def test_single_precision_keeps_full_turns():
    bonds, coupling, field, start = problem("lattice", 41, 16)
    engine = NativeEngine(bonds)
    turns = 2 * np.pi * np.random.default_rng(42).integers(-9, 10, start.shape)
    here = engine.relax(coupling, field, start, SINGLE)
    there = engine.relax(coupling, field, start + turns, SINGLE)
    np.testing.assert_allclose(there.phases - turns, here.phases, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_couplings_beyond_single_precision_flow_in_double(scale):
    bonds, coupling, field, start = problem("lattice", 43, 8)
    engine = NativeEngine(bonds)
    usual = engine.relax(coupling, field, start, SINGLE)
    options = replace(
        SINGLE,
        t_max=1e6 / scale,
        residual=1e-10 * scale,
        flow_residual=1e-9 * scale,
        certificate_gradient=0.3 * scale,
    )
    scaled = engine.relax(coupling * scale, field * scale, start, options)
    assert (scaled.status == RelaxationStatus.EQUILIBRIUM).all()
    np.testing.assert_allclose(scaled.phases, usual.phases, atol=1e-9)


@pytest.mark.parametrize("name", ["lattice", "dense", "layered"])
def test_certificate_at_the_start_is_sound(name):
    """Where it holds the flow, followed to its end at a tight tolerance, ends at that point."""
    bonds, coupling, field, start = problem(name, 44, 1)
    engine = NativeEngine(bonds)
    target = engine.relax(coupling, field, start, ONE).phases
    rng = np.random.default_rng(45)
    size = np.geomspace(1e-4, 1.0, 64)[:, None]
    states = target + size * rng.normal(size=(64, bonds.n))
    fields = np.repeat(field, 64, axis=0)
    eager = replace(ONE, certificate_gradient=np.inf, max_steps=0)
    proof = engine.relax(coupling, fields, states, eager)
    held = proof.certified
    assert 5 < held.sum() < 60
    flow = engine.relax(coupling, fields, states, replace(ONE, certificate=False, tolerance=1e-6))
    np.testing.assert_allclose(proof.phases[held], flow.phases[held], atol=1e-9)


@pytest.mark.parametrize("name", ["lattice", "dense, several panels", "layered, wide"])
def test_results_depend_on_neither_company_nor_threads(name):
    bonds, coupling, field, start = problem(name, 7, 21)
    engine = NativeEngine(bonds)
    whole = engine.relax(coupling, field, start, ONE)
    threads = engine.relax(coupling, field, start, replace(ONE, threads=2))
    rows = np.random.default_rng(8).permutation(21)
    shuffled = engine.relax(coupling, field[rows], start[rows], ONE)
    for field_name in ("phases", "steps", "rejected", "factorisations", "residual", "status"):
        want = getattr(whole, field_name)
        np.testing.assert_array_equal(getattr(threads, field_name), want)
        np.testing.assert_array_equal(getattr(shuffled, field_name), want[rows])
    for b in (0, 13):
        single = engine.relax(coupling, field[b : b + 1], start[b : b + 1], ONE)
        np.testing.assert_array_equal(single.phases[0], whole.phases[b])
        assert single.steps[0] == whole.steps[b]
        followed = engine.follow(
            coupling, field[b : b + 1] + 0.05, single.phases, ONE, field[b : b + 1]
        )
        together = engine.follow(coupling, field + 0.05, whole.phases, ONE, field)
        np.testing.assert_array_equal(followed.phases[0], together.phases[b])


@pytest.mark.parametrize("isa", usable_isas())
def test_instruction_sets_agree(isa):
    bonds, coupling, field, start = problem("lattice", 9, 20)
    best = NativeEngine(bonds).relax(coupling, field, start, ONE)
    other = NativeEngine(bonds, isa=isa)
    assert other.isa == isa
    got = other.relax(coupling, field, start, ONE)
    np.testing.assert_allclose(got.phases, best.phases, atol=1e-10)
    np.testing.assert_array_equal(got.steps, best.steps)


@pytest.mark.parametrize("name", ["lattice", "dense", "layered"])
@pytest.mark.parametrize("size", [1e-3, 0.3])
def test_follow_ends_where_the_flow_does(name, size):
    bonds, coupling, field, start = problem(name, 10, 24)
    engine = NativeEngine(bonds)
    free = engine.relax(coupling, field, start, ONE).phases
    rng = np.random.default_rng(11)
    nudged = field + size * np.exp(2j * np.pi * rng.random(field.shape))
    followed = engine.follow(coupling, nudged, free, ONE, field)
    flow = engine.relax(coupling, nudged, free, replace(ONE, certificate=False))
    np.testing.assert_allclose(followed.phases, flow.phases, atol=1e-11)
    assert (followed.status == RelaxationStatus.EQUILIBRIUM).all()
    assert followed.certified.all()
    if size < 0.01:
        stiff = engine.smallest_eigenvalue(coupling, field, free) > 0.05
        assert stiff.sum() > 12
        assert not followed.hop[stiff].any()
        assert followed.steps[stiff].mean() < 0.2 * flow.steps[stiff].mean()


def test_hop_is_found_at_a_fold():
    # A frustrated triangle has two chiral states. Weak fields support one; strong fields for
    # the other chirality end its branch in a fold.
    engine = NativeEngine(Bonds(3, np.array([[0, 1], [1, 2], [0, 2]])))
    coupling = -np.ones(3)
    angles = 2 * np.pi / 3 * np.array([0.0, 1.0, -1.0])
    weak = 0.2 * np.exp(-1j * (angles + np.array([0.0, 0.02, 0.05])))
    strong = 2.0 * np.exp(1j * angles)
    before = weak[None].repeat(2, axis=0)
    after = np.stack([1.5 * weak, strong])
    start = -angles[None].repeat(2, axis=0)
    free = engine.relax(coupling, before, start, ONE).phases
    result = engine.follow(coupling, after, free, ONE, before)
    np.testing.assert_array_equal(result.hop, [False, True])
    assert apart(result.phases, np.stack([-angles, angles])).max() < 0.2


def test_hops_are_the_jumps_of_a_slow_sweep():
    rng = np.random.default_rng(12)
    bonds = lattice(6, rng)
    coupling = rng.normal(size=len(bonds.edges))
    engine = NativeEngine(bonds)
    batch = 32
    field = 0.3 * rng.normal(size=(batch, bonds.n)).astype(complex)
    field += 0.3j * rng.normal(size=field.shape)
    free = engine.relax(coupling, field, rng.uniform(-3, 3, field.shape), ONE).phases
    target = field + 0.15 * np.exp(2j * np.pi * rng.random(field.shape))
    result = engine.follow(coupling, target, free, ONE, field)
    # Independent: a fine quasi-static sweep; a jump of the state marks a fold.
    state, jumped = free, np.zeros(batch, bool)
    n_sweep = 300
    for k in range(1, n_sweep + 1):
        new = engine.relax(
            coupling, field + k / n_sweep * (target - field), state, replace(ONE, threads=2)
        ).phases
        jumped |= np.abs(new - state).max(axis=1) > 0.3
        state = new
    different = apart(state, result.phases) > 1e-6
    np.testing.assert_array_equal(result.hop, jumped | different)
    assert 3 < result.hop.sum() < batch - 3


def test_a_start_on_a_saddle_is_unstable_and_a_start_near_it_is_not():
    bonds = Bonds(1, np.empty((0, 2), np.int64))
    field = np.ones((3, 1), complex)
    start = np.array([[0.0], [np.pi], [np.pi - 1e-11]])
    for certificate in (True, False):
        result = NativeEngine(bonds).relax(
            np.empty(0), field, start, replace(ONE, certificate=certificate)
        )
        assert result.status.tolist() == [
            RelaxationStatus.EQUILIBRIUM,
            RelaxationStatus.UNSTABLE,
            RelaxationStatus.EQUILIBRIUM,
        ]
        assert result.positive_definite.tolist() == [True, False, True]
        assert np.abs(result.phases[[0, 2]]).max() < 1e-12


def test_limits_are_reported():
    bonds, coupling, field, start = problem("lattice", 13, 9)
    engine = NativeEngine(bonds)
    by_steps = engine.relax(coupling, field, start, replace(ONE, max_steps=7))
    assert (by_steps.status == RelaxationStatus.STEP_LIMIT).all()
    assert (by_steps.steps + by_steps.rejected == 7).all()
    by_time = engine.relax(coupling, field, start, replace(ONE, t_max=0.5, tolerance=1e-6))
    assert (by_time.status == RelaxationStatus.STEP_LIMIT).all()
    b = 3
    exact = solve_ivp(
        lambda _, x: force(bonds, coupling, field[b], x),
        (0, 0.5),
        start[b],
        rtol=1e-10,
        atol=1e-10,
    )
    assert np.abs(exact.y[:, -1] - by_time.phases[b]).max() < 1e-3


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_sample_that_is_not_finite_disturbs_no_other(bad):
    bonds, coupling, field, start = problem("lattice", 14, 12)
    engine = NativeEngine(bonds)
    good = engine.relax(coupling, field, start, ONE)
    field_bad, start_bad = field.copy(), start.copy()
    field_bad[2, 5] = bad
    start_bad[7, 0] = bad
    result = engine.relax(coupling, field_bad, start_bad, ONE)
    spoilt = np.zeros(12, bool)
    spoilt[[2, 7]] = True
    assert (result.status[spoilt] == RelaxationStatus.NOT_FINITE).all()
    np.testing.assert_array_equal(result.phases[~spoilt], good.phases[~spoilt])
    np.testing.assert_array_equal(result.status[~spoilt], good.status[~spoilt])
    followed = engine.follow(coupling, field_bad, good.phases, ONE, field)
    assert followed.status[2] == RelaxationStatus.NOT_FINITE
    assert (np.delete(followed.status, 2) == RelaxationStatus.EQUILIBRIUM).all()
    lowest = engine.smallest_eigenvalue(coupling, field_bad, good.phases)
    assert np.isnan(lowest).tolist() == [b == 2 for b in range(12)]
    coupling = coupling.copy()
    coupling[0] = bad
    spoilt_all = engine.relax(coupling, field, start, ONE)
    assert (spoilt_all.status == RelaxationStatus.NOT_FINITE).all()


def test_far_starts_keep_their_turns():
    bonds, coupling, field, start = problem("lattice", 15, 4)
    engine = NativeEngine(bonds)
    turns = 2 * np.pi * np.random.default_rng(16).integers(-10_000, 10_000, start.shape)
    near = engine.relax(coupling, field, start, ONE)
    far = engine.relax(coupling, field, start + turns, ONE)
    np.testing.assert_allclose(far.phases - turns, near.phases, atol=1e-9)


def test_wrong_arguments_are_named():
    bonds, coupling, field, start = problem("lattice", 17, 2)
    engine = NativeEngine(bonds)
    with pytest.raises(SubstrateError, match="coupling: shape"):
        engine.relax(coupling[:-1], field, start, ONE)
    with pytest.raises(SubstrateError, match="field: shape"):
        engine.relax(coupling, field[:1], start, ONE)
    with pytest.raises(SubstrateError, match="phases: 1 dimensions"):
        engine.relax(coupling, field, start[0], ONE)
    with pytest.raises(SubstrateError, match=r"options\.theta"):
        engine.relax(coupling, field, start, replace(ONE, theta=1.5))
    with pytest.raises(SubstrateError, match="rhs: shape"):
        engine.solve(coupling, field, start, start[:1])
    with pytest.raises(SubstrateError, match="joins a node to itself"):
        NativeEngine(Bonds(2, np.array([[1, 1]])))
    with pytest.raises(SubstrateError, match="leaves the free nodes"):
        NativeEngine(Bonds(2, np.array([[0, 2]])))
    with pytest.raises(SubstrateError, match="listed twice"):
        NativeEngine(Bonds(2, np.array([[0, 1], [1, 0]])))
    with pytest.raises(SubstrateError, match="isa"):
        NativeEngine(Bonds(2, np.array([[0, 1]])), isa="mmx")
