"""How wrong plain nudges are against how far from reciprocal a network is: table and figure.

    python benchmarks/nonreciprocal_cosine.py --figure docs/nonreciprocal.png   # a minute

Random networks of 18 to 24 free nodes, every second pair coupled, J ± a; exact displacements
q = -A^-1 grad C (plain) and delta = -A^-T grad C (true) at hidden nodes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from eqp_hw.learning.controller import Controller, ControllerOptions
from eqp_hw.learning.costs import Cosine
from eqp_hw.learning.estimators import Centred
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.energy import jacobian
from eqp_hw.physics.parameters import Parameters
from eqp_hw.randomness import RandomStreams
from eqp_hw.sim_backends.emulator import XYEmulator
from eqp_hw.sim_backends.emulator_options import EmulatorOptions

STRENGTHS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
"""Standard deviation of a, relative to that of J."""


def network_and_parameters(seed: int, strength: float) -> tuple[Network, Parameters]:
    """Draw one network."""
    rng = np.random.default_rng([17, seed])
    n = 4 + int(rng.integers(18, 25))
    pairs = [(i, j) for i in range(n) for j in range(max(i + 1, 4), n) if rng.random() < 0.5]
    network = Network.create(n, pairs, inputs=range(4), outputs=range(n - 3, n))
    rng = np.random.default_rng([18, seed])
    free, size = network.free, 1 / np.sqrt(0.5 * (n - 4))
    bias = np.zeros(n, complex)
    bias[free] = rng.normal(0, 0.5, len(free)) + 1j * rng.normal(0, 0.5, len(free))
    coupling = size * rng.normal(size=network.n_couplings)
    turn = strength * size * rng.normal(size=network.n_couplings)
    turn[network.coupling_group[network.boundary_edges]] = 0.0
    return network, Parameters(coupling + turn, bias, coupling - turn)


def figures(seed: int, strength: float) -> list[tuple[float, float, float]]:
    """Return (|S|/|A|, index r, hidden cosine) at the samples of a network that rest."""
    network, parameters = network_and_parameters(seed, strength)
    emulator = XYEmulator(network, EmulatorOptions(threads=1, t_max=1e4, max_steps=300))
    controller = Controller(emulator, Cosine(), Centred(), ControllerOptions(), RandomStreams(seed))
    controller.program(parameters)
    rng = np.random.default_rng([19, seed])
    inputs = rng.uniform(-np.pi / 2, np.pi / 2, (4, 4))
    targets = rng.choice([-np.pi / 2, np.pi / 2], (4, 3))
    found = controller.evaluate(inputs, (0,))
    hidden, result = network.free_index[network.hidden], []
    for phases, target in zip(found.phases[found.settled], targets[found.settled], strict=True):
        a = jacobian(network, parameters, phases).toarray()
        chi = np.linalg.inv(a)
        torque = np.zeros(network.n_nodes)
        torque[network.outputs] = -Cosine().gradient(phases[None, network.outputs], target[None])
        torque = torque[network.free]
        q, delta = (chi @ torque)[hidden], (chi.T @ torque)[hidden]
        result.append(
            (
                float(np.linalg.norm(a - a.T) / 2 / np.linalg.norm(a)),
                float(np.linalg.norm(chi - chi.T) / 2 / np.linalg.norm(chi)),
                float(q @ delta / np.linalg.norm(q) / np.linalg.norm(delta)),
            )
        )
    return result


def draw(table: FloatArray, path: Path) -> None:
    """Draw cosine against index, (n, 3) rows of `figures`."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    fig, axes = plt.subplots(1, 2, figsize=(7.6, 3.1), sharey=True, layout="constrained")
    for axis, column, label in (
        (axes[0], 0, "‖S‖/‖A‖ of the Jacobian"),
        (axes[1], 1, "reciprocity index r of the response"),
    ):
        axis.plot(table[:, column], table[:, 2], ".", ms=3, alpha=0.35, mew=0, color="#4477aa")
        edges = np.quantile(table[:, column], np.linspace(0, 1, 9))
        place = np.digitize(table[:, column], edges[1:-1])
        middle = [np.mean(table[place == k, column]) for k in range(8)]
        axis.plot(
            middle,
            [np.median(table[place == k, 2]) for k in range(8)],
            "o-",
            color="#cc3311",
            ms=4,
            label="median",
        )
        axis.set_xlabel(label)
        axis.axhline(0, lw=0.6, color="0.6")
    r = np.linspace(0, np.max(table[:, 1]), 50)
    axes[1].plot(r, 1 - 2 * r**2, "--", color="0.3", label="1 − 2r²: random torque on all nodes")
    axes[0].set_ylabel("hidden cosine (plain, true)")
    axes[1].legend(loc="lower left", fontsize=8)
    fig.savefig(path, dpi=110)


def main() -> None:
    """Print the table; draw it where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", type=int, default=40, help="of each strength")
    parser.add_argument("--figure", type=Path, help="file to draw to")
    arguments = parser.parse_args()
    rows = []
    print("a/J   at rest   |S|/|A|   r       hidden cosine: mean, quartiles")
    for strength in STRENGTHS:
        found = [one for seed in range(arguments.networks) for one in figures(seed, strength)]
        part = np.array(found)
        mean, quartiles = part.mean(axis=0), np.quantile(part[:, 2], [0.25, 0.5, 0.75])
        print(
            f"{strength:.2f}  {len(part) / (4 * arguments.networks):.2f}      {mean[0]:.3f}     "
            f"{mean[1]:.3f}   {mean[2]:.2f}, {' '.join(f'{q:.2f}' for q in quartiles)}",
            flush=True,
        )
        rows.append(part)
    if arguments.figure:
        draw(np.concatenate(rows), arguments.figure)


if __name__ == "__main__":
    main()
