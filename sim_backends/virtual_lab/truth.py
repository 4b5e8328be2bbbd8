"""What the truth port answers, and the orders it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, final

import numpy as np
import numpy.typing as npt

from eqp_hw.errors import SubstrateError

from .faults import FaultKind, FaultPlan
from .plant.plant import Plant
from .wires.loop import EventLoop
from .wires.wire import Wire

__all__ = ["Truth"]


@final
class Truth:
    """Questions and orders by name.

    Complex arrays come as ``{"re": [...], "im": [...]}``, what is not a number as null.

    ==============  =========================================================================
    ask
    ==============  =========================================================================
    voltages        by channel ``"name:number"``, V
    phases          (N,) of all nodes, rad; null at free nodes while the gain is off
    couplings       ``forward`` and ``reverse`` (n_edges,), ``parameters`` (n_couplings,)
    inputs          (n_inputs,) rad
    bias            (N,) complex
    nudge           (n_outputs,) complex
    shifters        (n_heaters,) phases θ, rad
    state           time, gain, settled, residual, largest voltage, when one last changed
    truths          hidden figures, as in a calibration
    counts          transactions, bytes, connections and plugged by instrument
    faults          faults injected, by instrument and kind
    failures        exceptions of the simulators: bugs of the virtual lab
    ==============  =========================================================================

    ==============  =========================================================================
    do
    ==============  =========================================================================
    fault           ``instrument``, ``kind``: now (unplug, power-cycle) or to the next request
    faults          ``plan``: as `FaultPlan.to_json`, in place of the present one
    unplug          ``instrument``, ``for_s`` (null: until replugged)
    replug          ``instrument``
    elapse          ``seconds`` of plant time (transaction clock)
    ==============  =========================================================================
    """

    def __init__(self, plant: Plant, wires: Mapping[str, Wire], loop: EventLoop) -> None:
        self._plant = plant
        self._wires = wires
        self._loop = loop
        self._asks: dict[str, Callable[[], Any]] = {
            "voltages": plant.voltages,
            "phases": plant.phases,
            "couplings": self._couplings,
            "inputs": plant.inputs,
            "bias": plant.bias,
            "nudge": plant.nudge,
            "shifters": plant.shifter_phases,
            "state": plant.state,
            "truths": self._truths,
            "counts": self._counts,
            "faults": lambda: {name: dict(wire.faults.counts) for name, wire in wires.items()},
            "failures": lambda: list(loop.failures),
        }
        self._orders: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "fault": self._fault,
            "faults": self._use_plan,
            "unplug": self._unplug,
            "replug": lambda request: self._wire(request).plug(),
            "elapse": lambda request: plant.elapse(_number(request, "seconds")),
        }

    def answer(self, request: Mapping[str, Any]) -> Any:
        """Answer one request.

        Raises
        ------
        SubstrateError
            An unknown question, order, instrument or fault; names what is allowed.
        """
        if request.get("ask") in self._asks:
            return _plain(self._asks[request["ask"]]())
        if request.get("do") in self._orders:
            return _plain(self._orders[request["do"]](request))
        raise SubstrateError(
            f"{dict(request)!r}: neither a question nor an order (allowed: ask = "
            f"{', '.join(self._asks)}; do = {', '.join(self._orders)})"
        )

    def _counts(self) -> dict[str, Any]:
        return {
            name: {**asdict(wire.traffic), "plugged": wire.plugged}
            for name, wire in self._wires.items()
        }

    def _couplings(self) -> dict[str, Any]:
        forward, reverse = self._plant.couplings()
        parameters = self._plant.coupling_parameters()
        return {"forward": forward, "reverse": reverse, "parameters": parameters}

    def _truths(self) -> dict[str, Any]:
        truths = self._plant.truths
        figures = {item.name: getattr(truths.figures, item.name) for item in fields(truths.figures)}
        return figures | {
            "reciprocity": truths.reciprocity,
            "dead": sorted(str(channel) for channel in truths.dead),
        }

    def _wire(self, request: Mapping[str, Any]) -> Wire:
        name = str(request.get("instrument"))
        if name not in self._wires:
            raise SubstrateError(
                f"instrument = {name!r}: no such instrument (allowed: {', '.join(self._wires)})"
            )
        return self._wires[name]

    def _fault(self, request: Mapping[str, Any]) -> None:
        kind = request.get("kind")
        if kind not in {one.value for one in FaultKind}:
            raise SubstrateError(
                f"kind = {kind!r}: no such fault (allowed: {', '.join(FaultKind)})"
            )
        self._wire(request).inject(FaultKind(kind))

    def _use_plan(self, request: Mapping[str, Any]) -> None:
        content = request.get("plan")
        plan = FaultPlan.from_json(content if isinstance(content, dict) else {"plan": content})
        for wire in self._wires.values():
            wire.faults.use(plan)

    def _unplug(self, request: Mapping[str, Any]) -> None:
        given = request.get("for_s") is not None
        self._wire(request).unplug(_number(request, "for_s") if given else None)


def _number(request: Mapping[str, Any], key: str) -> float:
    value = request.get(key)
    if not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise SubstrateError(f"{key} = {value!r}: not a duration (allowed: 0 or more, s)")
    return float(value)


def _plain(value: Any) -> Any:
    """Return ``value`` in the types that JSON has."""
    if isinstance(value, np.ndarray):
        return _plain_array(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value


def _plain_array(array: npt.NDArray[Any]) -> Any:
    if np.iscomplexobj(array):
        return {"re": array.real.tolist(), "im": array.imag.tolist()}
    if np.isfinite(array).all():
        return array.tolist()
    return _plain(array.tolist())
