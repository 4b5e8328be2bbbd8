"""Networks, wrapped emulators and a stand-in for hardware, for tests of imperfections."""

import dataclasses

import numpy as np

from eqp_hw.errors import CapabilityError, SubstrateError
from eqp_hw.network.graph import Network
from eqp_hw.physics.parameters import Parameters
from eqp_hw.registry import make_substrate
from eqp_hw.sim_backends.emulator import EmulatorOptions, XYEmulator
from eqp_hw.sim_backends.imperfections.registry import parse_imperfections, wrap_substrate
from eqp_hw.substrate import Substrate

LAYERED = Network.create(
    9,
    [(i, j) for i in range(3) for j in range(3, 7)] + [(i, j) for i in range(3, 7) for j in (7, 8)],
    inputs=range(3),
    outputs=(7, 8),
    positions=[(i % 4, 0.1 * i, i // 3) for i in range(9)],
)
TIED = Network.create(
    6,
    [(0, 2), (0, 3), (1, 2), (1, 3), (2, 4), (3, 4), (2, 5), (3, 5)],
    inputs=(0, 1),
    outputs=(4, 5),
    coupling_group=[0, 0, 1, 1, 2, 2, 3, 3],
)
INPUTS = np.random.default_rng(5).uniform(-1, 1, (3, 3))


def table(kind, **options):
    return {"kind": kind, **options}


def imperfect(*tables, network=LAYERED, seed=3, **options):
    """A wrapped emulator, as an experiment file would make it."""
    given = {"threads": 1, "imperfections": list(tables), **options}
    return make_substrate("emulator", network, given, seed=seed)


def around(inner, *tables, seed=3):
    """An imperfect substrate around one that is there already."""
    return wrap_substrate(lambda network: inner, inner.network, parse_imperfections(tables), seed)


def random_parameters(network=LAYERED, seed=0, scale=0.6, bias=0.2):
    rng = np.random.default_rng(seed)
    field = np.zeros(network.n_nodes, dtype=complex)
    free = network.free
    field[free] = bias * (rng.normal(size=len(free)) + 1j * rng.normal(size=len(free)))
    return Parameters(np.clip(rng.normal(0, scale, network.n_couplings), -0.99, 0.99), field)


def ready(substrate, parameters=None, inputs=INPUTS, seed=7):
    """Program, set inputs, start, settle; return what is effective."""
    chosen = random_parameters(substrate.network) if parameters is None else parameters
    effective = substrate.write_parameters(chosen)
    substrate.set_inputs(inputs[:, : len(substrate.network.inputs)])
    substrate.reset(seed)
    assert substrate.settle().settled.all()
    return effective


def raw_reads(substrate, count):
    """(count, batch, n_free) single reads."""
    free = substrate.network.free
    return np.array([substrate.read_phases().phases[:, free] for _ in range(count)])


def wrapped(difference):
    return np.remainder(difference + np.pi, 2 * np.pi) - np.pi


def exact_phases(*tables, **others):
    """(batch, N) equilibrium without imperfections, or with just those named."""
    with imperfect(*tables, **others) as substrate:
        ready(substrate)
        return substrate.read_phases().phases


class Hardware(Substrate):
    """One sample at a time, a noisy read-out, slow couplings: an emulator that acts the part."""

    def __init__(self, network=LAYERED, noise=0.01, **changes):
        self._emulator = XYEmulator(network, EmulatorOptions(threads=1))
        self._rng = np.random.default_rng(99)
        self._able = dataclasses.replace(
            self._emulator.capabilities,
            **{
                "batch_limit": 1,
                "fast_reprogramming": False,
                "complex_nudge": False,
                "directed_couplings": False,
                "phase_clamp": False,
                "coupling_lag": False,
                "replicas": 1,
                "readout_noise": noise,
                "coupling_range": (-2.0, 2.0),
                **changes,
            },
        )
        self.programmed = 0

    @property
    def network(self):
        return self._emulator.network

    @property
    def capabilities(self):
        return self._able

    def write_parameters(self, parameters):
        if parameters.directed and not self._able.directed_couplings:
            raise CapabilityError("these couplings act both ways")
        self.programmed += 1
        return self._emulator.write_parameters(parameters)

    def set_inputs(self, phases):
        if len(phases) > 1:
            raise SubstrateError("one sample at a time")
        self._emulator.set_inputs(phases)

    def apply_nudge(self, field, beta=1.0):
        self._emulator.apply_nudge(field, beta)

    def reset(self, seed):
        self._emulator.reset(seed)

    def settle(self):
        return self._emulator.settle()

    def store_state(self):
        return self._emulator.store_state()

    def restore_state(self, token):
        return self._emulator.restore_state(token)

    def read_phases(self, repeats=1):
        reading = self._emulator.read_phases(repeats)
        free, noise = self.network.free, self._able.readout_noise / np.sqrt(repeats)
        shape = (len(reading.phases), len(free))
        reading.phases[:, free] += noise * self._rng.standard_normal(shape)
        return reading

    def self_test(self):
        return self._emulator.self_test()

    def safe(self):
        self._emulator.safe()

    def close(self):
        self._emulator.close()
