"""Time of one training step on a rig over the virtual lab: write, settle, read, compute, wire.

    python benchmarks/rig_step.py                     # real time, as the instruments take it
    python benchmarks/rig_step.py --clock transaction # as fast as the simulators answer

The wire's share is the time spent inside the transports (bytes under way and instruments at
work) of the whole step: 1 would be a controller that costs nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from eqp_hw.drivers.rig.substrate import RigSubstrate
from eqp_hw.drivers.transports.interface import Transport
from eqp_hw.experiment.assemble import Experiment
from eqp_hw.rig.load import load_rig
from eqp_hw.sim_backends.virtual_lab.process import TwinProcess

EXAMPLES = Path(__file__).parents[1] / "examples"


class Stopwatch:
    """Adds up the time spent in methods; of nested ones only the outermost counts."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)
        self._inside: set[str] = set()

    def watch(self, owner: Any, method: str, key: str) -> None:
        original = getattr(owner, method)

        def timed(*arguments: Any, **options: Any) -> Any:
            if key in self._inside:
                return original(*arguments, **options)
            self._inside.add(key)
            started = time.perf_counter()
            try:
                return original(*arguments, **options)
            finally:
                self._inside.discard(key)
                self.spent[key] += time.perf_counter() - started

        setattr(owner, method, timed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clock", choices=("real", "transaction"), default="real")
    parser.add_argument("--samples", type=int, default=16)
    chosen = parser.parse_args()
    rig = load_rig(EXAMPLES / "rigs" / "heater_array.toml")
    watch = Stopwatch()
    with (
        TwinProcess(rig, clock=chosen.clock) as twin,
        RigSubstrate.open(rig.with_addresses(twin.addresses)) as substrate,
    ):
        experiment = Experiment.load(EXAMPLES / "iris.toml")
        parts = replace(experiment.parts, substrate=substrate)
        assembly = replace(experiment, parts=parts).build()
        rows = assembly.task.split.train[: chosen.samples]
        inputs, targets = assembly.task.inputs[rows], assembly.task.targets[rows]
        substrate.write_parameters(assembly.initial)
        assembly.controller.gradient(inputs[:2], targets[:2], (0,))
        for method in ("write", "read_until", "read_exactly", "drain"):
            watch.watch(Transport, method, "wire")
        optics = substrate.optics
        for method, key in (
            ("apply", "write"),
            ("switch_gain", "reset"),
            ("settle", "settle"),
            ("read", "read"),
        ):
            watch.watch(optics, method, key)
        started = time.perf_counter()
        substrate.write_parameters(assembly.initial.map(lambda part: 1.01 * part))
        assembly.controller.gradient(inputs, targets, (1,))
        total = time.perf_counter() - started
    wire = watch.spent.pop("wire")
    compute = total - sum(watch.spent.values())
    figures = {f"{key}_s": round(value, 4) for key, value in watch.spent.items()}
    figures |= {"compute_s": round(compute, 4), "total_s": round(total, 4)}
    print(
        json.dumps(
            {
                "clock": chosen.clock,
                "samples": chosen.samples,
                **figures,
                "wire_share": round(wire / total, 3),
            }
        )
    )


if __name__ == "__main__":
    main()
