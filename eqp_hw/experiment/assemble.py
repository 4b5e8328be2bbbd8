"""An experiment: from its settings to everything that a run needs, and to the run itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, final

from eqp_hw.data.dataset import Dataset, Split
from eqp_hw.data.registry import load_dataset
from eqp_hw.data.splits import make_split
from eqp_hw.errors import ConfigurationError
from eqp_hw.learning.controller import Controller, ControllerOptions
from eqp_hw.learning.costs import Cost
from eqp_hw.learning.encodings import check_fits, make_input_encoding, make_target_encoding
from eqp_hw.learning.estimators import AUTO, Estimator, OneSided, make_estimator
from eqp_hw.learning.input_encodings import InputEncoding
from eqp_hw.learning.target_encodings import TargetEncoding
from eqp_hw.learning.task import Task
from eqp_hw.network.graph import Network
from eqp_hw.network.initial import initial_parameters
from eqp_hw.network.registry import build_network
from eqp_hw.randomness import RandomStreams
from eqp_hw.registry import make_substrate
from eqp_hw.substrate import Substrate

from .assembly import Assembly
from .choices import COSTS, make_cost
from .network_options import complete_options
from .origin import Origin, renamed_fields
from .planning import make_planner
from .recommended import with_recommended_beta
from .schema import EstimatorSettings, ExperimentSettings, SplitSettings
from .toml_file import apply_overrides, read_toml, render_toml

if TYPE_CHECKING:
    from .outcome import RunOutcome
    from .run import Listener

__all__ = ["Assembly", "Experiment", "Parts", "TableLike"]

TableLike: TypeAlias = str | Mapping[str, object]
"""A table of an experiment file as a mapping, or its ``kind`` alone."""

AUTO_BETA = 0.05
"""β before an automatic choice is made."""

PYTHON = "python"
"""The ``kind`` of a part that was given as a Python object."""

_PATH_KEYS = ("task.path", "task.folder", "network.edges", "substrate.file")


@final
@dataclass(frozen=True, eq=False)
class Parts:
    """Python objects that stand in for tables of the settings; None where there is none."""

    dataset: Dataset | None = None
    network: Network | None = None
    cost: Cost | None = None
    substrate: Substrate | None = None


@final
@dataclass(frozen=True, eq=False)
class Experiment:
    """An experiment, from a file or from Python; `load`, `from_dict` and `create` make one.

    >>> experiment = Experiment.load("examples/iris.toml")  # doctest: +SKIP
    >>> experiment.run(output="iris.h5").test_accuracy  # doctest: +SKIP
    0.967

    Attributes
    ----------
    settings
        All tables, defaults filled in.
    origin
        Where they were written.
    parts
        Python objects that stand in for tables.
    """

    settings: ExperimentSettings
    origin: Origin
    parts: Parts = Parts()

    @classmethod
    def load(cls, path: str | Path, overrides: Iterable[str] = ()) -> Experiment:
        """Read an experiment file.

        Parameters
        ----------
        path
            TOML file.
        overrides
            ``key=value``, as behind ``--set``. Relative data paths in the file start from
            its folder, those in overrides from the current one.

        Raises
        ------
        ConfigurationError
            Unreadable, not TOML, or something in it is wrong; says what is allowed.
        """
        file = Path(path)
        text, content = read_toml(file)
        content, by_key = apply_overrides(content, overrides)
        _anchor_paths(content, by_key)
        if by_key:
            text += "".join(f"\n# --set {override}" for override in by_key.values()) + "\n"
        origin = Origin(file.resolve().parent, str(path), text, by_key)
        with origin.named_in_errors():
            return cls(ExperimentSettings.parse(content), origin)

    @classmethod
    def from_dict(cls, content: Mapping[str, object], base: str | Path = ".") -> Experiment:
        """Make an experiment from nested mappings that read like the file.

        Parameters
        ----------
        content
            Tables by name.
        base
            Folder that relative data paths start from.

        Raises
        ------
        ConfigurationError
            As in `load`.
        """
        settings = ExperimentSettings.parse(content)
        return cls(settings, Origin(Path(base).resolve(), text=render_toml(settings.resolved())))

    @classmethod
    def create(
        cls,
        *,
        task: Dataset | TableLike,
        network: Network | TableLike,
        split: TableLike | None = None,
        encoding: Mapping[str, object] | None = None,
        initial: Mapping[str, object] | None = None,
        substrate: Substrate | TableLike = "emulator",
        cost: Cost | TableLike = "log-cosine",
        estimator: TableLike = "centred",
        optimiser: TableLike = "momentum",
        run: Mapping[str, object] | None = None,
        base: str | Path = ".",
    ) -> Experiment:
        """Make an experiment from Python objects, tables or plain names of kinds.

        A run file cannot hold a data set, a substrate or a cost function given as an object:
        such a run is continued by `resume` of an experiment made in the same way.

        Parameters
        ----------
        task, network, substrate, cost
            The object itself, a table as a mapping, or a kind.
        split, encoding, initial, estimator, optimiser, run
            Tables ``[task.split]``, ``[encoding]``, ``[network.initial]`` and so on.
        base
            Folder that relative data paths start from.

        Raises
        ------
        ConfigurationError
            As in `load`.
        """
        parts = Parts(
            dataset=task if isinstance(task, Dataset) else None,
            network=network if isinstance(network, Network) else None,
            cost=cost if isinstance(cost, Cost) and type(cost) not in COSTS.values() else None,
            substrate=substrate if isinstance(substrate, Substrate) else None,
        )
        tables: dict[str, object] = {
            "task": _with(_table(task), "split", split),
            "network": _with(_table(network), "initial", initial),
            "encoding": dict(encoding or {}),
            "substrate": _table(substrate),
            "cost": _table(cost),
            "estimator": _table(estimator),
            "optimiser": _table(optimiser),
            "run": dict(run or {}),
        }
        made = cls.from_dict(tables, base)
        return cls(made.settings, made.origin, parts)

    def build(self, network: Network | None = None) -> Assembly:
        """Load the data, build the network, make the substrate.

        Parameters
        ----------
        network
            Use this graph in place of building it (a resumed run has it in its file).

        Raises
        ------
        EqpError
            Whatever cannot be used, named by file, field and value.
        """
        settings, run = self.settings, self.settings.run
        with self.origin.named_in_errors():
            streams = RandomStreams(run.seed)
            make_planner(settings.estimator)  # refuses what is wrong before data are loaded
            dataset = self._dataset()
            split = self._split(dataset, streams)
            encoding, target = self._encodings(dataset)
            encoder = encoding.fit(dataset.features[split.train], dataset.feature_range)
            graph = self._network(dataset, encoding, target) if network is None else network
            check_fits(dataset, encoding, target, graph)
            if run.patience is not None and not (len(split.validation) and run.validate_every):
                raise ConfigurationError(
                    "there is no validation to wait for",
                    field="run.patience",
                    value=run.patience,
                    allowed="no patience, or a validation part and run.validate_every >= 1",
                )
            if run.patience is not None and run.patience < run.validate_every:
                raise ConfigurationError(
                    "would end the run before its first validation",
                    field="run.patience",
                    value=run.patience,
                    allowed=f">= run.validate_every = {run.validate_every}",
                )
            task = Task(
                encoder.encode(dataset.features),
                target.encode(dataset.labels),
                dataset.labels,
                split,
                target,
            )
            with renamed_fields({"initial": "network.initial", "coupling": "network.initial"}):
                initial = initial_parameters(
                    graph,
                    streams.generator("initial parameters"),
                    **settings.network.initial.model_dump(),
                )
            substrate = self._substrate(graph)
            try:
                settings = with_recommended_beta(settings, substrate)
                planner = make_planner(settings.estimator)
                controller = self._controller(substrate, streams, settings.estimator)
                assembly = Assembly(
                    settings,
                    dataset,
                    encoder,
                    task,
                    graph,
                    initial,
                    substrate,
                    controller,
                    streams,
                    owns_substrate=self.parts.substrate is None,
                    planner=planner,
                )
                assembly.trainer()  # refuses what is wrong before a run file exists
            except BaseException:
                if self.parts.substrate is None:
                    substrate.close()
                raise
        return assembly

    def make_substrate(self) -> Substrate:
        """Make the substrate of ``[substrate]`` with the network of ``[network]`` alone."""
        with self.origin.named_in_errors():
            dataset = self._dataset()
            return self._substrate(self._network(dataset, *self._encodings(dataset)))

    def run(
        self,
        output: str | Path | None = None,
        *,
        force: bool = False,
        listener: Listener | None = None,
    ) -> RunOutcome:
        """Train and record; see `eqp_hw.experiment.run.run_experiment`."""
        from .run import run_experiment  # noqa: PLC0415 - imports this module

        return run_experiment(self, output, force=force, listener=listener)

    def resume(self, path: str | Path, *, listener: Listener | None = None) -> RunOutcome:
        """Continue a run of this experiment; see `eqp_hw.experiment.run.resume_run`."""
        from .run import resume_run  # noqa: PLC0415 - imports this module

        return resume_run(path, experiment=self, listener=listener)

    def _dataset(self) -> Dataset:
        if self.parts.dataset is not None:
            return self.parts.dataset
        table = self.settings.task
        _refuse_placeholder("task", table.kind)
        return load_dataset(table.kind, table.options, self.origin.base, field="task")

    def _split(self, dataset: Dataset, streams: RandomStreams) -> Split:
        table = self.settings.task.split
        own = streams if table.seed is None else RandomStreams(table.seed)
        with renamed_fields({"split": "task.split"}):
            return make_split(
                dataset, split_kind(table, dataset), own.generator("split"), **_given(table)
            )

    def _encodings(self, dataset: Dataset) -> tuple[InputEncoding, TargetEncoding]:
        table = self.settings.encoding
        with renamed_fields({"n_classes": "encoding.target"}):
            return (
                make_input_encoding(table.input, table.options),
                make_target_encoding(table.target, dataset.n_classes, table.target_amplitude),
            )

    def _network(
        self, dataset: Dataset, encoding: InputEncoding, target: TargetEncoding
    ) -> Network:
        if self.parts.network is not None:
            return self.parts.network
        table = self.settings.network
        _refuse_placeholder("network", table.kind)
        options = complete_options(
            table.kind,
            table.options,
            n_inputs=encoding.n_inputs(dataset.n_features),
            n_outputs=target.n_outputs,
            dataset=dataset,
            base=self.origin.base,
        )
        return build_network(table.kind, options)

    def _substrate(self, network: Network) -> Substrate:
        if self.parts.substrate is not None:
            return self.parts.substrate
        table = self.settings.substrate
        _refuse_placeholder("substrate", table.kind)
        options = dict(table.options)
        if isinstance(options.get("file"), str):  # relative to the experiment, as data files are
            options["file"] = str(self.origin.base / Path(options["file"]).expanduser())
        return make_substrate(table.kind, network, options, seed=self.settings.run.seed)

    def _controller(
        self, substrate: Substrate, streams: RandomStreams, table: EstimatorSettings
    ) -> Controller:
        options = ControllerOptions(
            beta=AUTO_BETA if table.beta == "auto" else table.beta,
            repeats=1 if table.repeats == "auto" else table.repeats,
            interleave=table.interleave,
            attenuation=table.attenuation,
            initial_states=table.initial_states,
            max_halvings=table.max_halvings,
            max_restarts=table.max_restarts,
            response_limit=table.response_limit,
            batch_size=self.settings.run.samples_at_once,
        )
        if table.kind == AUTO:
            # Any substrate can serve it until the planner has chosen.
            estimator: Estimator = OneSided()
        else:
            estimator = make_estimator(table.kind, table.options)
        able, beta = substrate.capabilities, options.beta
        # Levels are another matter: the nearest one is used, with a warning.
        if (
            table.beta != "auto"
            and beta > able.nudge_maximum
            and able.nudge_levels is None
            and not estimator.requirements.phase_clamp
        ):
            raise ConfigurationError(
                "beyond the strongest nudge of this substrate",
                field="estimator.beta",
                value=beta,
                allowed=f"0 < beta <= {able.nudge_maximum:g}, or 'auto'",
            )
        return Controller(substrate, self._cost(), estimator, options, streams)

    def _cost(self) -> Cost:
        if self.parts.cost is not None:
            return self.parts.cost
        table = self.settings.cost
        _refuse_placeholder("cost", table.kind)
        return make_cost(table.kind, table.options)


def split_kind(table: SplitSettings, dataset: Dataset) -> str:
    """Return the kind of split, "auto" resolved."""
    if table.kind != "auto":
        return table.kind
    return "stratified" if dataset.split is None else "given"


def _given(table: SplitSettings) -> dict[str, Any]:
    return table.model_dump(exclude={"kind", "seed"}, exclude_none=True)


def _anchor_paths(content: dict[str, Any], overrides: Mapping[str, str]) -> None:
    """Make relative paths that came by override absolute: they start from the current folder."""
    for key in _PATH_KEYS:
        table, name = key.split(".")
        if key in overrides and isinstance(content[table][name], str):
            content[table][name] = str(Path(content[table][name]).expanduser().absolute())


def _table(value: object) -> dict[str, object]:
    if isinstance(value, str):
        return {"kind": value}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Cost) and type(value) in COSTS.values():
        # The constructors of costs keep their arguments under the same names.
        return {"kind": value.name, **vars(value)}
    return {"kind": PYTHON, "name": str(getattr(value, "name", type(value).__name__))}


def _with(table: dict[str, object], key: str, inner: TableLike | None) -> dict[str, object]:
    return table if inner is None else {**table, key: _table(inner)}


def _refuse_placeholder(table: str, kind: str) -> None:
    if kind == PYTHON:
        raise ConfigurationError(
            "stands for a Python object, which is not here",
            field=f"{table}.kind",
            value=kind,
            allowed="a kind that eqp-hw list shows; a run made from Python objects is continued "
            "by Experiment.create(...).resume(path)",
        )
