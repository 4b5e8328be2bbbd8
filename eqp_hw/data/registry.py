"""All data sets by name: what they are, their options, and how to load one."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import final

from pydantic import ValidationError

from eqp_hw.data.dataset import Dataset
from eqp_hw.data.source import DatasetSource
from eqp_hw.data.sources.csv_file import CsvSource
from eqp_hw.data.sources.idx import IdxSource
from eqp_hw.data.sources.logic import ParitySource, XorSource
from eqp_hw.data.sources.scikit import (
    BreastCancerSource,
    DigitsSource,
    IrisSource,
    TwoMoonsSource,
    WineSource,
)
from eqp_hw.errors import ConfigurationError

__all__ = ["DATASETS", "DatasetKind", "load_dataset", "parse_dataset_options"]


@final
@dataclass(frozen=True)
class DatasetKind:
    """One entry of the table of data sets.

    Attributes
    ----------
    name
        As written in an experiment file.
    description
        One line.
    source
        Options and loader.
    needs_scikit_learn
        Whether the optional library is needed.
    """

    name: str
    description: str
    source: type[DatasetSource]
    needs_scikit_learn: bool = False

    def unavailable_because(self) -> str | None:
        """Return why the data set cannot be loaded here, or None if it can."""
        if self.needs_scikit_learn and importlib.util.find_spec("sklearn") is None:
            return "scikit-learn is not installed: pip install 'eqp_hw[data]'"
        return None

    def options(self) -> dict[str, str]:
        """Return one line for each option, by name."""
        lines = {}
        for name, field in self.source.model_fields.items():
            default = "required" if field.is_required() else f"default {field.default!r}"
            lines[name] = f"{field.description} ({default})"
        return lines


DATASETS: Mapping[str, DatasetKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            DatasetKind("xor", "exclusive or of two bits", XorSource),
            DatasetKind("parity", "parity of several bits", ParitySource),
            DatasetKind("two-moons", "two interleaved half moons", TwoMoonsSource, True),
            DatasetKind("iris", "Iris: 150 samples, 4 features, 3 classes", IrisSource, True),
            DatasetKind(
                "digits", "hand-written digits: 1797 images of 8×8 pixels", DigitsSource, True
            ),
            DatasetKind("wine", "wine: 178 samples, 13 features, 3 classes", WineSource, True),
            DatasetKind(
                "breast-cancer",
                "breast cancer: 569 samples, 30 features, 2 classes",
                BreastCancerSource,
                True,
            ),
            DatasetKind("csv", "a CSV file with named columns", CsvSource),
            DatasetKind("idx", "a folder in the format of MNIST (IDX files)", IdxSource),
        )
    }
)


def load_dataset(
    kind: str,
    options: Mapping[str, object] | None = None,
    base: str | Path = ".",
    *,
    field: str = "data",
) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    kind
        One of `DATASETS`.
    options
        As `DatasetKind.options` lists them.
    base
        Folder that relative paths in the options start from (that of the experiment file).
    field
        Dotted name of the options, for messages.

    Raises
    ------
    ConfigurationError
        An unknown kind, or an option that is unknown, missing or of a wrong type or value.
    DataError
        The data are unreadable or inconsistent.
    UnavailableError
        scikit-learn is needed and not installed.
    """
    return parse_dataset_options(kind, options, field=field).load(Path(base))


def parse_dataset_options(
    kind: str, options: Mapping[str, object] | None = None, *, field: str = "data"
) -> DatasetSource:
    """Check the options of a data set without loading it; see `load_dataset`."""
    if kind not in DATASETS:
        raise ConfigurationError(
            "there is no such data set",
            field=f"{field}.kind",
            value=kind,
            allowed=", ".join(DATASETS),
        )
    source = DATASETS[kind].source
    try:
        return source.model_validate(dict(options or {}))
    except ValidationError as error:
        found = error.errors(include_url=False)
        # A misspelt option is the cause where it also leaves another one missing.
        first = min(found, key=lambda entry: entry["type"] != "extra_forbidden")
        name = str(first["loc"][0])
        place = f"{field}.{name}"
        known = ", ".join(source.model_fields) or "none"
        if first["type"] == "extra_forbidden":
            raise ConfigurationError(
                f"data set {kind!r} has no such option",
                field=place,
                value=first["input"],
                allowed=f"options: {known}",
            ) from None
        if first["type"] == "missing" and len(first["loc"]) == 1:
            raise ConfigurationError(
                f"data set {kind!r} needs this option", field=place, allowed=f"options: {known}"
            ) from None
        raise ConfigurationError(
            first["msg"][:1].lower() + first["msg"][1:],
            field=place,
            value=first["input"],
            allowed=DATASETS[kind].options()[name],
        ) from None
