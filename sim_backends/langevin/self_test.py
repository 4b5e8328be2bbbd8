"""Self-test of the Langevin substrate: named steps, judged by exact results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ive

from eqp_hw.network.graph import Network
from eqp_hw.physics.energy import force
from eqp_hw.physics.parameters import Parameters
from eqp_hw.substrate import SelfTestStep

if TYPE_CHECKING:
    from .options import LangevinOptions

__all__ = ["langevin_self_test"]


def langevin_self_test(network: Network, options: LangevinOptions) -> list[SelfTestStep]:
    """Let spins in fields fluctuate, and ``network`` come to rest without noise."""
    steps = []
    for name, step in (("thermal law", _thermal), ("relaxation", _relaxation)):
        try:
            steps.append(step(network, options))
        except Exception as error:  # noqa: BLE001 - a self-test reports, it never raises
            steps.append(SelfTestStep(name, False, f"{type(error).__name__}: {error}"))
    return steps


def _thermal(_: Network, options: LangevinOptions) -> SelfTestStep:
    """Compare <cos φ> of free spins in unit fields with I₁(1/T)/I₀(1/T)."""
    from .options import LangevinOptions  # noqa: PLC0415 - imports this package
    from .substrate import LangevinSubstrate  # noqa: PLC0415 - offers this test

    temperature, spins, batch = max(options.temperature, 0.05), 50, 20
    edges = [(0, k) for k in range(1, spins + 1)]
    star = Network.create(spins + 1, edges, inputs=[0], outputs=range(1, spins + 1))
    warm = LangevinOptions(temperature=temperature, settle_time=10.0 + 2.0 / temperature)
    with LangevinSubstrate(star, warm) as substrate:
        substrate.write_parameters(Parameters(np.ones(spins), np.zeros(spins + 1, complex)))
        substrate.set_inputs(np.zeros((batch, 1)))
        substrate.reset(20240213)
        substrate.settle()
        cosine = np.cos(substrate.read_phases().phases[:, 1:])
    expected = float(ive(1, 1 / temperature) / ive(0, 1 / temperature))
    error = 5.0 * float(cosine.std()) / np.sqrt(cosine.size)
    found = float(cosine.mean())
    return SelfTestStep(
        "thermal law",
        abs(found - expected) <= error,
        f"<cos φ> = {found:.4f} at T = {temperature:g}; exact {expected:.4f} ± {error:.4f}",
    )


def _relaxation(network: Network, options: LangevinOptions) -> SelfTestStep:
    """See the force fall without noise."""
    from .substrate import LangevinSubstrate  # noqa: PLC0415 - offers this test

    rng = np.random.default_rng(20240213)
    bias = np.zeros(network.n_nodes, dtype=complex)
    bias[network.free] = np.exp(1j * rng.uniform(-np.pi, np.pi, len(network.free)))
    degree = np.bincount(network.edges.ravel(), minlength=network.n_nodes).mean()
    parameters = Parameters(rng.normal(0, 1 / np.sqrt(degree), network.n_couplings), bias)
    cold = options.model_copy(
        update={"temperature": 0.0, "time_step": None, "settle_time": 20.0, "read_time": 0.0}
    )
    with LangevinSubstrate(network, cold) as substrate:
        substrate.write_parameters(parameters)
        substrate.set_inputs(rng.uniform(-np.pi / 2, np.pi / 2, (4, len(network.inputs))))
        substrate.reset(1)
        before = np.abs(force(network, parameters, substrate.read_phases().phases)).max()
        substrate.settle()
        after = np.abs(force(network, parameters, substrate.read_phases().phases)).max()
    return SelfTestStep(
        "relaxation",
        bool(after < 0.5 * before),
        f"largest force {before:.1e}, after a time of 20 without noise {after:.1e}",
    )
