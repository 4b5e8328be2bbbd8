"""Where things stand in a calibration file, version 1.

=====================  ========================================================================
place                  content
=====================  ========================================================================
attributes of ``/``    format name and version, id, complete, rig name, seed, temperature
``/rig``               the rig file, TOML text
``/wiring``            channels by role, read-out and graph, JSON (`calibration.identity`)
``/identities``        maker, model, serial numbers of each instrument, JSON
``/provenance``        versions, machine, command, start, JSON
``/resumes``           the same of each time that it was continued, JSON list
``/steps/NAME/``       a finished step: ``data/``, ``figures/``, ``uncertainties/``,
                       ``residuals/`` with units and descriptions; findings, times
``/attempts/N/``       raw data of a step that was cut off or gave no figures, and why
``/calibration/``      final arrays, fields of `RigCalibration`, with ``uncertainties/``
=====================  ========================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, final

import h5py
import numpy as np

from eqp_hw.records.layout import decode_json, encode_json
from eqp_hw.records.provenance import data_checksum

from .errors import CalibrationError
from .step import AnyArray, Finding, RawArray, StepData, StepFit

__all__ = [
    "FORMAT_NAME",
    "FORMAT_VERSION",
    "StoredStep",
    "load_arrays",
    "load_data",
    "load_step",
    "store_arrays",
    "store_data",
    "store_step",
]

FORMAT_NAME = "eqp_hw calibration"
FORMAT_VERSION = 1


@final
@dataclass(frozen=True, eq=False)
class StoredStep:
    """A finished step.

    Attributes
    ----------
    started, ended
        ISO 8601, UTC.
    seconds
        Wall time of the measurement.
    summary
        Its result in a few words.
    taken_from
        The calibration file that it was taken over from, "" where it was measured for this one.
    """

    name: str
    description: str
    started: str
    ended: str
    seconds: float
    summary: str
    data: StepData
    fit: StepFit
    taken_from: str = ""
    times_s: Mapping[str, float] = field(default_factory=dict)


def store_arrays(
    parent: Any, name: str, arrays: Mapping[str, AnyArray], units: Mapping[str, str]
) -> None:
    """Write named arrays as a group."""
    store_data(
        parent,
        name,
        StepData({k: RawArray(np.asarray(a), units.get(k, "")) for k, a in arrays.items()}),
    )


def store_data(parent: Any, name: str, data: StepData) -> None:
    """Write raw arrays with units, descriptions and a check sum as a group."""
    group = parent.create_group(name)
    for key, array in data.arrays.items():
        values = np.asarray(array.values)
        if values.dtype.kind not in "biufcU":
            raise CalibrationError(f"array {key!r}: {values.dtype} cannot be recorded")
        if values.dtype.kind == "U":
            made = group.create_dataset(key, data=values.astype(object), dtype=h5py.string_dtype())
        else:
            made = group.create_dataset(key, data=values)
        made.attrs["unit"] = array.unit
        made.attrs["description"] = array.description
    group.attrs["order"] = encode_json(list(data.arrays))
    group.attrs["sha256"] = _checksum(data)


def load_arrays(parent: Any, name: str) -> dict[str, AnyArray]:
    """Return the arrays that `store_arrays` wrote."""
    return {key: array.values for key, array in load_data(parent, name).arrays.items()}


def load_data(parent: Any, name: str) -> StepData:
    """Return the arrays that `store_data` wrote.

    Raises
    ------
    KeyError, ValueError
        Incomplete, or not what was written.
    """
    group = parent[name]
    arrays = {}
    for key in decode_json(group.attrs["order"]):
        made = group[key]
        text = h5py.check_string_dtype(made.dtype) is not None
        values = np.asarray(made.asstr()[()], dtype=str) if text else np.asarray(made[()])
        arrays[key] = RawArray(values, str(made.attrs["unit"]), str(made.attrs["description"]))
    data = StepData(arrays)
    if group.attrs["sha256"] != _checksum(data):
        raise ValueError(f"the arrays of {group.name} are not those that were written")
    return data


def _checksum(data: StepData) -> str:
    # Lengths of text dtypes may differ after reading; the texts themselves may not.
    plain = {
        key: np.array([str(json.dumps(array.values.tolist()))])
        if array.values.dtype.kind == "U"
        else array.values
        for key, array in data.arrays.items()
    }
    return data_checksum(plain)


def store_step(parent: Any, step: StoredStep) -> None:
    """Write a finished step as a group of its name."""
    group = parent.create_group(step.name)
    group.attrs["description"] = step.description
    group.attrs["started"] = step.started
    group.attrs["ended"] = step.ended
    group.attrs["seconds"] = step.seconds
    group.attrs["summary"] = step.summary
    group.attrs["taken_from"] = step.taken_from
    group.attrs["times_s"] = encode_json(dict(step.times_s))
    group.attrs["findings"] = encode_json([asdict(finding) for finding in step.fit.findings])
    group.attrs["order"] = len(parent) - 1
    units = _units(step.fit)
    store_data(group, "data", step.data)
    store_arrays(group, "figures", step.fit.figures, units)
    store_arrays(group, "uncertainties", step.fit.uncertainties, units)
    store_arrays(group, "residuals", step.fit.residuals, units)


def load_step(parent: Any, name: str) -> StoredStep:
    """Return a step that `store_step` wrote; KeyError, ValueError where it is damaged."""
    group = parent[name]
    figures, residuals = load_data(group, "figures"), load_data(group, "residuals")
    units = {
        key: array.unit
        for key, array in {**figures.arrays, **residuals.arrays}.items()
        if array.unit
    }
    fit = StepFit(
        {key: array.values for key, array in figures.arrays.items()},
        load_arrays(group, "uncertainties"),
        {key: array.values for key, array in residuals.arrays.items()},
        tuple(Finding(**entry) for entry in decode_json(group.attrs["findings"])),
        units,
    )
    return StoredStep(
        name,
        str(group.attrs["description"]),
        str(group.attrs["started"]),
        str(group.attrs["ended"]),
        float(group.attrs["seconds"]),
        str(group.attrs["summary"]),
        load_data(group, "data"),
        fit,
        str(group.attrs["taken_from"]),
        decode_json(group.attrs["times_s"]),
    )


def _units(fit: StepFit) -> dict[str, str]:
    named = {
        name: "W" if name.endswith("_W") else "V" if name.endswith("_V") else "ohm"
        for name in (*fit.figures, *fit.residuals)
        if name.endswith(("_W", "_V", "_ohm"))
    }
    return {**named, **fit.units}
