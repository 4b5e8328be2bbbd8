"""Checks of what engines are handed, and the forms in which compiled code takes it."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from eqp_hw.errors import SubstrateError
from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import ComplexArray

from .interface import Bonds, RelaxationOptions

__all__ = [
    "check_options",
    "checked_bonds",
    "checked_state",
    "complex_array",
    "real_array",
    "real_parts",
    "worker_threads",
]


def checked_bonds(bonds: Bonds) -> Bonds:
    """Return the bonds as contiguous (n_bonds, 2) int64.

    Raises
    ------
    SubstrateError
        No node, or a bond that leaves the graph, joins a node to itself or is listed twice.
    """
    edges = np.ascontiguousarray(bonds.edges, dtype=np.int64).reshape(-1, 2)
    if bonds.n < 1:
        raise SubstrateError(f"bonds.n = {bonds.n}: a network needs at least one free node")
    if len(edges) and (edges.min() < 0 or edges.max() >= bonds.n):
        raise SubstrateError(f"bonds.edges: a bond leaves the free nodes 0..{bonds.n - 1}")
    if (edges[:, 0] == edges[:, 1]).any():
        raise SubstrateError("bonds.edges: a bond joins a node to itself")
    code = np.sort(edges, axis=1) @ np.array([bonds.n, 1])
    if len(np.unique(code)) != len(code):
        raise SubstrateError("bonds.edges: a bond is listed twice")
    return Bonds(bonds.n, edges)


def check_options(options: RelaxationOptions) -> None:
    """Refuse options out of range (`SubstrateError`)."""
    rules = {
        "> 0": ("tolerance", "residual", "flow_residual", "t_max", "certificate_gradient"),
        "between 0 and 1": ("theta", "certificate_backoff"),
        ">= 0": ("max_steps", "max_newton", "threads"),
    }
    for allowed, names in rules.items():
        for name in names:
            value = getattr(options, name)
            good = value >= 0 if allowed == ">= 0" else value > 0
            if not good or (allowed == "between 0 and 1" and value >= 1):
                raise SubstrateError(f"options.{name} = {value!r} (allowed: {allowed})")
    if options.method not in ("rodas4", "rodas3"):
        raise SubstrateError(f"options.method = {options.method!r} (allowed: 'rodas4', 'rodas3')")


def checked_state(
    bonds: Bonds, coupling: FloatArray, field: ComplexArray, phases: FloatArray
) -> tuple[FloatArray, ComplexArray, FloatArray]:
    """Return (coupling, field, phases) as contiguous arrays of the right shapes."""
    if np.ndim(phases) != 2:
        raise SubstrateError(f"phases: {np.ndim(phases)} dimensions (allowed: batch, node)")
    shape = (len(phases), bonds.n)
    return (
        real_array("coupling", coupling, (len(bonds.edges),)),
        complex_array("field", field, shape),
        real_array("phases", phases, shape),
    )


def real_array(name: str, values: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Return ``values`` as contiguous float64 of this shape."""
    _check_shape(name, values, shape)
    if np.iscomplexobj(values):
        raise SubstrateError(f"{name}: complex numbers (allowed: real)")
    return np.ascontiguousarray(values, dtype=np.float64)


def complex_array(name: str, values: ComplexArray, shape: tuple[int, ...]) -> ComplexArray:
    """Return ``values`` as contiguous complex128 of this shape."""
    _check_shape(name, values, shape)
    return np.ascontiguousarray(values, dtype=np.complex128)


def real_parts(field: ComplexArray) -> FloatArray:
    """Return the field as (batch, 2n) real numbers, re and im in turn."""
    return np.ascontiguousarray(field).view(np.float64)


def worker_threads(wanted: int = 0) -> int:
    """Return ``wanted``, or where it is 0 how many threads may run side by side here."""
    if wanted > 0:
        return wanted
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _check_shape(name: str, values: npt.NDArray[np.generic], shape: tuple[int, ...]) -> None:
    if np.shape(values) != shape:
        raise SubstrateError(f"{name}: shape {np.shape(values)} (allowed: {shape})")
