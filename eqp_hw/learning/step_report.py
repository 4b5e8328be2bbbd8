"""The row that a run file gets for one training step."""

from __future__ import annotations

import numpy as np

from eqp_hw.learning.controller_options import ControllerOptions
from eqp_hw.learning.epoch_gradient import signal_to_noise
from eqp_hw.learning.gradient_estimate import GradientEstimate
from eqp_hw.learning.state import TrainingState
from eqp_hw.physics.parameters import Parameters
from eqp_hw.records.rows import StepRow

__all__ = ["step_row"]


def step_row(
    state: TrainingState,
    estimate: GradientEstimate,
    moved: Parameters,
    options: ControllerOptions,
    *,
    accuracy: float,
    n_samples: int,
) -> StepRow:
    """Return the row of the step from ``state`` to the master parameters ``moved``.

    The durations of the update, the record and the whole step are left 0.
    """
    gradient, error = estimate.gradient, estimate.standard_error
    change = moved.map(np.subtract, state.master).flatten()
    return StepRow(
        step=state.step + 1,
        epoch=state.epoch + 1,
        cost=estimate.cost,
        distance=estimate.distance,
        accuracy=accuracy,
        gradient_norm_coupling=float(np.linalg.norm(gradient.coupling)),
        gradient_norm_bias=float(np.linalg.norm(gradient.bias)),
        update_norm=float(np.linalg.norm(change)),
        hops=estimate.hops,
        halvings=estimate.halvings,
        restarts=estimate.restarts,
        excluded=estimate.excluded,
        limited=estimate.limited,
        unsettled=estimate.unsettled,
        residual_max=estimate.residual_max,
        displacement_max=estimate.displacement_max,
        n_samples=n_samples,
        beta=options.beta,
        repeats=options.repeats,
        gradient_error=float(np.linalg.norm(error.coupling)),
        signal_to_noise=signal_to_noise(gradient, error),
        lock_in_alarm=estimate.alarm_max,
        duration_free_s=estimate.duration_free_s,
        duration_nudged_s=estimate.duration_nudged_s,
        duration_update_s=0.0,
        duration_record_s=0.0,
        duration_total_s=0.0,
    )
