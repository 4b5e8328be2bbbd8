"""Options of a network that follow from the task, so that a file may leave them out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eqp_hw.data.dataset import Dataset
from eqp_hw.errors import NetworkError

__all__ = ["complete_options"]

_PLACES = {"all-to-all", "lattice", "edge-list"}
_WINDOWED = {"locally-connected", "convolutional"}


def complete_options(
    kind: str,
    options: Mapping[str, Any],
    *,
    n_inputs: int,
    n_outputs: int,
    dataset: Dataset,
    base: Path,
) -> dict[str, Any]:
    """Return the options of a builder, filled in from the task where they are missing.

    Parameters
    ----------
    kind, options
        The ``[network]`` table.
    n_inputs, n_outputs
        Nodes that the encoding needs.
    dataset
        Gives the shape of images.
    base
        Folder that a relative path of an edge list starts from.

    Raises
    ------
    NetworkError
        ``hidden`` and ``sizes`` of a layered network, both given or of a wrong type.
    """
    filled = dict(options)
    if kind == "layered" and "hidden" in filled:
        hidden = filled.pop("hidden")
        if "sizes" in filled or not isinstance(hidden, list):
            raise NetworkError(
                "give the hidden layers or all layers",
                field="network.hidden",
                value=hidden,
                allowed="hidden = [10], or sizes = [4, 10, 3], not both",
            )
        filled["sizes"] = [n_inputs, *hidden, n_outputs]
    if kind in _PLACES:
        filled.setdefault("inputs", n_inputs)
        filled.setdefault("outputs", n_outputs)
    if kind in _WINDOWED:
        filled.setdefault("n_outputs", n_outputs)
        if dataset.image_shape is not None:
            filled.setdefault("input_shape", list(dataset.image_shape))
    if kind == "edge-list" and isinstance(filled.get("edges"), str):
        filled["edges"] = str(base / Path(filled["edges"]).expanduser())
    return filled
