"""A small rig for tests: two inputs, three hidden phases, one output."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from eqp_hw.physics.parameters import Parameters

CONTENT: dict[str, Any] = {
    "rig": {"name": "sample"},
    "network": {"kind": "layered", "sizes": [2, 3, 1]},
    "instruments": {
        "heaters": {
            "kind": "qontrol",
            "address": "serial:/dev/ttyUSB0",
            "modules": 3,
            "timeout_s": 0.5,
            "limits": {"voltage_V": 8.0},
        },
        "detectors": {
            "kind": "scpi-digitiser",
            "address": "tcp:127.0.0.1:5025",
            "timeout_s": 0.5,
        },
    },
    "wiring": {
        "couplings": ["heaters:0-8"],
        "inputs": ["heaters:9-10"],
        "bias_amplitude": ["heaters:11-14"],
        "bias_phase": ["heaters:15-18"],
        "nudge_amplitude": ["heaters:19"],
        "nudge_phase": ["heaters:20"],
        "gain_switch": "heaters:21",
    },
    "readout": {
        "kind": "iq",
        "in_phase": ["detectors:0-3"],
        "quadrature": ["detectors:4-7"],
        "bits": 14,
    },
    "settle": {"tolerance": 0.002},
    "calibration": {"crosstalk": [0.05, 0.01], "coupling_maximum": 3.0},
    "virtual_lab": {"source_bits": 16},
}


def content(**tables: dict[str, Any]) -> dict[str, Any]:
    """Return the rig's tables; keywords replace keys of a table, None takes one away."""
    made = copy.deepcopy(CONTENT)
    for name, table in tables.items():
        merged = {**made.get(name, {}), **table}
        made[name] = {key: value for key, value in merged.items() if value is not None}
    return made


def parameters_of(network: Any, seed: int = 1, coupling: float = 1.0) -> Parameters:
    """Return random parameters well inside the sample rig's range."""
    rng = np.random.default_rng(seed)
    bias = np.zeros(network.n_nodes, dtype=complex)
    n = len(network.free)
    bias[network.free] = 0.3 * rng.normal(size=n) + 0.3j * rng.normal(size=n)
    return Parameters(coupling * rng.uniform(-1, 1, network.n_couplings), bias)


def apart(one: Any, other: Any) -> float:
    """Return the largest distance of angles."""
    return float(np.abs(np.angle(np.exp(1j * (np.asarray(one) - np.asarray(other))))).max())
