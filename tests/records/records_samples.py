"""Rows, networks and parameters whose values follow from their number, so that tests know them."""

import dataclasses
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np

from eqp_hw.network.graph import Network
from eqp_hw.physics.parameters import Parameters
from eqp_hw.records.rows import EpochRow, StepRow, columns
from eqp_hw.records.run_file import RunWriter

HERE = Path(__file__).parent

EXPERIMENT = '[task]\nname = "xor"  # Grüße\n'
RESOLVED = {"task": {"name": "xor", "seeds": [1, 2], "rate": 0.1}}
PROVENANCE = {"eqp_hw": "test", "seeds": {"start": 2**70}}


def make_network() -> Network:
    return Network.create(
        5,
        [[0, 1], [1, 2], [2, 3], [3, 4], [0, 4], [1, 3]],
        [0, 1],
        [4, 3],
        coupling_group=[0, 1, 2, 2, 3, 3],
        group_kind=[0, 0, 1, 1],
        kind_names=("near", "far"),
        positions=np.arange(15.0).reshape(5, 3),
        layer=[0, 0, 1, 1, 2],
        name="a small graph",
    )


def create_run(path: Path, **options: bool) -> RunWriter:
    return RunWriter.create(
        path,
        experiment=EXPERIMENT,
        resolved=RESOLVED,
        provenance=PROVENANCE,
        network=make_network(),
        **options,
    )


def _values(row_class: type, key: int) -> dict[str, float | int]:
    return {
        column.name: key * 31 + place if column.dtype.kind == "i" else np.sqrt(key * 31.0 + place)
        for place, column in enumerate(columns(row_class))
    }


@cache
def step_row(step: int, epoch: int = 0) -> StepRow:
    return StepRow(**{**_values(StepRow, step), "step": step, "epoch": epoch})


@cache
def epoch_row(epoch: int, step: int) -> EpochRow:
    return EpochRow(**{**_values(EpochRow, epoch), "epoch": epoch, "step": step})


def parameters(number: int, *, directed: bool = False) -> Parameters:
    rng = np.random.default_rng(number)
    coupling, reverse = rng.normal(size=(2, 4))
    bias = rng.normal(size=5) + 1j * rng.normal(size=5)
    return Parameters(coupling, bias, reverse if directed else None)


def assert_rows(stored: dict[str, np.ndarray], rows: list[StepRow] | list[EpochRow]) -> None:
    names = [f.name for f in dataclasses.fields(StepRow if "cost" in stored else EpochRow)]
    assert list(stored) == names
    for name in names:
        np.testing.assert_array_equal(stored[name], [getattr(row, name) for row in rows])


def assert_parameters(stored: Parameters, expected: Parameters) -> None:
    np.testing.assert_array_equal(stored.flatten(), expected.flatten())
    assert stored.directed == expected.directed


def run_python(code: str, *arguments: object) -> str:
    """Run ``code`` in another process; return what it prints."""
    preamble = f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", preamble + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout
