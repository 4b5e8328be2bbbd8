"""What a run file holds beside its tables: the origin of the run, and its result."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .layout import FORMAT_NAME, FORMAT_VERSION, decode_json, encode_json, store_text

__all__ = ["add_resume", "store_origin", "store_result"]

_RESULT_ARRAYS = {
    "confusion": "test samples, rows: true class, columns: class read out",
    "predictions": "class read out, each test sample",
    "labels": "true class of each test sample",
    "scores": "score of each class, each test sample",
    "coupling": "couplings J of the selected parameters (master copy)",
    "coupling_reverse": "the same against the order of the nodes (directed networks)",
    "bias": "bias fields of the selected parameters, complex (master copy)",
}


def store_origin(
    file: Any, experiment: str, resolved: Mapping[str, object], provenance: Mapping[str, object]
) -> None:
    """Write format, a fresh run id, and where the run comes from."""
    file.attrs["format"] = FORMAT_NAME
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["run_id"] = uuid.uuid4().hex
    store_text(file, "experiment", experiment, "experiment file, TOML")
    store_text(file, "resolved", encode_json(resolved), "experiment with defaults, JSON")
    store_text(file, "provenance", encode_json(provenance), "origin of the run, JSON")
    store_text(file, "resumes", "[]", "origin of each continuation, JSON list")


def add_resume(file: Any, provenance: Mapping[str, object]) -> None:
    """Note one more continuation of the run."""
    entries = [*decode_json(file["resumes"][()]), dict(provenance)]
    store_text(file, "resumes", encode_json(entries), file["resumes"].attrs["description"])


def store_result(
    file: Any, result: Mapping[str, object], arrays: Mapping[str, npt.NDArray[Any] | None]
) -> None:
    """Write the result; arrays that are None are left out."""
    group = file.create_group("result")
    store_text(group, "summary", encode_json(result), "result of the run, JSON")
    for name, array in arrays.items():
        if array is not None:
            data = group.create_dataset(name, data=np.asarray(array))
            data.attrs["description"] = _RESULT_ARRAYS[name]
