"""Pictures and words about signal to noise, and about automatic choices."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from eqp_hw.network.builders import all_to_all, layered
from eqp_hw.network.graph import Network
from eqp_hw.physics.parameters import Parameters
from eqp_hw.records.reader import RunData, read_run
from eqp_hw.records.run_file import RunWriter
from eqp_hw.views.figures import run_figures
from eqp_hw.views.plots.signal_map import signal_map, signal_to_noise
from eqp_hw.views.report import render_report
from eqp_hw.views.summary import render_summary, summary

REASON = "centred at beta = 0.1, because <noise> says so"


def _with_gradients(path, network: Network, error: float) -> RunData:
    rng = np.random.default_rng(3)

    def drawn(scale: float) -> Parameters:
        bias = np.zeros(network.n_nodes, complex)
        return Parameters(scale * rng.uniform(0.5, 2, network.n_couplings), bias)

    with RunWriter.create(
        path, experiment="", resolved={}, provenance={}, network=network
    ) as writer:
        writer.record_plan(0, 0, {"kind": "centred", "beta": 0.1, "reason": REASON})
        for epoch in (3, 6):
            writer.record_gradients(epoch, epoch, drawn(1.0), drawn(error))
    return read_run(path)


def test_signal_to_noise_of_bonds_without_noise_or_without_gradient() -> None:
    found = signal_to_noise(np.array([1.0, -3.0, 2.0, 0.0]), np.array([2.0, 1.0, 0.0, 0.0]))
    np.testing.assert_array_equal(found, [0.5, 3.0, np.inf, 0.0])


@pytest.mark.parametrize("network", [all_to_all(5, [0, 1], [4]), layered([60, 40, 5])])
def test_the_map_shows_decades_for_every_bond(network: Network) -> None:
    ratio = np.full(network.n_edges, 10.0)
    ratio[:4] = 0.0, 0.1, np.inf, 1e9
    figure = signal_map(network, [("a", ratio), ("b", ratio)])
    figure.canvas.draw()
    drawn = (one for axes in figure.axes for one in (*axes.images, *axes.collections))
    arrays = [one.get_array() for one in drawn if type(one).__name__ != "QuadMesh"]
    values = next(np.ma.filled(array, np.nan).ravel() for array in arrays if array is not None)
    known = values[np.isfinite(values)]
    assert known.min() >= 0
    assert known.max() <= 3
    assert np.median(known) == pytest.approx(2)
    labels = [text.get_text() for axes in figure.axes for text in axes.get_xticklabels()]
    assert {"0.1", "1", "10", "100"} <= set(labels)


def test_the_figure_is_there_if_reads_are_noisy(tmp_path) -> None:
    network = all_to_all(5, [0, 1], [4])
    noisy = _with_gradients(tmp_path / "noisy.h5", network, 0.1)
    exact = _with_gradients(tmp_path / "exact.h5", network, 0.0)
    assert "signal_to_noise" in [figure.name for figure in run_figures(noisy)]
    assert "signal_to_noise" not in [figure.name for figure in run_figures(exact)]
    (figure,) = (one for one in run_figures(noisy) if one.name == "signal_to_noise")
    drawn = figure.draw()
    assert {axes.get_title("left") for axes in drawn.axes} >= {"Epoch 3", "Epoch 6"}


def test_choices_are_told_on_the_page_and_in_json(tmp_path, make_run) -> None:
    run = _with_gradients(tmp_path / "noisy.h5", all_to_all(5, [0, 1], [4]), 0.1)
    assert summary(run)["plans"] == [{"epoch": 0, "kind": "centred", "beta": 0.1, "reason": REASON}]
    assert "because &lt;noise&gt; says so" in render_report(run)
    assert "How gradients were measured" not in render_report(make_run())


def test_the_terminal_shows_the_last_epochs_signal_to_noise(make_run) -> None:
    run = make_run(step={"signal_to_noise": 4.0})
    assert summary(run)["signal_to_noise"] == 4.0
    console = Console(width=120)
    with console.capture() as shown:
        console.print(render_summary(run))
    assert "4, median of couplings in the last epoch" in shown.get()
    exact = make_run(step={"signal_to_noise": np.nan}, file="exact.h5")
    assert summary(exact)["signal_to_noise"] is None
