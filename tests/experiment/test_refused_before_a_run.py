"""What has no effect, or cannot be made, is refused before there is a run file."""

from __future__ import annotations

from pathlib import Path

import pytest

import eqp_hw
from eqp_hw.errors import ConfigurationError

RIG = Path(__file__).parents[2] / "examples/rigs/xor_array.toml"
XOR = {"task": "xor", "network": {"kind": "layered", "hidden": [3]}, "run": {"epochs": 1}}


@pytest.mark.parametrize("option", [{"homeostasis": 0.1}, {"tied": True}])
def test_what_draws_directions_together_needs_two_directions(option) -> None:
    name = next(iter(option))
    with pytest.raises(ConfigurationError, match="no effect") as caught:
        eqp_hw.Experiment.create(**XOR, optimiser=option).build()
    assert caught.value.field == f"optimiser.{name}"
    directed = eqp_hw.Experiment.create(
        **XOR, optimiser=option, initial={"directed": True, "asymmetry": 0.1}
    )
    directed.build().close()


def test_complex_nudges_of_directed_couplings(tmp_path) -> None:
    experiment = eqp_hw.Experiment.create(
        **XOR, estimator={"kind": "cauchy"}, initial={"directed": True, "asymmetry": 0.1}
    )
    with pytest.raises(ConfigurationError, match=r"estimator\.kind = 'cauchy': .*reciprocal"):
        experiment.run(tmp_path / "run.h5")
    assert not list(tmp_path.iterdir())


def test_beta_beyond_the_strongest_nudge() -> None:
    def build(beta: float | str) -> None:
        eqp_hw.Experiment.create(
            task="xor",
            network={"kind": "all-to-all", "n_nodes": 5},
            encoding={"input": "bits", "target": "binary"},
            estimator={"kind": "one-sided", "beta": beta},
            substrate={"kind": "rig", "file": str(RIG), "virtual_lab": True},
            run={"epochs": 1},
        ).build().close()

    with pytest.raises(ConfigurationError, match=r"estimator\.beta = 1000.0: beyond") as caught:
        build(1000.0)
    assert "0.8" in (caught.value.allowed or "")
    build("auto")
