"""What a run consists of, once it is put together."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self, final

from eqp_hw.data.dataset import Dataset
from eqp_hw.learning.controller import Controller
from eqp_hw.learning.input_encodings import InputEncoder
from eqp_hw.learning.nudge_plan import Planner
from eqp_hw.learning.optimisers import RateTable
from eqp_hw.learning.recorder import Recorder
from eqp_hw.learning.task import Task
from eqp_hw.learning.training import Trainer, TrainingOptions
from eqp_hw.learning.update import Update, UpdateOptions
from eqp_hw.network.graph import Network
from eqp_hw.physics.parameters import Parameters
from eqp_hw.randomness import RandomStreams
from eqp_hw.substrate import Substrate

from .choices import make_optimiser
from .schema import ExperimentSettings

__all__ = ["Assembly"]


@final
@dataclass(frozen=True, eq=False)
class Assembly:
    """What a run consists of.

    Attributes
    ----------
    settings
        Where it came from; with β as the calibration in force recommends, where none was stated.
    dataset, encoder, task
        Raw samples, the fitted input encoding, and the encoded samples with their split.
    network, initial
        The graph, and the parameters that training starts from.
    substrate, controller
        Where the physics happens, and who speaks to it.
    streams
        All randomness of the run.
    owns_substrate
        Whether to close it at the end.
    planner
        Who chooses what ``[estimator]`` leaves open; None where it leaves nothing.
    """

    settings: ExperimentSettings
    dataset: Dataset
    encoder: InputEncoder
    task: Task
    network: Network
    initial: Parameters
    substrate: Substrate
    controller: Controller
    streams: RandomStreams
    owns_substrate: bool
    planner: Planner | None = None

    def trainer(self, recorder: Recorder | None = None) -> Trainer:
        """Return a trainer that reports to ``recorder``."""
        table, run = self.settings.optimiser, self.settings.run
        update = Update(
            self.network,
            self.substrate.capabilities,
            make_optimiser(table.kind, table.options),
            RateTable(table.learning_rate, dict(table.rate_factors), table.decay),
            UpdateOptions(
                coupling_limit=run.coupling_limit,
                bias_limit=run.bias_limit,
                homeostasis=table.homeostasis,
                tied=table.tied,
                noise_shrinkage=table.noise_shrinkage,
                master=table.master,
                rounding=table.rounding,
            ),
        )
        update.check(self.initial)
        return Trainer(
            self.controller,
            self.task,
            update,
            TrainingOptions(
                epochs=run.epochs,
                batch_size=run.batch_size,
                input_noise=run.input_noise,
                validate_every=run.validate_every,
                evaluation_starts=run.evaluation_starts,
                selection=run.selection,
                patience=run.patience,
                stop_distance=run.stop_distance,
                null_every=self.settings.estimator.null_every,
                snapshot_epochs=run.snapshots,
                probe_samples=run.probe_samples,
            ),
            self.streams,
            recorder,
            self.planner,
        )

    @property
    def engine(self) -> str:
        """Name of what relaxes the phases."""
        return str(getattr(self.substrate, "engine_name", type(self.substrate).__name__))

    def close(self) -> None:
        """Make the substrate safe; close it unless it was handed in."""
        if self.owns_substrate:
            self.substrate.close()
        else:
            self.substrate.safe()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
