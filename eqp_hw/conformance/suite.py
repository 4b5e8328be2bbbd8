"""What every substrate must satisfy, as a class of pytest tests.

Derive from `SubstrateConformance` and provide the fixture ``substrate``::

    class TestMyRig(SubstrateConformance):
        @pytest.fixture
        def substrate(self):
            with MyRig(...) as rig:
                yield rig

Tolerances follow from the substrate's own `Capabilities`: a noisy read-out is averaged and
judged within its stated noise, so a substrate that understates its noise fails.
"""

from __future__ import annotations

import numpy as np
import pytest

from eqp_hw.errors import CapabilityError, EqpError, ParameterError, SubstrateError, ZeroModeError
from eqp_hw.learning.costs import Cosine
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.energy import force, jacobian, statistics
from eqp_hw.physics.exact_gradient import exact_gradient
from eqp_hw.physics.parameters import Parameters
from eqp_hw.substrate import SettleStatus, Substrate

__all__ = ["SubstrateConformance"]


def _parameters(substrate: Substrate, seed: int = 7) -> Parameters:
    """Random couplings inside the range, and bias fields of the kind the substrate offers."""
    network, able = substrate.network, substrate.capabilities
    rng = np.random.default_rng(seed)
    degree = np.bincount(network.edges.ravel(), minlength=network.n_nodes).mean()
    coupling = rng.normal(0, 1.5 / np.sqrt(degree), network.n_couplings)
    low, high = (0.9 * limit for limit in able.coupling_range)
    coupling = np.clip(coupling, low, high)
    bias = np.zeros(network.n_nodes, dtype=complex)
    if able.bias_control != "none":
        bias[network.free] = rng.normal(0, 0.3, len(network.free))
    if able.bias_control == "complex":
        bias[network.free] += 1j * rng.normal(0, 0.3, len(network.free))
    return Parameters(coupling, bias)


def _amplitude(substrate: Substrate, wanted: float) -> float:
    """Return the nudge amplitude nearest to ``wanted`` that the substrate can make."""
    levels = substrate.capabilities.base_levels()
    return wanted if not levels else min(levels, key=lambda level: abs(level - wanted))


def _batch(substrate: Substrate) -> int:
    limit = substrate.capabilities.batch_limit
    return 3 if limit is None else min(3, limit)


def _inputs(substrate: Substrate, seed: int = 11) -> FloatArray:
    rng = np.random.default_rng(seed)
    shape = (_batch(substrate), len(substrate.network.inputs))
    return rng.uniform(-np.pi / 2, np.pi / 2, shape)


def _wrapped(difference: FloatArray) -> FloatArray:
    turned: FloatArray = np.remainder(difference + np.pi, 2 * np.pi) - np.pi
    return turned


class SubstrateConformance:
    """The suite; every method is one property."""

    repeats = 64
    """Reads averaged where the read-out is noisy."""

    def _prepare(self, substrate: Substrate) -> Parameters:
        effective = substrate.write_parameters(_parameters(substrate))
        substrate.set_inputs(_inputs(substrate))
        substrate.reset(3)
        return effective

    def _tolerance(self, substrate: Substrate) -> float:
        """Six standard errors of an averaged read, rad; at least rounding."""
        able = substrate.capabilities
        step = 0.0 if able.readout_bits is None else 2 * np.pi / 2**able.readout_bits
        return float(1e-9 + step + 6 * able.readout_noise / np.sqrt(self._reads(substrate)))

    def _reads(self, substrate: Substrate) -> int:
        able = substrate.capabilities
        exact = able.readout_noise == 0 and able.readout_bits is None
        return 1 if exact else self.repeats

    def test_capabilities_fit_the_network(self, substrate: Substrate) -> None:
        """Nudge nodes are free nodes, ranges are ordered, limits positive."""
        able, network = substrate.capabilities, substrate.network
        assert len(able.nudge_nodes) > 0
        assert set(able.nudge_nodes) <= {int(node) for node in network.free}
        assert able.coupling_range[0] < able.coupling_range[1]
        assert able.batch_limit is None or able.batch_limit >= 1
        assert able.readout_noise >= 0

    def test_verbs_out_of_order_are_refused(self, substrate: Substrate) -> None:
        """Settling before anything was programmed is an error that says what to call."""
        with pytest.raises(SubstrateError, match="call"):
            substrate.settle()

    def test_effective_parameters_are_returned(self, substrate: Substrate) -> None:
        """What is held is finite, in range, near what was asked, and not the same object."""
        asked = _parameters(substrate)
        effective = substrate.write_parameters(asked)
        able = substrate.capabilities
        assert np.isfinite(effective.flatten()).all()
        low, high = able.coupling_range
        assert (effective.coupling >= low).all()
        assert (effective.coupling <= high).all()
        step = 1e-12
        if able.coupling_bits is not None:
            step = (high - low) / (2**able.coupling_bits - 1)
        assert np.abs(effective.coupling - asked.coupling).max() <= step
        assert effective.coupling is not asked.coupling

    def test_bad_parameters_are_refused_whole(self, substrate: Substrate) -> None:
        """NaN, a wrong shape, an overrange and a zero mode leave the old ones in force."""
        before = self._prepare(substrate)
        good = _parameters(substrate, seed=8)
        poisoned = good.coupling.copy()
        poisoned[0] = np.nan
        bad = [
            Parameters(poisoned, good.bias),
            Parameters(good.coupling[:-1], good.bias),
            Parameters(good.coupling, good.bias[:-1]),
        ]
        high = substrate.capabilities.coupling_range[1]
        if np.isfinite(high):
            over = good.coupling.copy()
            over[-1] = 1.5 * high
            bad.append(Parameters(over, good.bias))
        for parameters in bad:
            with pytest.raises(ParameterError):
                substrate.write_parameters(parameters)
        with pytest.raises(ZeroModeError):
            substrate.write_parameters(Parameters.zeros(substrate.network))
        substrate.settle()
        phases = substrate.read_phases(self._reads(substrate)).phases
        residual = np.abs(force(substrate.network, before, phases)).max()
        assert residual <= self._force_tolerance(substrate, before)

    def test_bad_inputs_are_refused(self, substrate: Substrate) -> None:
        """Wrong width, NaN, an empty batch and a batch above the limit."""
        substrate.write_parameters(_parameters(substrate))
        good = _inputs(substrate)
        poisoned = good.copy()
        poisoned[0, 0] = np.nan
        bad = [good[:, :-1], poisoned, good[:0]]
        limit = substrate.capabilities.batch_limit
        if limit is not None:
            bad.append(np.zeros((limit + 1, good.shape[1])))
        for inputs in bad:
            with pytest.raises(SubstrateError):
                substrate.set_inputs(inputs)

    def _force_tolerance(self, substrate: Substrate, parameters: Parameters) -> float:
        forward, reverse = parameters.bond_coupling(substrate.network)
        stiffness = np.abs(parameters.bias).max()
        load = np.zeros(substrate.network.n_nodes)
        np.add.at(load, substrate.network.edges[:, 0], np.abs(forward))
        np.add.at(load, substrate.network.edges[:, 1], np.abs(reverse))
        return float(2 * (stiffness + load.max()) * self._tolerance(substrate) + 1e-9)

    def test_settles_to_a_stable_equilibrium(self, substrate: Substrate) -> None:
        """The force at the phases read vanishes and the Hessian there is positive definite."""
        effective = self._prepare(substrate)
        outcome = substrate.settle()
        assert (outcome.status == SettleStatus.EQUILIBRIUM).all()
        assert outcome.duration_s >= 0
        phases = substrate.read_phases(self._reads(substrate)).phases
        residual = np.abs(force(substrate.network, effective, phases)).max()
        assert residual <= self._force_tolerance(substrate, effective)
        for row in phases:
            hessian = jacobian(substrate.network, effective, row).toarray()
            assert np.linalg.eigvalsh(hessian)[0] > -self._force_tolerance(substrate, effective)

    def test_reading_is_well_formed(self, substrate: Substrate) -> None:
        """Shapes, range, clamped inputs, counts, time stamps."""
        self._prepare(substrate)
        substrate.settle()
        reading = substrate.read_phases(4)
        shape = (_batch(substrate), substrate.network.n_nodes)
        assert reading.phases.shape == reading.standard_error.shape == shape
        assert (np.abs(reading.phases) <= np.pi + 1e-12).all()
        assert reading.count == 4
        assert reading.ended_s >= reading.started_s
        clamped = _wrapped(reading.phases[:, substrate.network.inputs] - _inputs(substrate))
        assert np.abs(clamped).max() <= self._tolerance(substrate)
        with pytest.raises(SubstrateError):
            substrate.read_phases(0)

    def test_settling_twice_changes_nothing(self, substrate: Substrate) -> None:
        """An equilibrium stays where it is."""
        self._prepare(substrate)
        substrate.settle()
        first = substrate.read_phases(self._reads(substrate)).phases
        outcome = substrate.settle()
        second = substrate.read_phases(self._reads(substrate)).phases
        assert not outcome.hop.any()
        assert np.abs(_wrapped(second - first)).max() <= 2 * self._tolerance(substrate)

    def test_nudge_pulls_towards_the_target(self, substrate: Substrate) -> None:
        """+β moves the outputs as the exact linear response says; −β the other way."""
        effective = self._prepare(substrate)
        network = substrate.network
        substrate.settle()
        reads = self._reads(substrate)
        free = substrate.read_phases(reads).phases
        sites = np.array(substrate.capabilities.nudge_nodes)
        target = free[:, sites] + 0.5 * np.pi
        field = Cosine().nudge_field(free[:, sites], target)
        noise = self._tolerance(substrate)
        beta = _amplitude(substrate, max(1e-3, 10 * noise))
        signs = (1, -1) if substrate.capabilities.signed_nudge else (1,)
        for sign in signs:
            substrate.apply_nudge(field, sign * beta)
            outcome = substrate.settle()
            usable = outcome.settled & ~outcome.hop
            assert usable.any()
            shift = _wrapped(substrate.read_phases(reads).phases - free)
            for sample in np.flatnonzero(usable):
                hessian = jacobian(network, effective, free[sample]).toarray()
                torque = np.zeros(len(network.free))
                torque[network.free_index[sites]] = sign * beta
                expected = np.linalg.solve(hessian, torque)
                allowed = 2 * noise + 0.3 * np.abs(expected).max()
                assert np.abs(shift[sample, network.free] - expected).max() <= allowed
            substrate.apply_nudge(None)
            substrate.settle()

    def test_bad_nudges_are_refused(self, substrate: Substrate) -> None:
        """Wrong width, NaN, beyond the maximum, complex where that is impossible."""
        self._prepare(substrate)
        substrate.settle()
        able = substrate.capabilities
        shape = (_batch(substrate), len(able.nudge_nodes))
        for field in (np.ones((shape[0], shape[1] + 1), complex), np.full(shape, np.nan + 0j)):
            with pytest.raises(SubstrateError):
                substrate.apply_nudge(field)
        if np.isfinite(able.nudge_maximum):
            with pytest.raises(CapabilityError):
                substrate.apply_nudge(np.full(shape, 2 * able.nudge_maximum + 0j))
        if not able.complex_nudge:
            with pytest.raises(CapabilityError):
                substrate.apply_nudge(np.full(shape, 1e-3 + 0j), 1j)

    def test_state_is_restored(self, substrate: Substrate) -> None:
        """After a nudge and a restore the phases are those stored, and stay there."""
        able = substrate.capabilities
        if not able.state_restore:
            self._prepare(substrate)
            token = substrate.store_state()
            with pytest.raises(CapabilityError):
                substrate.restore_state(token)
            return
        self._prepare(substrate)
        substrate.settle()
        reads = self._reads(substrate)
        free = substrate.read_phases(reads).phases
        token = substrate.store_state()
        weak = _amplitude(substrate, 0.05) + 0j
        substrate.apply_nudge(np.full((_batch(substrate), len(able.nudge_nodes)), weak))
        substrate.settle()
        substrate.restore_state(token)
        substrate.settle()
        again = substrate.read_phases(reads).phases
        assert np.abs(_wrapped(again - free)).max() <= 2 * self._tolerance(substrate)
        substrate.set_inputs(_inputs(substrate, seed=12))
        with pytest.raises(SubstrateError):
            substrate.restore_state(token)

    def test_fused_measurement_equals_single_verbs(self, substrate: Substrate) -> None:
        """`measure_nudged`, fused or not, returns what the verbs return one by one."""
        able = substrate.capabilities
        if not able.state_restore:
            pytest.skip("measure_nudged needs a state that can be restored")
        self._prepare(substrate)
        substrate.settle()
        token = substrate.store_state()
        ones = np.full((_batch(substrate), len(able.nudge_nodes)), np.exp(0.5j))
        fields = [(ones, _amplitude(substrate, 0.02)), (ones, _amplitude(substrate, 0.01))]
        reads = self._reads(substrate)
        fused = substrate.measure_nudged(token, fields, reads)
        single = Substrate.measure_nudged(substrate, token, fields, reads)
        for one, other in zip(fused, single, strict=True):
            difference = _wrapped(one.reading.phases - other.reading.phases)
            assert np.abs(difference).max() <= 2 * self._tolerance(substrate)
            assert np.array_equal(one.outcome.status, other.outcome.status)

    def test_contrast_gives_the_gradient(self, substrate: Substrate) -> None:
        """A nudge contrast has the direction and the size of the exact implicit gradient."""
        effective = self._prepare(substrate)
        able, network = substrate.capabilities, substrate.network
        if not {int(node) for node in network.outputs} <= set(able.nudge_nodes):
            pytest.skip("not every output can be nudged")
        substrate.settle()
        reads = self._reads(substrate)
        free = substrate.read_phases(reads).phases
        sites = [able.nudge_nodes.index(int(node)) for node in network.outputs]
        targets = np.full((len(free), len(sites)), np.pi / 4)
        cost = Cosine()
        field = np.zeros((len(free), len(able.nudge_nodes)), dtype=complex)
        field[:, sites] = cost.nudge_field(free[:, network.outputs], targets)
        beta = _amplitude(substrate, max(1e-3, 0.1 * float(self._tolerance(substrate) > 1e-8)))
        sides = []
        for sign in (1, -1) if able.signed_nudge else (1,):
            substrate.apply_nudge(field, sign * beta)
            outcome = substrate.settle()
            assert (outcome.settled & ~outcome.hop).all()
            sides.append(substrate.read_phases(reads).phases)
            substrate.apply_nudge(None)
            substrate.settle()
        base = sides[1] if able.signed_nudge else free
        weights = np.full(len(free), 1 / (beta * (2 if able.signed_nudge else 1)))
        plus = statistics(network, sides[0], weights)
        minus = statistics(network, base, weights)
        estimate = plus.map(np.subtract, minus).flatten()
        slope = np.zeros_like(free)
        slope[:, network.outputs] = cost.gradient(free[:, network.outputs], targets)
        exact = exact_gradient(network, effective, free, slope, np.ones(len(free))).flatten()
        cosine = estimate @ exact / (np.linalg.norm(estimate) * np.linalg.norm(exact))
        assert cosine > (0.999 if able.readout_noise == 0 else 0.9)
        # Noise adds to the length of the estimate; along the gradient it averages out.
        size = estimate @ exact / (exact @ exact)
        assert abs(size - 1) < (0.05 if able.readout_noise == 0 else 0.5)

    def test_directed_couplings_are_held_or_refused(self, substrate: Substrate) -> None:
        """J_ij ≠ J_ji is programmed as asked, or refused; never made symmetric in silence."""
        asked = _parameters(substrate)
        directed = Parameters(asked.coupling, asked.bias, 0.9 * asked.coupling)
        if substrate.capabilities.directed_couplings:
            effective = substrate.write_parameters(directed)
            assert effective.coupling_reverse is not None
            assert not np.allclose(effective.coupling, effective.coupling_reverse)
        else:
            with pytest.raises(EqpError):
                substrate.write_parameters(directed)

    def test_self_test_names_its_steps(self, substrate: Substrate) -> None:
        """Every step has a name and a finding; a healthy substrate passes all that matter."""
        steps = substrate.self_test()
        assert len(steps) > 0
        assert all(step.name and step.detail for step in steps)
        assert len({step.name for step in steps}) == len(steps)

    def test_safe_and_close_are_idempotent(self, substrate: Substrate) -> None:
        """Both work at any time and twice; afterwards every verb is refused."""
        substrate.safe()
        self._prepare(substrate)
        substrate.safe()
        substrate.safe()
        substrate.close()
        substrate.close()
        with pytest.raises(SubstrateError):
            substrate.set_inputs(_inputs(substrate))
