"""Where the time of a calibration goes: a lattice of 64 phases and 112 bonds, wires in real time.

    python benchmarks/calibration_wire.py                        # all steps
    python benchmarks/calibration_wire.py --only resistance,readout

Held to: at least 0.9 of the time is spent on the wires and waiting for the detectors to settle.
Fits, files and our own arithmetic are the rest; processor time, drivers included, is printed too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from eqp_hw.calibration.procedure import calibrate
from eqp_hw.experiment.toml_file import render_toml
from eqp_hw.rig.calibrations import CalibrateOptions, StepResult, Watcher
from eqp_hw.rig.load import load_rig
from eqp_hw.sim_backends.virtual_lab.process import TwinProcess

AIM = 0.9


def tables(side: int) -> dict[str, Any]:
    n, bonds, inputs, outputs = side**2, 2 * side * (side - 1), 4, 3
    free, wiring, end = n - inputs, {}, 0
    for name, count in (
        ("couplings", bonds),
        ("inputs", inputs),
        ("bias_amplitude", free),
        ("bias_phase", free),
        ("nudge_amplitude", outputs),
        ("nudge_phase", outputs),
    ):
        wiring[name] = [f"heaters:{end}-{end + count - 1}"]
        end += count
    return {
        "rig": {"name": f"lattice-{side}x{side}"},
        "network": {
            "kind": "lattice",
            "rows": side,
            "columns": side,
            "inputs": inputs,
            "outputs": outputs,
        },
        "instruments": {
            "heaters": {
                "kind": "qontrol",
                "address": "serial:/dev/ttyUSB0",
                "modules": end // 8 + 1,
                "resistance_ohm": 500.0,
                "limits": {"voltage_V": 8.0, "power_W": 0.13},
            },
            "digitiser": {
                "kind": "scpi-digitiser",
                "address": "tcp:127.0.0.1:5025",
                "channels": 2 * free,
            },
        },
        "wiring": wiring | {"gain_switch": f"heaters:{end}"},
        "readout": {
            "kind": "iq",
            "in_phase": [f"digitiser:0-{free - 1}"],
            "quadrature": [f"digitiser:{free}-{2 * free - 1}"],
            "samples": 4,
        },
        "settle": {"tolerance": 0.002},
        "calibration": {"crosstalk": [0.02, 0.004], "readout_noise": 0.001},
        "virtual_lab": {"detector_noise_V": 0.002, "detector_bits": 16, "phase_offset_spread": 0.3},
    }


class Lines(Watcher):
    def on_result(self, result: StepResult) -> None:
        print(f"{result.name}: {result.seconds:.1f} s, {result.detail[:90]}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=8)
    parser.add_argument("--only", default="")
    parser.add_argument("--clock", choices=["real", "transaction"], default="real")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rig.toml"
        path.write_text(render_toml(tables(given.side)), encoding="utf-8")
        rig = load_rig(path)
        print(f"{rig.network.n_nodes} phases, {rig.network.n_edges} bonds")
        options = CalibrateOptions(only=tuple(filter(None, given.only.split(","))), guarded=False)
        with TwinProcess(rig, truth_seed=1, clock=given.clock) as twin:
            outcome = calibrate(rig.with_addresses(twin.addresses), options, Lines())
    time_s = dict(outcome.time_s)
    total = time_s["transport"] + time_s["settling"] + time_s["computing"]
    share = 1 - time_s["computing"] / total
    found = {name: round(value, 2) for name, value in time_s.items()}
    print(json.dumps({"seconds": round(total, 1), "wire_share": round(share, 3), **found}))
    return 0 if share >= AIM else 1


if __name__ == "__main__":
    sys.exit(main())
