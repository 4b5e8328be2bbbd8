"""Initial couplings and bias fields, drawn from a generator.

Schemes of Wang, Wanjura, Marquardt, arXiv 2402.08579, and their public notebooks: XOR
all-to-all J = (A + Aᵀ)/2 with A ~ N(0, 1), h ~ U(−½, ½), ψ ~ U(−π, π); square lattice
J ~ N(0, 1), h ~ N(0, 1); layered J ~ N(0, 1/(n_l + n_{l+1})), h = 0; all-to-all digits
J ~ N(0, 1/N).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

import numpy as np

from eqp_hw.errors import ParameterError
from eqp_hw.network.graph import FloatArray, Network
from eqp_hw.physics.parameters import ComplexArray, Parameters

__all__ = ["BiasScheme", "CouplingScheme", "initial_parameters"]

CouplingScheme: TypeAlias = Literal[
    "fan", "inverse-size", "normal", "symmetrised-normal", "uniform", "constant"
]
"""Distribution of J at scale 1.

"fan"
    N(0, 1/(fan-in + fan-out)), the fans being the mean numbers of bonds of the same kind at
    either end; for dense layers 1/(n_l + n_{l+1}).
"inverse-size"
    N(0, 1/N), N the number of nodes.
"normal"
    N(0, 1).
"symmetrised-normal"
    N(0, ½), which is (A + Aᵀ)/2 with A ~ N(0, 1).
"uniform"
    U(−1, 1).
"constant"
    1.
"""

BiasScheme: TypeAlias = Literal["none", "uniform", "normal"]
"""Distribution of the amplitude h at scale 1: 0, U(−½, ½) or N(0, 1); the angle ψ is U(−π, π)."""


def initial_parameters(
    network: Network,
    rng: np.random.Generator,
    *,
    coupling: CouplingScheme = "fan",
    scale: float = 1.0,
    kind_scales: Mapping[str, float] | None = None,
    bias: BiasScheme = "none",
    bias_scale: float = 1.0,
    bias_offset: Mapping[str, float] | None = None,
    directed: bool = False,
    asymmetry: float = 0.0,
) -> Parameters:
    """Draw couplings and bias fields.

    Parameters
    ----------
    network
        The graph.
    rng
        Source of all randomness.
    coupling, scale
        Scheme of the couplings, and a factor on all of them.
    kind_scales
        Further factor for each kind of coupling named, e.g. ``{"intra-layer1": 0.1}``.
    bias, bias_scale
        Scheme of the bias fields, and a factor on them. Inputs get none.
    bias_offset
        Constant field along phase 0, added for every node of a role: "hidden", "output". It
        keeps the local field away from zero, where phases jump.
    directed
        Hold J_ij and J_ji apart.
    asymmetry
        Directed only: J_ij = J + a and J_ji = J − a, a drawn by the scheme of J times this; 0
        starts them equal. Bonds to clamped inputs, of which one direction alone acts, get none.

    Returns
    -------
    Valid parameters of ``network``.

    Raises
    ------
    ParameterError
        Unknown scheme or kind, or a scale that is not a finite number.
    ZeroModeError
        The scales are such that some phases hang on no input and no field.
    """
    _check_choice(coupling, get_args(CouplingScheme), "initial.coupling")
    _check_choice(bias, get_args(BiasScheme), "initial.bias")
    factor = np.full(len(network.kind_names), _number(scale, "initial.scale"))
    for kind, value in (kind_scales or {}).items():
        _check_choice(kind, network.kind_names, "initial.kind_scales")
        factor[network.kind_names.index(kind)] *= _number(value, f"initial.kind_scales.{kind}")
    drawn = _couplings(network, rng, coupling) * factor[network.group_kind]
    field = _bias(network, rng, bias) * _number(bias_scale, "initial.bias_scale")
    places = {"hidden": network.hidden, "output": network.outputs}
    for role, value in (bias_offset or {}).items():
        _check_choice(role, tuple(places), "initial.bias_offset")
        field[places[role]] += _number(value, f"initial.bias_offset.{role}")
    if asymmetry and not directed:
        raise ParameterError(
            "a reciprocal network has none",
            field="initial.asymmetry",
            value=asymmetry,
            allowed="0, or initial.directed = true",
        )
    antisymmetric = np.zeros_like(drawn)
    if asymmetry:
        antisymmetric = _couplings(network, rng, coupling) * factor[network.group_kind]
        antisymmetric *= _number(asymmetry, "initial.asymmetry")
        antisymmetric[network.coupling_group[network.boundary_edges]] = 0.0
    reverse = drawn - antisymmetric if directed else None
    result = Parameters(drawn + antisymmetric, field, reverse)
    result.validate(network)
    return result


def _couplings(network: Network, rng: np.random.Generator, scheme: CouplingScheme) -> FloatArray:
    n = network.n_couplings
    if scheme == "uniform":
        return rng.uniform(-1, 1, n)
    if scheme == "constant":
        return np.ones(n)
    normal: FloatArray = rng.standard_normal(n)
    if scheme == "fan":
        normal /= np.sqrt(_fan_sum(network))[network.group_kind]
    elif scheme == "inverse-size":
        normal /= np.sqrt(network.n_nodes)
    elif scheme == "symmetrised-normal":
        normal /= np.sqrt(2)
    return normal


def _fan_sum(network: Network) -> FloatArray:
    """Return the mean of fan-in + fan-out over the bonds of each kind, (n_kinds,)."""
    kind = network.group_kind[network.coupling_group]
    # Number of bonds of one kind at each node; a layer between two others has two fans.
    key = kind[:, None] * network.n_nodes + network.edges
    _, index, count = np.unique(key.ravel(), return_inverse=True, return_counts=True)
    fans = count[index].reshape(key.shape).sum(axis=1)
    n_kinds = len(network.kind_names)
    bonds = np.bincount(kind, minlength=n_kinds)
    total: FloatArray = np.bincount(kind, fans, minlength=n_kinds) / np.maximum(bonds, 1)
    return total


def _bias(network: Network, rng: np.random.Generator, scheme: BiasScheme) -> ComplexArray:
    field = np.zeros(network.n_nodes, dtype=np.complex128)
    if scheme == "none":
        return field
    n = len(network.free)
    amplitude = rng.uniform(-0.5, 0.5, n) if scheme == "uniform" else rng.standard_normal(n)
    field[network.free] = amplitude * np.exp(1j * rng.uniform(-np.pi, np.pi, n))
    return field


def _check_choice(value: str, allowed: tuple[str, ...], field: str) -> None:
    if value not in allowed:
        raise ParameterError("unknown", field=field, value=value, allowed=", ".join(allowed))


def _number(value: object, field: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ParameterError("not a number", field=field, value=value, allowed="a finite number")
