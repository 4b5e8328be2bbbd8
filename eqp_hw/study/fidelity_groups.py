"""Which parameters a gradient has, by the roles of the nodes they act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from eqp_hw.network.graph import Network
from eqp_hw.physics.parameters import Parameters

__all__ = ["BIAS", "Moved", "parameter_groups", "pick"]

BIAS = "bias"
_ROLES = ("input", "hidden", "output")


@final
@dataclass(frozen=True)
class Moved:
    """One real parameter.

    Attributes
    ----------
    index
        Its place in `Parameters.flatten`.
    name
        For people, e.g. "J[3] (0-5)" or "Re b[7]".
    number
        Of the coupling, or of the node of a bias field.
    part
        "coupling", "real" or "imaginary".
    """

    index: int
    name: str
    number: int
    part: str

    def of(self, parameters: Parameters) -> float:
        """Return its value."""
        if self.part == "coupling":
            return float(parameters.coupling[self.number])
        bias = parameters.bias[self.number]
        return float(bias.real if self.part == "real" else bias.imag)

    def shifted(self, parameters: Parameters, step: float, low: float, high: float) -> Parameters:
        """Return the parameters with this one moved; couplings not beyond low and high."""
        moved = parameters.map(np.copy)
        if self.part == "coupling":
            moved.coupling[self.number] = np.clip(moved.coupling[self.number] + step, low, high)
        else:
            moved.bias[self.number] += step if self.part == "real" else 1j * step
        return moved


def parameter_groups(
    network: Network, bias_control: str, *, directed: bool = False
) -> dict[str, list[Moved]]:
    """Return what can be trained, by the roles of the nodes.

    Bonds between two inputs act on nothing and are left out. Bonds that share a coupling count
    once, with the roles of the first. Of a directed network J_ij alone is looked at.

    Parameters
    ----------
    bias_control
        As in `Capabilities`.
    directed
        Whether J_ij and J_ji are held apart.
    """
    role = np.full(network.n_nodes, 1)
    role[network.inputs], role[network.outputs] = 0, 2
    groups: dict[str, list[Moved]] = {}
    seen: set[int] = set()
    for (i, j), coupling in zip(network.edges, network.coupling_group, strict=True):
        ends = sorted((int(role[i]), int(role[j])))
        if int(coupling) in seen or ends == [0, 0]:
            continue
        seen.add(int(coupling))
        group = "-".join(_ROLES[end] for end in ends)
        number = int(coupling)
        name = f"J[{number}] ({int(i)}-{int(j)})"
        groups.setdefault(group, []).append(Moved(number, name, number, "coupling"))
    ordered = dict(sorted(groups.items(), key=lambda item: _rank(item[0])))
    n_couplings = network.n_couplings * (2 if directed else 1)
    parts = {"none": (), "amplitude": ("real",), "complex": ("real", "imaginary")}[bias_control]
    fields = [
        Moved(
            n_couplings + node + network.n_nodes * k,
            f"{'Re' if part == 'real' else 'Im'} b[{node}]",
            node,
            part,
        )
        for node in network.free.tolist()
        for k, part in enumerate(parts)
    ]
    return ordered | ({BIAS: fields} if fields else {})


def _rank(group: str) -> list[int]:
    return [_ROLES.index(role) for role in group.split("-")]


def pick(groups: Mapping[str, Sequence[Moved]], most: int, rng: np.random.Generator) -> list[Moved]:
    """Return at most ``most`` couplings of each group, and all parts of as many bias fields."""
    chosen: list[Moved] = []
    for members in groups.values():
        numbers = sorted({one.number for one in members})
        drawn = set(rng.choice(numbers, min(most, len(numbers)), replace=False).tolist())
        chosen += [one for one in members if one.number in drawn]
    return chosen
