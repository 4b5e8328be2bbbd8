"""Which rig a calibration belongs to: its instruments' serial numbers, and what is wired how."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from eqp_hw.rig.load import Rig

__all__ = ["differing_instruments", "differing_wiring", "shortened", "wiring_of"]

Wired = Mapping[str, Any]


def wiring_of(rig: Rig) -> dict[str, Any]:
    """Return what must be the same for a calibration to mean anything, fit for JSON.

    Roles and channels, the read-out, and the graph; not limits, waits and nominal figures.
    """
    wiring, network = rig.wiring, rig.network
    content: dict[str, Any] = {}
    for item in dataclasses.fields(wiring):
        value = getattr(wiring, item.name)
        if value is None:
            content[item.name] = None
        elif isinstance(value, tuple):
            content[item.name] = [str(channel) for channel in value]
        else:
            content[item.name] = str(value)
    graph = [
        network.n_nodes,
        network.edges.tolist(),
        network.coupling_group.tolist(),
        network.inputs.tolist(),
        network.outputs.tolist(),
    ]
    content["readout"] = rig.settings.readout.kind
    content["nodes"] = network.n_nodes
    content["bonds"] = network.n_edges
    content["network"] = hashlib.sha256(json.dumps(graph).encode()).hexdigest()
    return content


def differing_wiring(theirs: Wired, ours: Wired) -> str | None:
    """Return in words what a calibration was wired as and what the rig is, None where equal."""
    for key in dict.fromkeys([*ours, *theirs]):
        one, other = theirs.get(key), ours.get(key)
        if one == other:
            continue
        if key == "network":
            return "bonds, couplings or roles of the nodes are others"
        if isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return f"{key}: {len(one)} channels then, {len(other)} now"
            k = next(k for k in range(len(one)) if one[k] != other[k])
            return f"{key}[{k}]: {one[k]} then, {other[k]} now"
        return f"{key}: {one} then, {other} now"
    return None


def differing_instruments(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str | None:
    """Return in words which instrument is another one, None where all are the same."""
    for name in dict.fromkeys([*ours, *theirs]):
        one, other = theirs.get(name), ours.get(name)
        if one != other:
            return f"{name}: {shortened(one, other)} then, {shortened(other, one)} now"
    return None


def shortened(identity: str | None, other: str | None) -> str:
    """Return an identity; of a long list (a chain of modules) the first that differs."""
    if identity is None:
        return "nothing"
    parts, others = identity.split(","), (other or "").split(",")
    if len(identity) <= 48 or other is None:
        return identity
    k = next((k for k, part in enumerate(parts) if others[k : k + 1] != [part]), 0)
    return f"{parts[k]} ({k + 1} of {len(parts)})"
