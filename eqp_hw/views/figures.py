"""All figures of a run, each with a title and a sentence that says how to read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from eqp_hw.network.graph import FloatArray
from eqp_hw.physics.parameters import Parameters
from eqp_hw.records.reader import GradientSnapshot, ParameterSnapshot, RunData

from .moments import moment_title, pick_moments
from .page import PageFigure
from .plots.confusion import confusion_matrix
from .plots.coupling_map import coupling_map
from .plots.learning_curves import learning_curves
from .plots.phase_map import phase_map, pick_samples
from .plots.response_map import response_map
from .plots.signal_map import signal_map, signal_to_noise
from .summary import class_names, image_shape, summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["run_figures"]


def run_figures(run: RunData) -> Iterator[PageFigure]:
    """Yield the figures that the recorded data allow, in the order of a report."""
    if len(run.steps.get("step", ())) or len(run.epochs.get("epoch", ())):
        yield PageFigure(
            "learning_curves",
            "Learning curves",
            "Good: the distance falls steadily and validation follows training. A gap that "
            "widens means overfitting; a flat line, a learning rate that is too small or a "
            "response that does not reach far enough; spikes, one that is too large. Below: "
            "counts should stay near zero, the residual far below the nudge (1e-10 or less for "
            "the emulator), and the nudged shift below about 0.5 rad, else the estimate leaves "
            "linear response.",
            lambda: _curves(run),
        )
    if run.result is not None and run.result.confusion is not None:
        yield PageFigure(
            "confusion_matrix",
            "Confusion matrix",
            "Test samples by true class (rows) and class read out (columns). Good: all counts "
            "on the diagonal. A full column means that one class is read out for everything.",
            lambda: _confusion(run),
        )
    if run.snapshots:
        yield PageFigure("couplings", "Couplings", _coupling_caption(run), lambda: _couplings(run))
    if any(entry.standard_error.coupling.any() for entry in run.gradients):
        yield PageFigure(
            "signal_to_noise",
            "Signal to noise",
            "Mean gradient of each bond over an epoch, divided by its standard error from "
            "read-out noise. Bonds below 1 (dark) are moved by noise, not by the task: more reads "
            "or a larger nudge help while training has far to go; at the end, where gradients "
            "vanish, low values are no fault.",
            lambda: _signal(run),
        )
    if run.responses:
        yield PageFigure(
            "responses",
            "Responses",
            "How far each free node turns under a unit torque on an output (rms over probe "
            "samples); clamped inputs cannot turn and are grey. Couplings whose ends do not "
            "respond cannot learn. Good: the response reaches the inputs; where it dies out "
            "within a few bonds, longer skip connections or fewer layers help.",
            lambda: _responses(run),
        )
    if run.phases:
        yield PageFigure(
            "phases",
            "Free phases",
            "Equilibrium phases of a few training samples from random starts, on a cyclic "
            "scale (−π and π are the same colour). Beside or around each output stands the "
            "target: equal colours are a hit. Good: at the end, outputs match and differ "
            "between classes.",
            lambda: _phases(run),
        )


def _coupling_caption(run: RunData) -> str:
    text = (
        "Couplings as the substrate held them, all moments on one colour scale (red: J > 0, "
        "phases align; blue: J < 0, they oppose), and how much each has changed. Good: change "
        "is spread from the inputs to the outputs; change near the outputs only means that the "
        "nudge is not felt farther away."
    )
    if _directed(run.snapshots):
        text += " The network is directed: drawn is the mean of J_ij and J_ji."
    return text


def _directed(snapshots: tuple[ParameterSnapshot, ...]) -> bool:
    return any(snapshot.effective.directed for snapshot in snapshots)


def _curves(run: RunData) -> Figure:
    result = {} if run.result is None else run.result.summary
    facts = summary(run)
    selected = result.get("selected_epoch")
    return learning_curves(
        run.epochs,
        run.steps,
        test_accuracy=facts["test_accuracy"],
        selected_epoch=selected if isinstance(selected, int) else None,
    )


def _confusion(run: RunData) -> Figure:
    if run.result is None or run.result.confusion is None:
        raise RuntimeError("asked for only when there is one")
    counts = run.result.confusion
    return confusion_matrix(counts, class_names(run, len(counts)))


def _couplings(run: RunData) -> Figure:
    chosen = pick_moments(run.snapshots)
    return coupling_map(
        run.network,
        [
            (moment_title(k, len(chosen), entry.epoch), _bonds(run, entry.effective))
            for k, entry in enumerate(chosen)
        ],
        image_shape=image_shape(run),
    )


def _bonds(run: RunData, parameters: Parameters) -> FloatArray:
    forward, reverse = parameters.bond_coupling(run.network)
    return (forward + reverse) / 2


def _signal(run: RunData) -> Figure:
    return signal_map(
        run.network,
        [
            (f"Epoch {entry.epoch}", _bond_signal(run, entry))
            for entry in pick_moments(run.gradients)
        ],
        image_shape=image_shape(run),
    )


def _bond_signal(run: RunData, entry: GradientSnapshot) -> FloatArray:
    """Return |g|/s of each bond; of a directed bond, the better of its two ways."""
    means = entry.mean.bond_coupling(run.network)
    errors = entry.standard_error.bond_coupling(run.network)
    return np.maximum(*(signal_to_noise(g, s) for g, s in zip(means, errors, strict=True)))


def _responses(run: RunData) -> Figure:
    chosen = pick_moments(run.responses)
    return response_map(
        run.network,
        [(moment_title(k, len(chosen), entry.epoch), entry.chi) for k, entry in enumerate(chosen)],
    )


def _phases(run: RunData) -> Figure:
    # Start and end only: phases start anew at random each time, so they do not evolve.
    chosen = [run.phases[0], run.phases[-1]] if len(run.phases) > 1 else list(run.phases)
    rows = pick_samples(chosen[-1].labels)
    labels = chosen[-1].labels[rows]
    names = class_names(run, _n_classes(run))
    titles = [names[k] if 0 <= k < len(names) else str(k) for k in labels.tolist()]
    return phase_map(
        run.network,
        [
            (moment_title(k, len(chosen), entry.epoch), entry.phases[rows])
            for k, entry in enumerate(chosen)
        ],
        chosen[-1].targets[rows],
        [f"class {title}" for title in titles],
    )


def _n_classes(run: RunData) -> int:
    if run.result is not None and run.result.confusion is not None:
        return len(run.result.confusion)
    for table in (run.resolved, *run.resolved.values()):
        if isinstance(table, dict) and isinstance(table.get("class_names"), list):
            return len(table["class_names"])
    return int(max(entry.labels.max(initial=0) for entry in run.phases)) + 1
