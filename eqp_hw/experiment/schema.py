"""What ``experiment.toml`` may say: one class a table, one field a key.

Tables with a ``kind`` hand all other keys on as the options of that kind; ``eqp-hw list``
shows the kinds and their options. All other tables refuse keys they do not know.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, final

from pydantic import BaseModel, ConfigDict, Field

from eqp_hw.network.initial import BiasScheme, CouplingScheme
from eqp_hw.validation import STRICT, validated

__all__ = [
    "CostSettings",
    "EncodingSettings",
    "EstimatorSettings",
    "ExperimentSettings",
    "InitialSettings",
    "NetworkSettings",
    "OptimiserSettings",
    "RunSettings",
    "SplitSettings",
    "SubstrateSettings",
    "TaskSettings",
]

_OPEN = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class _Table(BaseModel):
    """A table whose keys are all known."""

    model_config = STRICT


class _OpenTable(BaseModel):
    """A table whose further keys are options of its kind."""

    model_config = _OPEN

    @property
    def options(self) -> dict[str, Any]:
        """The keys that the table itself does not know."""
        return dict(self.model_extra or {})


@final
class SplitSettings(_Table):
    """``[task.split]``: which samples train, validate and test."""

    kind: str = Field(default="auto", description="auto, or a kind of split")
    """"auto" takes the split that the data set brings along, else "stratified"."""
    validation_fraction: Fraction | None = None
    """Share of what is not test that validates (default 0.2); 0 for none."""
    test_fraction: Fraction | None = None
    """Share of all samples that tests ("stratified", "random"; default 0.2)."""
    train_per_class: Count | None = None
    """Samples a class ("first-per-class"; default 100)."""
    test_per_class: Count | None = None
    """Samples a class ("first-per-class"; default 70)."""
    train_limit: Count | None = None
    """Use at most so many training samples."""
    validation_limit: Count | None = None
    """Use at most so many validation samples."""
    test_limit: Count | None = None
    """Use at most so many test samples."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Seed of the split alone; by default it follows run.seed."""


@final
class TaskSettings(_OpenTable):
    """``[task]``: the data set; further keys are its options."""

    kind: str = Field(description="name of a data set: eqp-hw list data-sets")
    split: SplitSettings = Field(default=SplitSettings(), description="a table")


@final
class EncodingSettings(_OpenTable):
    """``[encoding]``: features to input phases, classes to target phases.

    Further keys are options of the input encoding, such as ``reference_phases``.
    """

    input: str = Field(default="linear", description="name of an input encoding")
    target: str = Field(default="one-hot", description="name of a target encoding")
    target_amplitude: Annotated[float, Field(gt=0, le=math.pi / 2)] = math.pi / 2
    """Targets are ± this, rad."""


@final
class InitialSettings(_Table):
    """``[network.initial]``: how couplings and bias fields are drawn."""

    coupling: CouplingScheme = "fan"
    scale: float = 1.0
    kind_scales: dict[str, float] = {}
    bias: BiasScheme = "none"
    bias_scale: float = 1.0
    bias_offset: dict[Literal["hidden", "output"], float] = {}
    """Field along phase 0 that every node of a role starts with, added to the scheme."""
    directed: bool = False
    """Hold J_ij and J_ji apart: a non-reciprocal network."""
    asymmetry: Annotated[float, Field(ge=0)] = 0.0
    """Directed only: J_ij = J + a, J_ji = J - a, a drawn like J times this."""


@final
class NetworkSettings(_OpenTable):
    """``[network]``: the architecture; further keys are its options.

    Numbers of inputs and outputs that are left out come from the encoding; a layered network
    may give ``hidden = [10]`` in place of ``sizes = [4, 10, 3]``.
    """

    kind: str = Field(description="name of an architecture: eqp-hw list networks")
    initial: InitialSettings = Field(default=InitialSettings(), description="a table")


@final
class SubstrateSettings(_OpenTable):
    """``[substrate]``: what the phases live on; further keys are its options."""

    kind: str = Field(default="emulator", description="name of a substrate")


@final
class CostSettings(_OpenTable):
    """``[cost]``: what is minimised; further keys are its options."""

    kind: str = Field(default="log-cosine", description="name of a cost")


@final
class EstimatorSettings(_OpenTable):
    """``[estimator]``: how gradients are measured (`ControllerOptions`).

    ``kind``, ``beta`` and ``repeats`` may each be "auto": the controller then measures
    displacement, noise and curvature on a few samples and chooses. Further keys are options
    of the kind.
    """

    kind: str = Field(default="centred", description="auto, or a name: eqp-hw list estimators")
    beta: Annotated[float, Field(gt=0)] | Literal["auto"] = 0.1
    repeats: Count | Literal["auto"] = 1
    interleave: bool = False
    """Measure the nudges of an estimate to and fro, + - - +, so that linear drift cancels."""
    attenuation: bool = False
    """Divide out the attenuation of correlators by read-out noise."""
    null_every: Annotated[int, Field(ge=0)] = 0
    """Epochs between null contrasts (nudges of no field), which are subtracted; 0 for never."""
    displacement: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Largest phase shift, rad, that an automatic beta aims at."""
    read_budget: Count = 16
    """Reads of a sample that an automatic choice may spend on all states of an estimate."""
    retune_every: Count = 5
    """Epochs between automatic choices."""
    initial_states: Count = 1
    max_halvings: Annotated[int, Field(ge=0)] = 4
    max_restarts: Annotated[int, Field(ge=0)] = 3
    response_limit: Annotated[float, Field(gt=0)] | None = None


@final
class OptimiserSettings(_OpenTable):
    """``[optimiser]``: how parameters move; further keys are options of the kind."""

    kind: str = Field(default="momentum", description="name of an optimiser")
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    rate_factors: dict[str, Annotated[float, Field(ge=0)]] = {}
    homeostasis: Annotated[float, Field(ge=0)] = 0.0
    """Strength of the pull of J_ij and J_ji towards each other, directed networks only."""
    tied: bool = False
    """Directed networks: J_ij and J_ji take the same step, so that their difference stays."""
    noise_shrinkage: bool = False
    """Weaken the gradient of each parameter where read-out noise hides it."""
    master: Literal["float", "direct"] = "float"
    """Full-precision master parameters, or what the substrate holds after rounding."""
    rounding: Literal["nearest", "stochastic"] = "nearest"
    """How couplings are rounded where the substrate has a grid."""


@final
class RunSettings(_Table):
    """``[run]``: how long, in what portions, and what is looked at (`TrainingOptions`)."""

    epochs: Count = 100
    batch_size: Count | None = None
    input_noise: Annotated[float, Field(ge=0)] = 0.0
    """Noise on the input phases in training, rad: a regulariser."""
    seed: Annotated[int, Field(ge=0)] = 0
    validate_every: Annotated[int, Field(ge=0)] = 1
    evaluation_starts: Count = 1
    selection: Literal["best-validation", "last"] = "best-validation"
    patience: Count | None = None
    stop_distance: Annotated[float, Field(gt=0)] | None = None
    coupling_limit: Annotated[float, Field(gt=0)] | None = None
    bias_limit: Annotated[float, Field(gt=0)] | None = None
    snapshot_epochs: list[Annotated[int, Field(ge=0)]] | None = None
    """Epochs, 0 to ``epochs``, whose parameters and responses are kept; by default start,
    middle and end."""
    probe_samples: Annotated[int, Field(ge=0)] = 8
    checkpoint_every_steps: Count = 1
    samples_at_once: Count | None = None
    """Most samples that relax side by side; by default what the substrate allows."""

    @property
    def snapshots(self) -> tuple[int, ...]:
        """The snapshot epochs, default filled in."""
        if self.snapshot_epochs is not None:
            return tuple(self.snapshot_epochs)
        return (0, self.epochs // 2, self.epochs)


@final
class ExperimentSettings(_Table):
    """All of ``experiment.toml``. Only ``[task]`` and ``[network]`` must be there."""

    task: TaskSettings = Field(description="a table that names the data set")
    encoding: EncodingSettings = EncodingSettings()
    network: NetworkSettings = Field(description="a table that names the architecture")
    substrate: SubstrateSettings = SubstrateSettings()
    cost: CostSettings = CostSettings()
    estimator: EstimatorSettings = EstimatorSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    run: RunSettings = RunSettings()

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> Self:
        """Return the settings that nested mappings (as TOML gives) describe.

        Raises
        ------
        ConfigurationError
            An unknown key, a missing one, a wrong type or a value out of range.
        """
        return validated(cls, values)

    def resolved(self) -> dict[str, Any]:
        """Return all settings, defaults filled in; JSON can hold it and `parse` takes it."""
        return self.model_dump(mode="json")
