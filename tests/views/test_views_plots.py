from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

from eqp_hw.errors import ConfigurationError
from eqp_hw.network.builders import (
    all_to_all,
    convolutional,
    edge_list,
    layered,
    locally_connected,
    square_lattice,
    stacked_lattices,
)
from eqp_hw.network.graph import Network
from eqp_hw.views.plots.canvas import encode
from eqp_hw.views.plots.confusion import confusion_matrix
from eqp_hw.views.plots.coupling_blocks import ImageBlock, LineBlock, MeanBlock, coupling_blocks
from eqp_hw.views.plots.coupling_map import coupling_map
from eqp_hw.views.plots.layout import bond_lines, node_layout
from eqp_hw.views.plots.learning_curves import learning_curves
from eqp_hw.views.plots.phase_map import phase_map, pick_samples, wrapped
from eqp_hw.views.plots.response_map import (
    distance_to_outputs,
    response_map,
    response_strength,
)

NETWORKS = {
    "xor": lambda: all_to_all(5, [0, 1], [4]),
    "wool": lambda: all_to_all(40, list(range(8)), [39]),
    "skips": lambda: square_lattice(5, 5, [[0, 0], [0, 1]], [[4, 4]], skips=[2, 4]),
    "ring": lambda: square_lattice(6, 6, "left-edge:2", "right-edge:2", periodic=True),
    "iris": lambda: layered([4, 10, 3]),
    "wide": lambda: layered([16, 40, 5]),
    "lcl": lambda: locally_connected([8, 8], 3, 4, intra="nearest"),
    "conv": lambda: convolutional([8, 8], 3, 2, 4),
    "stack": lambda: stacked_lattices([[6, 6], [4, 4], [3, 3]]),
    "heap": lambda: edge_list([[0, 1], [1, 2]], [0], [2], positions=[[0, 0], [0, 0], [0, 0]]),
    "large": lambda: square_lattice(70, 70, "left-edge:4", "right-edge:3"),
}


def _couplings(network: Network, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=network.n_edges)


def _draw(figure: Figure) -> None:
    assert len(encode(figure, "png", 40)) > 1000


def _map_axes(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.findobj(Axes) if axes.get_title("left")]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_can_be_drawn(name: str) -> None:
    network = NETWORKS[name]()
    rng = np.random.default_rng(0)
    moments = [(f"moment {k}", _couplings(network, k)) for k in range(3)]
    _draw(coupling_map(network, moments))
    chi = np.exp(-rng.uniform(0, 9, (network.n_nodes, len(network.outputs))))
    _draw(response_map(network, [("a", chi), ("b", chi / 2)]))
    phases = rng.uniform(-9, 9, (2, network.n_nodes))
    targets = np.zeros((2, len(network.outputs)))
    _draw(phase_map(network, [("a", phases)], targets, ["x", "y"]))


def test_bonds_are_drawn_once_with_their_values_on_one_symmetric_scale() -> None:
    network = NETWORKS["skips"]()
    moments = [(f"m{k}", (k + 1.0) * _couplings(network, k)) for k in range(3)]
    figure = coupling_map(network, moments)
    panels = _map_axes(figure)
    assert len(panels) == 4
    limits = set()
    for axes, (title, j) in zip(panels, moments, strict=False):
        assert axes.get_title("left") == title
        lines = next(c for c in axes.collections if isinstance(c, LineCollection))
        assert len(lines.get_segments()) == network.n_edges
        np.testing.assert_array_equal(np.sort(lines.get_array()), np.sort(j))
        limits.add((lines.norm.vmin, lines.norm.vmax))
    largest = max(np.abs(j).max() for _, j in moments)
    assert limits == {(-largest, largest)}
    change = panels[3].collections[0]
    expected = np.abs(moments[2][1] - moments[0][1])
    np.testing.assert_allclose(np.sort(change.get_array()), np.sort(expected))
    assert change.norm.vmin == 0


def test_strong_bonds_are_wide_and_on_top() -> None:
    network = NETWORKS["xor"]()
    figure = coupling_map(network, [("now", np.linspace(-1, 0.5, network.n_edges))])
    lines = _map_axes(figure)[0].collections[0]
    widths = np.asarray(lines.get_linewidths())
    assert (np.diff(widths) >= 0).all()
    assert widths[-1] > 3 * widths[0]
    assert np.abs(lines.get_array())[-1] == 1


def test_one_wild_coupling_does_not_pale_the_others() -> None:
    network = NETWORKS["wide"]()
    j = _couplings(network, 1)
    j[0] = 1000.0
    figure = coupling_map(network, [("a", j)])
    assert max(im.norm.vmax for axes in _map_axes(figure) for im in axes.images) < 10


def test_kind_of_picture_follows_the_network() -> None:
    kinds = {name: [type(b) for b in coupling_blocks(NETWORKS[name]())] for name in NETWORKS}
    assert kinds["xor"] == kinds["skips"] == kinds["iris"] == [LineBlock]
    assert kinds["wool"] == [ImageBlock]
    assert kinds["wide"] == [ImageBlock, ImageBlock]
    assert kinds["lcl"] == [ImageBlock, ImageBlock, LineBlock]
    assert kinds["large"] == [MeanBlock]


@pytest.mark.parametrize("name", ["wide", "lcl", "stack"])
def test_images_hold_every_coupling_of_their_block_once(name: str) -> None:
    network = NETWORKS[name]()
    j = _couplings(network, 2)
    seen = []
    for block in coupling_blocks(network):
        seen.append(block.bonds)
        if isinstance(block, ImageBlock):
            image = block.image(j[block.bonds])
            np.testing.assert_array_equal(
                np.sort(image[np.isfinite(image)]), np.sort(j[block.bonds])
            )
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(network.n_edges))


def test_receptive_field_lies_as_the_window_does() -> None:
    network = locally_connected([5, 5], 3, 2)
    j = np.zeros(network.n_edges)
    pixel, hidden = 2 * 5 + 3, 25 + 1 * 3 + 2  # pixel (2, 3); hidden node (1, 2) sees from (1, 2)
    j[(network.edges == [pixel, hidden]).all(axis=1)] = 7.0
    block = coupling_blocks(network)[0]
    assert isinstance(block, ImageBlock)
    rows, columns = np.nonzero(block.image(j[block.bonds]) == 7.0)
    assert (rows.tolist(), columns.tolist()) == ([1 * 4 + 1], [2 * 4 + 1])


def test_shared_kernels_are_shown_once() -> None:
    network = NETWORKS["conv"]()
    block = coupling_blocks(network)[0]
    assert "2 shared kernels" in block.title
    assert len(block.bonds) == 2 * 9


def test_inputs_that_are_an_image_give_receptive_fields() -> None:
    network = layered([64, 30, 3])
    assert coupling_blocks(network)[0].detail == 0
    fields = coupling_blocks(network, (8, 8))[0]
    assert isinstance(fields, ImageBlock)
    assert np.isfinite(fields.image(np.ones(len(fields.bonds)))).sum() == 64 * 30
    assert coupling_blocks(network, (9, 9))[0].detail == 0  # another image


def test_skips_bow_around_nodes_and_wraps_become_stubs() -> None:
    lattice = NETWORKS["skips"]()
    layout = node_layout(lattice)
    lines = bond_lines(lattice, layout)
    straight = layout.xy[lattice.edges].mean(axis=1)
    middle = lines[:, lines.shape[1] // 2]
    bowed = np.linalg.norm(middle - straight, axis=1) > 0.1
    kind = lattice.group_kind[lattice.coupling_group]
    nearest = kind == lattice.kind_names.index("nearest")
    np.testing.assert_array_equal(bowed, ~nearest)
    ring = NETWORKS["ring"]()
    broken = np.isnan(bond_lines(ring, node_layout(ring))).any(axis=(1, 2))
    assert broken.sum() == 12  # six rows, six columns


def test_layout_tells_nodes_apart() -> None:
    for make in NETWORKS.values():
        layout = node_layout(make())
        assert len(np.unique(np.round(layout.xy, 6), axis=0)) == len(layout.xy)


def test_response_strength_and_distance() -> None:
    network = square_lattice(1, 4, [0], [3])
    chi = np.array([[0.0], [-1e-3], [1e-2], [0.5]])
    strength = response_strength(network, chi)
    assert np.isnan(strength[0])
    np.testing.assert_allclose(strength[1:], [1e-3, 1e-2, 0.5])
    np.testing.assert_array_equal(distance_to_outputs(network), [3, 2, 1, 0])
    two = square_lattice(1, 4, [0], [1, 3])
    assert response_strength(two, np.array([[0, 0], [1, 2], [np.nan, 3], [np.nan, np.nan]]))[2] == 3


def test_responses_share_a_logarithmic_scale_and_show_the_decay() -> None:
    network = square_lattice(1, 6, [0], [5])
    chi = 10.0 ** -np.arange(5, -1, -1)[:, None]
    chi[0] = 0
    figure = response_map(network, [("start", chi), ("end", chi / 10)])
    panels = _map_axes(figure)
    norms = {
        (c.norm.vmin, c.norm.vmax)
        for axes in panels[:2]
        for c in axes.collections
        if isinstance(c, PathCollection)
    }
    assert len(norms) == 1
    low, high = norms.pop()
    assert high == pytest.approx(1.0)
    assert low == pytest.approx(1e-5)
    (line,) = [ln for ln in panels[2].get_lines() if ln.get_label() == "start"]
    np.testing.assert_allclose(line.get_ydata(), [1, 1e-1, 1e-2, 1e-3, 1e-4])


def test_responses_that_are_unknown_are_said_to_be() -> None:
    network = NETWORKS["xor"]()
    figure = response_map(network, [("start", np.full((5, 1), np.nan))])
    _draw(figure)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert any("settled" in text for text in texts)


def test_phases_are_wrapped_coloured_and_drawn_as_arrows() -> None:
    network = NETWORKS["xor"]()
    phases = np.array([[0.1, 0.2 + 2 * np.pi, -np.pi / 2, 3 * np.pi, 1.0]])
    figure = phase_map(network, [("now", phases)], np.array([[1.0]]), ["class $x^"])
    _draw(figure)
    (axes,) = _map_axes(figure)
    assert axes.get_title("left") == "class $x^"
    (arrows,) = [c for c in axes.collections if isinstance(c, Quiver)]
    np.testing.assert_allclose(
        np.arctan2(arrows.V, arrows.U), [0.1, 0.2, -np.pi / 2, -np.pi, 1.0], atol=1e-12
    )
    nodes = [
        c for c in axes.collections if isinstance(c, PathCollection) and c.get_array() is not None
    ]
    assert {(c.norm.vmin, c.norm.vmax) for c in nodes} == {(-np.pi, np.pi)}


def test_wrapped_and_picked_samples() -> None:
    assert wrapped(np.array([3 * np.pi, -np.pi, 0.0])).tolist() == [-np.pi, -np.pi, 0.0]
    assert pick_samples(np.array([0, 0, 0, 1, 2, 2]), 4).tolist() == [0, 1, 3, 4]
    assert pick_samples(np.array([1, 1]), 4).tolist() == [0, 1]


def test_cells_leave_out_clamped_layers_from_responses() -> None:
    network = NETWORKS["lcl"]()
    chi = np.ones((network.n_nodes, len(network.outputs)))
    cells = _map_axes(response_map(network, [("a", chi)]))[0].collections[0]
    assert isinstance(cells, PolyCollection)
    assert len(cells.get_paths()) == len(network.free)


def _epochs(n: int) -> dict[str, np.ndarray]:
    epoch = np.arange(1, n + 1)
    curve = 1.0 / epoch
    nan = np.full(n, np.nan)
    return {
        "epoch": epoch,
        **{f"train_{q}": curve for q in ("cost", "distance", "accuracy")},
        **{f"validation_{q}": nan for q in ("cost", "distance", "accuracy")},
    }


def test_learning_curves_hold_the_columns() -> None:
    epochs = _epochs(200)
    epochs["validation_accuracy"] = np.where(epochs["epoch"] % 5 == 0, 0.5, np.nan)
    steps = {
        "epoch": np.array([1, 1, 2]),
        "step": np.array([1, 2, 3]),
        "hops": np.array([1, 2, 4]),
        "residual_max": np.array([1e-12, np.nan, 1e-9]),
        "displacement_max": np.array([0.1, 0.3, 0.2]),
    }
    figure = learning_curves(epochs, steps, test_accuracy=0.9, selected_epoch=7)
    _draw(figure)
    cost, distance, accuracy, trouble, residual, shift = figure.axes
    np.testing.assert_array_equal(cost.get_lines()[0].get_ydata(), epochs["train_cost"])
    assert distance.get_yscale() == "log"
    by_name = {line.get_label(): line for line in accuracy.get_lines()}
    assert len(by_name["validation"].get_xdata()) == 40
    assert "test 0.900" in by_name
    np.testing.assert_array_equal(trouble.get_lines()[0].get_ydata(), [3, 4])
    np.testing.assert_array_equal(residual.get_lines()[0].get_ydata(), [1e-12, 1e-9])
    np.testing.assert_array_equal(shift.get_lines()[0].get_ydata(), [0.3, 0.2])
    assert "validation" not in {line.get_label() for line in cost.get_lines()}


@pytest.mark.parametrize("n_steps", [0, 1, 3])
def test_learning_curves_before_the_first_epoch(n_steps: int) -> None:
    steps = {
        "step": np.arange(1, n_steps + 1),
        "epoch": np.ones(n_steps, int),
        "cost": np.linspace(1, 0, n_steps),
        "distance": np.zeros(n_steps),  # zero has no logarithm
        "accuracy": np.ones(n_steps),
    }
    figure = learning_curves({}, steps)
    _draw(figure)
    lines = figure.axes[0].get_lines()
    assert [len(line.get_ydata()) for line in lines] == [n_steps] * (n_steps > 0)
    assert figure.axes[1].get_yscale() == "linear"


def test_confusion_colours_are_shares_of_the_true_class() -> None:
    counts = np.array([[8, 2], [0, 0]])
    figure = confusion_matrix(counts, ["a$b", "a very long name of a class"])
    _draw(figure)
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.8, 0.2], [0, 0]])
    assert sorted(text.get_text() for text in axes.texts) == ["2", "8"]
    assert axes.get_title("left") == "Confusion: 8 of 10 correct"
    assert axes.get_xticklabels()[0].get_text() == "a$b"


def test_encoding_is_repeatable_and_refuses_other_formats() -> None:
    def figure() -> Figure:
        return confusion_matrix(np.eye(3, dtype=int))

    for file_format, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        content = encode(figure(), file_format, 50)
        assert content.startswith(start)
        assert content == encode(figure(), file_format, 50)
    with pytest.raises(ConfigurationError, match="png, svg, pdf"):
        encode(figure(), "bmp")


def test_users_settings_do_not_change_figures_nor_ours_theirs() -> None:
    import matplotlib as mpl

    plain = encode(confusion_matrix(np.eye(2, dtype=int)), "svg")
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30, "lines.linewidth": 9}):
        before = dict(mpl.rcParams)
        assert encode(confusion_matrix(np.eye(2, dtype=int)), "svg") == plain
        assert dict(mpl.rcParams) == before


def test_pyplot_stays_out(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from eqp_hw.views.plots.confusion import confusion_matrix\n"
        "assert 'matplotlib' not in sys.modules\n"
        "confusion_matrix(np.eye(2, dtype=int))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
