"""Is the emulator's equilibrium the one that the physical flow reaches? Four measurements.

    python benchmarks/exactness.py                  # against DOP853; exit 1 if a bound fails
    python benchmarks/exactness.py --part trade     # other basins and cost against tolerance
    python benchmarks/exactness.py --part hops      # the fast hop test against the certified one
    python benchmarks/exactness.py --part shortcuts # where SciPy's minimisers end instead

Four kinds of random instances (`KINDS`), parameters and inputs as in arXiv 2402.08579. One draw of
couplings and bias serves --per-draw samples, each with inputs and a start of its own. The figures
in docs/exactness.md come from here.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from independent_flow import OPEN, OTHER, SAME, XYFlow, follow_branch, judge
from scipy.optimize import minimize

from eqp_hw.network.builders import all_to_all, layered, square_lattice
from eqp_hw.network.graph import Network
from eqp_hw.network.initial import initial_parameters
from eqp_hw.physics.parameters import Parameters
from eqp_hw.sim_backends.emulator import EmulatorOptions, XYEmulator
from eqp_hw.substrate import SettleStatus

KINDS: Final[dict[str, tuple[Network, dict[str, Any]]]] = {
    "lattice 10x10": (square_lattice(10, 10), {"coupling": "normal", "bias": "normal"}),
    "5x5, skips 2 3": (
        square_lattice(5, 5, inputs=[[0, 0], [0, 1]], outputs=[[4, 4]], skips=[2, 3]),
        {"coupling": "normal", "bias": "normal"},
    ),
    "layered 8-20-5": (layered([8, 20, 5]), {"coupling": "fan"}),
    "all-to-all 20": (
        all_to_all(20, 2, 1),
        {"coupling": "symmetrised-normal", "bias": "uniform"},
    ),
}

LARGEST_RESIDUAL: Final = 1e-10
LARGEST_OTHER_SHARE: Final = 1e-3
LARGEST_BATCH_EFFECT: Final = 1e-12
APART: Final = 1e-6
"""Two polished equilibria farther apart than this (rad) are different ones."""


@dataclass(frozen=True)
class Instances:
    """Samples that share one draw of parameters."""

    network: Network
    parameters: Parameters
    inputs: np.ndarray
    seed: int

    def start(self) -> np.ndarray:
        """The free phases that `Substrate.reset` sets, (batch, n_free)."""
        shape = (len(self.inputs), len(self.network.free))
        return np.random.default_rng(self.seed).uniform(-np.pi, np.pi, shape)

    def flow(self) -> XYFlow:
        return XYFlow(
            self.network.n_nodes,
            self.network.edges,
            self.parameters.coupling[self.network.coupling_group],
            self.parameters.bias,
            self.network.inputs,
            self.inputs,
        )

    def emulator(self, options: EmulatorOptions, batch: int | None = None) -> XYEmulator:
        """An emulator at the random start of the first ``batch`` samples."""
        emulator = XYEmulator(self.network, options)
        emulator.write_parameters(self.parameters)
        emulator.set_inputs(self.inputs[:batch])
        emulator.reset(self.seed)
        return emulator


def draws(kind: str, count: int, per_draw: int, seed: int) -> Iterator[Instances]:
    network, scheme = KINDS[kind]
    for draw in range(0, count, per_draw):
        rng = np.random.default_rng([seed, list(KINDS).index(kind), draw])
        parameters = initial_parameters(network, rng, **scheme)
        shape = (min(per_draw, count - draw), len(network.inputs))
        inputs = rng.uniform(-np.pi / 2, np.pi / 2, shape)
        yield Instances(network, parameters, inputs, int(rng.integers(2**63)))


def ends(emulator: XYEmulator) -> np.ndarray:
    return emulator.read_phases().phases[:, emulator.network.free]


def apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Largest difference of phases, modulo 2π, of each sample."""
    return np.abs(np.angle(np.exp(1j * (a - b)))).max(axis=1)


def against_flow(kind: str, args: argparse.Namespace) -> dict[str, Any]:
    """Compare with the independent flow."""
    options = EmulatorOptions(tolerance=args.tolerance, engine=args.engine, threads=1)
    counts = {SAME: 0, OTHER: 0, OPEN: 0}
    residual, lowest, effect = 0.0, np.inf, 0.0
    unsettled, certified, steps, cpu, flow_cpu, evaluations = 0, 0, 0, 0.0, 0.0, 0
    different = []
    longest = 0.0
    for number, given in enumerate(draws(kind, args.instances, args.per_draw, args.seed)):
        emulator = given.emulator(options)
        began = time.process_time()
        outcome = emulator.settle()
        cpu += time.process_time() - began
        phases, flow = ends(emulator), given.flow()
        single = given.emulator(options, 1)
        single.settle()
        effect = max(effect, float(np.abs(ends(single)[0] - phases[0]).max()))
        unsettled += int((outcome.status != SettleStatus.EQUILIBRIUM).sum())
        certified += int(outcome.certified.sum())
        steps += int(outcome.steps.sum())
        residual = max(residual, float(np.abs(flow.force(phases)).max()))
        for row, state in enumerate(phases):
            lowest = min(lowest, flow.smallest_eigenvalue(state, row))
        began = time.process_time()
        verdict = judge(flow, given.start(), phases)
        flow_cpu += time.process_time() - began
        evaluations += verdict.evaluations
        longest = max(longest, float(verdict.time.max()))
        for basin in counts:
            counts[basin] += int((verdict.basin == basin).sum())
        for row in np.flatnonzero(verdict.basin != SAME):
            different.append({"kind": kind, "draw": number, "sample": int(row)})
            different[-1] |= appeal(given, int(row), phases[row])
    return {
        "kind": kind,
        "instances": args.instances,
        "same": counts[SAME],
        "other": counts[OTHER],
        "undecided": counts[OPEN],
        "unsettled": unsettled,
        "certified": certified,
        "worst_residual": residual,
        "smallest_eigenvalue": lowest,
        "batch_effect": effect,
        "steps": steps / args.instances,
        "ms": 1e3 * cpu / args.instances,
        "flow_ms": 1e3 * flow_cpu / args.instances,
        "flow_evaluations": evaluations / args.instances,
        "longest_flow": longest,
        "different": different,
    }


def appeal(given: Instances, row: int, phases: np.ndarray) -> dict[str, str]:
    """Decide again, far tighter, where the flow did not end in the emulator's state."""
    # The tightest emulator must agree with the flow; else the judge itself is in doubt.
    emulator = given.emulator(EmulatorOptions(tolerance=1e-9, threads=1))
    emulator.settle()
    return {
        "flow_at_1e-13_against_this": judge_one(given, row, phases),
        "flow_at_1e-13_against_tolerance_1e-9": judge_one(given, row, ends(emulator)[row]),
    }


def judge_one(given: Instances, row: int, phases: np.ndarray) -> str:
    """Judge one sample with the independent flow at its tightest."""
    alone = Instances(given.network, given.parameters, given.inputs[row : row + 1], given.seed)
    start = given.start()[row : row + 1]
    basin = judge(alone.flow(), start, phases[None], rtol=1e-13, atol=1e-14).basin[0]
    return {SAME: "same", OTHER: "other", OPEN: "undecided"}[int(basin)]


def trade(kind: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Other basins and cost at several tolerances, against tolerance 1e-8.

    Where a setting differs from 1e-8, the independent flow decides; "confirmed" counts the
    samples in which it ends where 1e-8 does.
    """
    settings = [(t, False) for t in args.tolerances] + [(t, True) for t in args.paranoid]
    settings.append((1e-8, False))
    rows = {
        setting: {"kind": kind, "tolerance": setting[0], "paranoid": setting[1]}
        | {"instances": args.instances, "other": 0, "confirmed": 0, "steps": 0.0, "ms": 0.0}
        for setting in settings
    }
    for given in draws(kind, args.instances, args.per_draw, args.seed):
        reference = None
        for setting in reversed(settings):
            tolerance, paranoid = setting
            emulator = given.emulator(
                EmulatorOptions(tolerance=tolerance, paranoid=paranoid, threads=1)
            )
            began = time.process_time()
            outcome = emulator.settle()
            row = rows[setting]
            row["ms"] += 1e3 * (time.process_time() - began) / args.instances
            row["steps"] += float(outcome.steps.sum()) / args.instances
            phases = ends(emulator)
            reference = phases if reference is None else reference
            different = np.flatnonzero(apart(phases, reference) > APART)
            row["other"] += len(different)
            for sample in different:
                verdict = judge_one(given, int(sample), reference[sample])
                row["confirmed"] += verdict == "same"
    return list(rows.values())


def hops(kind: str, args: argparse.Namespace) -> dict[str, Any]:
    """The hop test by Newton continuation against the certified one, on nudged samples.

    "wrong_state" counts nudged states that are not where the independent flow ends. The branch of
    each sample is traced again in small steps by the independent code, which decides what is a
    hop; "at_once" counts samples that needed no flow.
    """
    row: dict[str, Any] = {"kind": kind, "nudged": args.instances, "at_once": 0, "wrong_state": 0}
    row |= {"hops": 0, "found": 0, "false": 0, "certified_found": 0, "certified_false": 0}
    cpu = {"newton": 0.0, "certified": 0.0, "free": 0.0}
    for given in draws(kind, args.instances, args.per_draw, args.seed):
        rng = np.random.default_rng(given.seed)
        batch, sites = len(given.inputs), given.network.free_index[given.network.outputs]
        strength = 10 ** rng.uniform(-2, 0, (batch, 1))
        nudge = strength * np.exp(1j * rng.uniform(-np.pi, np.pi, (batch, len(sites))))
        outcomes, free, states = {}, np.empty(0), np.empty(0)
        for test in ("newton", "certified"):
            emulator = given.emulator(
                EmulatorOptions(hop_test=test, threads=1, nudge_sites="outputs")
            )
            began = time.process_time()
            emulator.settle()
            cpu["free"] += (time.process_time() - began) / 2
            free = ends(emulator)
            emulator.apply_nudge(nudge)
            began = time.process_time()
            outcomes[test] = emulator.settle()
            cpu[test] += time.process_time() - began
            states = ends(emulator)
        quiet, nudged = given.flow(), given.flow()
        nudged.field[:, sites] += nudge
        row["wrong_state"] += int((judge(nudged, free, states).basin != SAME).sum())
        row["at_once"] += int((outcomes["newton"].steps == 0).sum())
        fast, proof = outcomes["newton"].hop, outcomes["certified"].hop
        for k in range(batch):
            end = follow_branch(quiet, free[k], nudged.field[k], k)
            hop = not apart(end[None], states[k : k + 1])[0] < APART
            row["hops"] += hop
            row["found"] += hop and bool(fast[k])
            row["false"] += not hop and bool(fast[k])
            row["certified_found"] += hop and bool(proof[k])
            row["certified_false"] += not hop and bool(proof[k])
    row |= {f"{name}_ms": 1e3 * seconds / args.instances for name, seconds in cpu.items()}
    return row


def shortcuts(kind: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """SciPy's minimisers from the same starts: the share that ends in another minimum."""
    methods = {"L-BFGS-B": {"ftol": 0.0, "gtol": 1e-7, "maxiter": 100_000}, "CG": {"gtol": 1e-6}}
    rows = {name: {"kind": kind, "method": name, "other": 0, "ms": 0.0} for name in methods}
    for given in draws(kind, args.instances, args.per_draw, args.seed):
        emulator = given.emulator(EmulatorOptions(threads=1))
        emulator.settle()
        flow, start, physical = given.flow(), given.start(), ends(emulator)
        for name, settings in methods.items():
            for k, begin in enumerate(start):
                began = time.process_time()
                end = minimize(
                    flow.energy,
                    begin,
                    args=(k,),
                    jac=lambda x, k, flow=flow: -flow.force(x[None], np.array([k]))[0],
                    method=name,
                    options=settings,
                ).x
                rows[name]["ms"] += 1e3 * (time.process_time() - began) / args.instances
                # Minimisers stop short of rounding level; other minima are not that close.
                rows[name]["other"] += int(apart(end[None], physical[k : k + 1])[0] > 1e-2)
    return [row | {"share": row["other"] / args.instances} for row in rows.values()]


def failures(rows: list[dict[str, Any]]) -> list[str]:
    """Which bounds were missed."""
    total = sum(row["instances"] for row in rows)
    wrong = sum(row["other"] + row["undecided"] for row in rows)
    found = []
    if wrong > LARGEST_OTHER_SHARE * total:
        found.append(f"{wrong} of {total} not in the basin of the flow")
    for row in rows:
        if not row["worst_residual"] <= LARGEST_RESIDUAL:
            found.append(f"{row['kind']}: residual {row['worst_residual']:.1e}")
        if not row["smallest_eigenvalue"] > 0:
            found.append(f"{row['kind']}: a saddle, {row['smallest_eigenvalue']:.1e}")
        if row["unsettled"]:
            found.append(f"{row['kind']}: {row['unsettled']} not settled")
        if not row["batch_effect"] <= LARGEST_BATCH_EFFECT:
            found.append(f"{row['kind']}: batched and single differ by {row['batch_effect']:.1e}")
    return found


@dataclass(frozen=True)
class Part:
    """A measurement, with its default size."""

    measure: Callable[[str, argparse.Namespace], Any]
    instances: int
    per_draw: int


PARTS: Final = {
    "flow": Part(against_flow, 250, 10),
    "trade": Part(trade, 4000, 40),
    "hops": Part(hops, 400, 40),
    "shortcuts": Part(shortcuts, 200, 10),
}


def show(rows: list[dict[str, Any]]) -> None:
    names = [name for name in rows[0] if name != "different"]
    cells = [names] + [[_text(row[name]) for name in names] for row in rows]
    widths = [max(len(line[k]) for line in cells) for k in range(len(names))]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", choices=tuple(PARTS), default="flow")
    defaults = ", ".join(f"{name} {part.instances}" for name, part in PARTS.items())
    parser.add_argument("--instances", type=int, help=f"of each kind (default: {defaults})")
    parser.add_argument("--per-draw", type=int, help="samples that share one draw of parameters")
    parser.add_argument("--tolerance", type=float, default=3e-3, help="of the emulator (flow)")
    parser.add_argument(
        "--engine", choices=("auto", "native", "krylov", "reference"), default="auto", help="flow"
    )
    parser.add_argument(
        "--tolerances", type=float, nargs="+", default=[1e-2, 3e-3, 1e-3, 1e-4, 1e-5]
    )
    parser.add_argument(
        "--paranoid", type=float, nargs="*", default=[3e-3], help="tolerances of paranoid mode"
    )
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one line of JSON a row")
    args = parser.parse_args()
    args.instances = args.instances or PARTS[args.part].instances
    args.per_draw = args.per_draw or PARTS[args.part].per_draw
    rows: list[dict[str, Any]] = []
    for kind in args.kinds:
        result = PARTS[args.part].measure(kind, args)
        new = result if isinstance(result, list) else [result]
        rows += new
        if args.json:
            print("\n".join(json.dumps(row) for row in new), flush=True)
    if not args.json:
        show(rows)
        for item in (item for row in rows for item in row.get("different", [])):
            print(item)
    if args.part != "flow":
        return 0
    missed = failures(rows)
    print("\n".join(missed) or "all bounds hold", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
