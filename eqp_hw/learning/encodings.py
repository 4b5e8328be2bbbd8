"""All encodings by name, how to rebuild one from a run file, and whether the data fit.

The classes are in `input_encodings` and `target_encodings`; they are importable from here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any, TypeVar

from eqp_hw.data.dataset import Dataset
from eqp_hw.errors import ConfigurationError, DataError
from eqp_hw.learning.input_encodings import (
    BitsEncoder,
    BitsEncoding,
    InputEncoder,
    InputEncoding,
    LinearEncoder,
    LinearEncoding,
    StandardEncoder,
    StandardEncoding,
)
from eqp_hw.learning.target_encodings import (
    BinaryCodeTarget,
    BinaryTarget,
    OneHotTarget,
    TargetEncoding,
)
from eqp_hw.network.graph import Network

__all__ = [
    "INPUT_ENCODINGS",
    "TARGET_ENCODINGS",
    "BinaryCodeTarget",
    "BinaryTarget",
    "BitsEncoder",
    "BitsEncoding",
    "InputEncoder",
    "InputEncoding",
    "LinearEncoder",
    "LinearEncoding",
    "OneHotTarget",
    "StandardEncoder",
    "StandardEncoding",
    "TargetEncoding",
    "check_fits",
    "input_encoder_from_config",
    "make_input_encoding",
    "make_target_encoding",
    "target_encoding_from_config",
]

T = TypeVar("T", bound=InputEncoding | InputEncoder | TargetEncoding)

INPUT_ENCODINGS: Mapping[str, str] = MappingProxyType(
    {
        "linear": "range of each feature (fixed, or seen in training) to [−π/2, π/2]",
        "standard": "mean 0, deviation scale_rad (training part)",
        "bits": "0 and 1 to −π/2 and +π/2",
    }
)
TARGET_ENCODINGS: Mapping[str, str] = MappingProxyType(
    {
        "one-hot": "an output a class: +π/2 for the class, −π/2 for the others",
        "binary": "one output for two classes: −π/2 and +π/2",
        "binary-code": "class number in bits, an output a bit",
    }
)
_ENCODINGS: Mapping[str, type[InputEncoding]] = MappingProxyType(
    {c.kind: c for c in (LinearEncoding, StandardEncoding, BitsEncoding)}
)
_ENCODERS: Mapping[str, type[InputEncoder]] = MappingProxyType(
    {c.kind: c for c in (LinearEncoder, StandardEncoder, BitsEncoder)}
)
_TARGETS: Mapping[str, type[TargetEncoding]] = MappingProxyType(
    {c.kind: c for c in (OneHotTarget, BinaryTarget, BinaryCodeTarget)}
)


def make_input_encoding(kind: str, options: Mapping[str, object] | None = None) -> InputEncoding:
    """Make an input encoding by name.

    Parameters
    ----------
    kind
        One of `INPUT_ENCODINGS`.
    options
        ``reference_phases`` (rad), and ``scale_rad`` for "standard".

    Raises
    ------
    ConfigurationError
        An unknown kind or option, or a value that is no finite number.
    """
    chosen = _choose(_ENCODINGS, kind, "input encoding", "encoding.input")
    return _build(chosen, dict(options or {}), "encoding")


def make_target_encoding(
    kind: str, n_classes: int, amplitude: float = math.pi / 2
) -> TargetEncoding:
    """Make a target encoding by name, one of `TARGET_ENCODINGS`.

    Raises
    ------
    ConfigurationError
        An unknown kind.
    DataError
        More classes than the encoding can tell apart, or fewer than two.
    """
    return _choose(_TARGETS, kind, "target encoding", "encoding.target")(n_classes, amplitude)


def input_encoder_from_config(config: Mapping[str, Any]) -> InputEncoder:
    """Rebuild a fitted encoder from what `InputEncoder.to_config` returned.

    Raises
    ------
    ConfigurationError
        The dictionary does not describe an encoder.
    """
    chosen = _choose(_ENCODERS, config.get("kind"), "input encoding", "input_encoder.kind")
    return _build(chosen, _without_kind(config), "input_encoder")


def target_encoding_from_config(config: Mapping[str, Any]) -> TargetEncoding:
    """Rebuild an encoding from what `TargetEncoding.to_config` returned.

    Raises
    ------
    ConfigurationError
        The dictionary does not describe a target encoding.
    """
    chosen = _choose(_TARGETS, config.get("kind"), "target encoding", "target_encoding.kind")
    return _build(chosen, _without_kind(config), "target_encoding")


def check_fits(
    dataset: Dataset,
    input_encoding: InputEncoding,
    target_encoding: TargetEncoding,
    network: Network,
) -> None:
    """Refuse a data set whose features or classes do not match the network's inputs or outputs.

    Raises
    ------
    DataError
        Names both numbers and what to change.
    """
    n_inputs, n_reference = len(network.inputs), len(input_encoding.reference_phases)
    needed = input_encoding.n_inputs(dataset.n_features)
    if needed != n_inputs:
        reference = f" and {n_reference} reference phases" if n_reference else ""
        raise DataError(
            f"data set {dataset.name!r} has {dataset.n_features} features{reference}, which "
            f"take {needed} input nodes, but the network has {n_inputs}",
            field="network.inputs",
            allowed=f"{needed} input nodes, or another choice of features",
        )
    if target_encoding.n_classes != dataset.n_classes:
        raise DataError(
            f"data set {dataset.name!r} has {dataset.n_classes} classes, but the target "
            f"encoding was made for {target_encoding.n_classes}",
            field="encoding.target",
            allowed=f"n_classes = {dataset.n_classes}",
        )
    n_outputs = len(network.outputs)
    if target_encoding.n_outputs != n_outputs:
        raise DataError(
            f"data set {dataset.name!r} has {dataset.n_classes} classes, which as "
            f"{target_encoding.kind!r} take {target_encoding.n_outputs} output nodes, but the "
            f"network has {n_outputs}",
            field="network.outputs",
            allowed=f"{target_encoding.n_outputs} output nodes, or another target encoding "
            f"({', '.join(TARGET_ENCODINGS)})",
        )


def _choose(table: Mapping[str, type[T]], kind: object, what: str, field: str) -> type[T]:
    if not isinstance(kind, str) or kind not in table:
        raise ConfigurationError(
            f"there is no such {what}", field=field, value=kind, allowed=", ".join(table)
        )
    return table[kind]


def _without_kind(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "kind"}


def _build(chosen: type[T], values: Mapping[str, Any], field: str) -> T:
    known = [f.name for f in fields(chosen)]
    for name in values:
        if name not in known:
            raise ConfigurationError(
                "there is no such option", field=f"{field}.{name}", allowed=", ".join(known)
            )
    factory: Callable[..., T] = chosen
    try:
        return factory(**{n: tuple(v) if isinstance(v, list) else v for n, v in values.items()})
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"cannot be used: {error}", field=field, value=dict(values), allowed=", ".join(known)
        ) from error
