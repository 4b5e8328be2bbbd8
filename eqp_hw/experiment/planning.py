"""From ``[estimator]`` to a planner, where something in it is left to be chosen."""

from __future__ import annotations

from eqp_hw.errors import ConfigurationError
from eqp_hw.learning.estimators import AUTO
from eqp_hw.learning.estimators.coupled import Coupled
from eqp_hw.learning.nudge_plan import Planner
from eqp_hw.learning.tuning.decision import Demands
from eqp_hw.learning.tuning.planner import AutoPlanner

from .schema import EstimatorSettings

__all__ = ["make_planner"]

_NEEDS = {
    "displacement": ("beta",),
    "read_budget": ("kind", "repeats"),
    "retune_every": ("kind", "beta", "repeats"),
}
"""Which key must be "auto" for another to have an effect."""


def make_planner(table: EstimatorSettings) -> Planner | None:
    """Return who chooses ``kind``, ``beta`` and ``repeats``; None where all are given.

    Raises
    ------
    ConfigurationError
        A key has no effect beside the others, or cannot be chosen for this estimator.
    """
    automatic = {name for name in ("kind", "beta", "repeats") if getattr(table, name) == AUTO}
    if table.kind == AUTO and table.options:
        name = next(iter(table.options))
        raise ConfigurationError(
            "an option of one estimator, while the estimator is chosen automatically",
            field=f"estimator.{name}",
            value=table.options[name],
            allowed='left out; or estimator.kind = a name in place of "auto"',
        )
    if table.kind == Coupled.name and table.beta == AUTO:
        raise ConfigurationError(
            "the beta of coupled learning is the fraction of the way to the target, not a nudge "
            "that could be tuned to a displacement",
            field="estimator.beta",
            value=table.beta,
            allowed="0 < beta <= 1",
        )
    for name, needs in _NEEDS.items():
        given, default = getattr(table, name), EstimatorSettings.model_fields[name].default
        if given != default and not automatic.intersection(needs):
            keys = " or ".join(f"estimator.{key}" for key in needs)
            raise ConfigurationError(
                "has no effect, since nothing that it bears on is chosen automatically",
                field=f"estimator.{name}",
                value=given,
                allowed=f'left out; or {keys} = "auto"',
            )
    if not automatic:
        return None
    return AutoPlanner(
        Demands(
            kind=table.kind,
            options=table.options,
            beta=None if table.beta == "auto" else table.beta,
            repeats=None if table.repeats == "auto" else table.repeats,
            interleave=table.interleave,
            attenuation=table.attenuation,
            displacement=table.displacement,
            read_budget=table.read_budget,
        ),
        table.retune_every,
    )
