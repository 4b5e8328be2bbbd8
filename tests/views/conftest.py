"""Run files with synthetic but consistent content, written and read by the real records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eqp_hw.network.builders import all_to_all
from eqp_hw.network.graph import Network
from eqp_hw.physics.parameters import Parameters
from eqp_hw.records.reader import RunData, read_run
from eqp_hw.records.rows import EpochRow, StepRow, columns
from eqp_hw.records.run_file import RunWriter

MakeRun = Callable[..., RunData]


def _row(kind: type[Any], **given: Any) -> Any:
    zero = {c.name: c.dtype.type(0).item() for c in columns(kind)}
    return kind(**{**zero, **given})


def parameters(network: Network, rng: np.random.Generator) -> Parameters:
    bias = np.zeros(network.n_nodes, complex)
    bias[network.free] = rng.normal(size=len(network.free))
    return Parameters(rng.normal(size=network.n_couplings), bias)


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(
        network: Network | None = None,
        *,
        name: str = "a run",
        epochs: int = 6,
        steps_per_epoch: int = 2,
        extra_steps: int = 0,
        snapshots: bool = True,
        finished: bool = True,
        validation: bool = True,
        class_names: tuple[str, ...] = ("no", "yes"),
        experiment: str = '[task]\nkind = "xor"\n',
        result: dict[str, Any] | None = None,
        step: dict[str, Any] | None = None,
        provenance: dict[str, Any] | None = None,
        file: str = "run.h5",
    ) -> RunData:
        net = all_to_all(5, [0, 1], [4]) if network is None else network
        rng = np.random.default_rng(5)
        nan = float("nan")
        path = tmp_path / file
        moments = {0, epochs // 2, epochs} if snapshots else set()
        with RunWriter.create(
            path,
            experiment=experiment,
            resolved={"name": name, "derived": {"class_names": list(class_names)}},
            provenance=provenance or {"eqp_hw": "0.1.0", "started": "2026-01-01T00:00:00+00:00"},
            network=net,
        ) as writer:
            number = 0

            def one_step(epoch: int) -> None:
                nonlocal number
                number += 1
                values = {
                    "cost": 1 / number,
                    "distance": 0.5 / number,
                    "accuracy": 0.5,
                    "residual_max": 1e-12,
                    "displacement_max": 0.1,
                    "n_samples": 4,
                    "duration_free_s": 0.2,
                    "duration_nudged_s": 0.1,
                    "duration_total_s": 0.4,
                    "hops": number % 2,
                }
                writer.record_step(
                    _row(StepRow, step=number, epoch=epoch, **{**values, **(step or {})})
                )

            def snapshot(epoch: int) -> None:
                held = parameters(net, rng)
                writer.record_parameters(epoch, number, held, held)
                chi = np.exp(-rng.uniform(0, 4, (net.n_nodes, len(net.outputs))))
                chi[net.inputs] = 0
                writer.record_response(epoch, number, chi)
                phases = rng.uniform(-np.pi, np.pi, (4, net.n_nodes))
                targets = np.full((4, len(net.outputs)), np.pi / 2)
                writer.record_phases(epoch, number, phases, targets, np.array([0, 0, 1, 1]))

            if 0 in moments:
                snapshot(0)
            for epoch in range(1, epochs + 1):
                for _ in range(steps_per_epoch):
                    one_step(epoch)
                seen = 0.5 + 0.4 * epoch / epochs if validation else nan
                writer.record_epoch(
                    _row(
                        EpochRow,
                        epoch=epoch,
                        step=number,
                        train_cost=1 / epoch,
                        train_distance=0.5 / epoch,
                        train_accuracy=0.6,
                        validation_cost=seen,
                        validation_distance=seen,
                        validation_accuracy=seen,
                        learning_rate=0.1,
                        duration_s=1.0,
                    )
                )
                if epoch in moments:
                    snapshot(epoch)
            for _ in range(extra_steps):
                one_step(epochs + 1)
            if finished:
                summary = {"test_accuracy": 0.75, "final_cost": 0.01, "selected_epoch": epochs}
                k = len(class_names)
                confusion = np.arange(k * k).reshape(k, k)
                writer.finish({**summary, **(result or {})}, confusion=confusion)
        return read_run(path)

    return make
