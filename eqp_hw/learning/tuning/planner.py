"""A `Planner` that probes and decides."""

from __future__ import annotations

from typing import final

from typing_extensions import override

from eqp_hw.learning.controller import Controller
from eqp_hw.learning.nudge_plan import NudgePlan, Planner
from eqp_hw.network.graph import FloatArray

from .decision import BLIND_BETA, Demands, decide
from .figures import Figures
from .probe import ProbeOptions, probe

__all__ = ["AutoPlanner"]


@final
class AutoPlanner(Planner):
    """Chooses what was left automatic, before every so many epochs.

    Parameters
    ----------
    demands
        What is fixed, and the limits of the choice.
    retune_every
        Epochs from one choice to the next.
    probe_options
        How much is measured for it.

    Attributes
    ----------
    figures
        What the last probe of this process measured; None before.
    """

    def __init__(
        self,
        demands: Demands,
        retune_every: int = 5,
        probe_options: ProbeOptions | None = None,
    ) -> None:
        self.figures: Figures | None = None
        self._demands = demands
        self._retune_every = retune_every
        self._probe_options = probe_options

    @override
    def due(self, epoch: int) -> bool:
        return epoch % self._retune_every == 0

    @override
    def plan(
        self,
        controller: Controller,
        inputs: FloatArray,
        targets: FloatArray,
        address: tuple[int, ...],
        before: NudgePlan | None,
    ) -> NudgePlan:
        demands = self._demands
        beta = demands.beta or (BLIND_BETA if before is None else before.beta)
        self.figures = probe(controller, inputs, targets, address, beta, self._probe_options)
        return decide(self.figures, controller.substrate.capabilities, demands, before)
