"""What a run of training is told: how long, in what portions, what is looked at on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

from eqp_hw.errors import ConfigurationError

__all__ = ["TrainingOptions"]


@final
@dataclass(frozen=True)
class TrainingOptions:
    """How long, in what portions, and what is looked at on the way.

    Attributes
    ----------
    epochs
        Passes over the training samples.
    batch_size
        Samples a step; None for all.
    validate_every
        Validation after every so many epochs (and after the last); 0 for never.
    input_noise
        Standard deviation of Gaussian noise on the input phases of each training step, rad;
        drawn afresh each time. A regulariser: training with noise punishes responses that are
        steep in the inputs (Bishop, Neural Comput. 7, 108, 1995).
    evaluation_starts
        Random starts a sample in validation, test and final evaluation.
    selection
        "best-validation" keeps the parameters with the highest validation accuracy (the
        lower distance where equal), "last" those of the last epoch.
    patience
        Stop after so many epochs without a better validation; None for never.
    stop_distance
        Stop when the mean distance C_sim of an epoch falls below this; None for never.
    null_every
        Measure the null contrast before every so many epochs and subtract it from all
        gradients until the next; 0 for never.
    snapshot_epochs
        Epochs, 0 (before training) to ``epochs``, whose parameters and responses are
        recorded; the last is always added.
    probe_samples
        Training samples at which responses and phases are recorded.
    """

    epochs: int
    batch_size: int | None = None
    input_noise: float = 0.0
    validate_every: int = 1
    evaluation_starts: int = 1
    selection: Literal["best-validation", "last"] = "best-validation"
    patience: int | None = None
    stop_distance: float | None = None
    null_every: int = 0
    snapshot_epochs: tuple[int, ...] = (0,)
    probe_samples: int = 8

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "evaluation_starts", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(
                    "too small", field=f"run.{name}", value=value, allowed=">= 1"
                )
        if not (math.isfinite(self.input_noise) and self.input_noise >= 0):
            raise ConfigurationError(
                "not a standard deviation",
                field="run.input_noise",
                value=self.input_noise,
                allowed=">= 0 rad",
            )
        late = [epoch for epoch in self.snapshot_epochs if not 0 <= epoch <= self.epochs]
        if late:
            raise ConfigurationError(
                f"epoch {late[0]} is not one of this run",
                field="run.snapshot_epochs",
                value=list(self.snapshot_epochs),
                allowed=f"epochs from 0 (before training) to run.epochs = {self.epochs}; the "
                "last is always recorded",
            )
