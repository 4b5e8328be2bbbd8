"""Relaxation of square lattices of 10² … 10⁶ free nodes from random phases.

Prints time, steps, iterations, residual, smallest eigenvalue and peak memory of each size, and
the exponent of time against N. Each size runs in a process of its own, so that the peak memory
is its own.

    python benchmarks/large_lattice.py --max-nodes 100000
    python benchmarks/large_lattice.py --max-nodes 10000 --engine native

Networks: open square lattice; J ~ N(0, 1) a bond, h ~ N(0, 1), ψ ~ U(−π, π); with --ferromagnet
J = 1 and h ~ N(0, 0.1²).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

from eqp_hw.sim_backends.relaxation.interface import (
    Bonds,
    RelaxationEngine,
    RelaxationOptions,
    RelaxationStatus,
)

COLUMNS = (
    ("nodes", "nodes", "{:>8d}"),
    ("seconds", "seconds", "{:>9.3g}"),
    ("cpu_seconds", "CPU s", "{:>9.3g}"),
    ("setup_seconds", "setup s", "{:>8.3g}"),
    ("steps", "steps", "{:>6d}"),
    ("rejected", "rej.", "{:>5d}"),
    ("iterations", "CG it.", "{:>8d}"),
    ("factorisations", "factors", "{:>8d}"),
    ("flow_time", "flow t", "{:>9.3g}"),
    ("status", "status", "{:>12s}"),
    ("certified", "certified", "{:>10s}"),
    ("residual", "residual", "{:>9.1e}"),
    ("smallest_eigenvalue", "mu", "{:>9.2e}"),
    ("peak_GiB", "peak GiB", "{:>9.2f}"),
)


def lattice(
    side: int, ferromagnet: bool, seed: int
) -> tuple[Bonds, np.ndarray, np.ndarray, np.ndarray]:
    """Return bonds, couplings, field (1, n) and random start (1, n)."""
    rng = np.random.default_rng(seed)
    node = np.arange(side * side).reshape(side, side)
    across = np.stack([node[:, :-1].ravel(), node[:, 1:].ravel()], axis=1)
    down = np.stack([node[:-1].ravel(), node[1:].ravel()], axis=1)
    edges = np.concatenate([across, down]).astype(np.int64)
    coupling = np.ones(len(edges)) if ferromagnet else rng.normal(size=len(edges))
    strength = rng.normal(size=node.size) * (0.1 if ferromagnet else 1.0)
    field = strength * np.exp(1j * rng.uniform(-np.pi, np.pi, node.size))
    start = rng.uniform(-np.pi, np.pi, (1, node.size))
    return Bonds(node.size, edges), coupling, field[None], start


def make_engine(name: str, bonds: Bonds) -> RelaxationEngine:
    if name == "native":
        from eqp_hw.sim_backends.relaxation.native_engine import NativeEngine

        return NativeEngine(bonds)
    from eqp_hw.sim_backends.relaxation.krylov_engine import KrylovEngine

    return KrylovEngine(bonds, factor_bytes=0.0) if name == "iterative" else KrylovEngine(bonds)


def measure(side: int, args: argparse.Namespace) -> dict[str, Any]:
    bonds, coupling, field, start = lattice(side, args.ferromagnet, args.seed)
    options = RelaxationOptions(threads=args.threads, tolerance=args.tolerance)
    began = time.perf_counter()
    engine = make_engine(args.engine, bonds)
    setup = time.perf_counter() - began
    began, cpu = time.perf_counter(), time.process_time()
    result = engine.relax(coupling, field, start, options)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    report = getattr(engine, "report", None)
    return {
        "nodes": bonds.n,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "setup_seconds": setup,
        "steps": int(result.steps[0]),
        "rejected": int(result.rejected[0]),
        "iterations": int(report.iterations[0]) if report is not None else 0,
        "factorisations": int(result.factorisations[0]),
        "flow_time": float(report.flow_time[0]) if report is not None else float("nan"),
        "status": RelaxationStatus(int(result.status[0])).name.lower(),
        "certified": str(bool(result.certified[0])),
        "residual": float(result.residual[0]),
        "smallest_eigenvalue": float(engine.smallest_eigenvalue(coupling, field, result.phases)[0]),
        "peak_GiB": peak,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--max-nodes", type=int, default=100_000)
    parser.add_argument("--min-nodes", type=int, default=100)
    parser.add_argument("--ferromagnet", action="store_true")
    parser.add_argument("--engine", choices=("krylov", "iterative", "native"), default="krylov")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--tolerance", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one line of JSON a size")
    parser.add_argument("--side", type=int, help="measure this size in this process")
    args = parser.parse_args()
    if args.side is not None:
        print(json.dumps(measure(args.side, args)))
        return
    rows = []
    if not args.json:
        print(
            " ".join(
                form.format(title) if form[-2] == "s" else _pad(form, title)
                for _, title, form in COLUMNS
            ),
            flush=True,
        )
    for exponent in range(2, 7):
        nodes = 10**exponent
        if not args.min_nodes <= nodes <= args.max_nodes:
            continue
        side = round(nodes**0.5)
        command = [sys.executable, __file__, *sys.argv[1:], "--side", str(side)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        row = json.loads(done.stdout.strip().splitlines()[-1])
        rows.append(row)
        line = " ".join(form.format(row[key]) for key, _, form in COLUMNS)
        print(json.dumps(row) if args.json else line, flush=True)
    if len(rows) > 1 and not args.json:
        sizes = np.log([row["nodes"] for row in rows])
        for key in ("seconds", "cpu_seconds"):
            slope = np.polyfit(sizes, np.log([row[key] for row in rows]), 1)[0]
            print(f"{key} grow as N^{slope:.2f}")


def _pad(form: str, title: str) -> str:
    width = int(form[3:-1].split(".", maxsplit=1)[0].rstrip("dsgef"))
    return f"{title:>{width}s}"


if __name__ == "__main__":
    main()
