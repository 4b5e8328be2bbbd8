"""Where things stand in a run file, version 2.

========================  =====================================================================
place                     content
========================  =====================================================================
attributes of ``/``       format name and version, run id
``/experiment``           experiment file, TOML text as the user wrote it
``/resolved``             the same with all defaults filled in, JSON
``/provenance``           versions, machine, seeds, start; JSON (`eqp_hw.records.provenance`)
``/resumes``              the same of each time that the run was continued, JSON list
``/network/``             the graph
``/steps``, ``/epochs``   tables of `StepRow` and `EpochRow`
``/parameters/``          table: master and effective couplings and bias fields
``/responses/``           table: node responses χ
``/phases/``              table: free phases of chosen samples
``/gradients/``           table: mean gradient over an epoch and its standard error
``/plans/``               table: how gradients are measured, as chosen automatically, and why
``/result/``              present once the run is finished
========================  =====================================================================

Version 1 lacked the last two tables and some columns of ``/steps``; it is read, not continued.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from eqp_hw import __version__
from eqp_hw.errors import NetworkError, RecordError
from eqp_hw.network.graph import Network

from .rows import EpochRow, SnapshotRow, StepRow
from .table import Payload, TableSpec

__all__ = [
    "EPOCHS",
    "FORMAT_NAME",
    "FORMAT_VERSION",
    "PLANS",
    "STEPS",
    "decode_json",
    "encode_json",
    "gradients_spec",
    "load_network",
    "open_run_file",
    "parameters_spec",
    "phases_spec",
    "responses_spec",
    "store_network",
    "store_text",
    "stored_specs",
]

FORMAT_NAME = "eqp_hw run"
FORMAT_VERSION = 2
_READABLE = (1, FORMAT_VERSION)

_FLOAT = np.dtype(np.float64)
_COMPLEX = np.dtype(np.complex128)
_INT = np.dtype(np.int64)

STEPS = TableSpec("steps", StepRow, 512, "one row a training step")
EPOCHS = TableSpec("epochs", EpochRow, 128, "one row an epoch, with its evaluation")
_SNAPSHOTS = 4  # first capacity of the tables below; it doubles as needed

PLANS = TableSpec(
    "plans",
    SnapshotRow,
    16,
    "how gradients are measured from this epoch on, as chosen automatically",
    (Payload("plan", (4096,), np.dtype(np.uint8), "1", "JSON in UTF-8, filled up with zeros"),),
)

_NETWORK_ARRAYS = {
    "edges": "(n_edges, 2) node pairs of the bonds",
    "inputs": "clamped nodes, in the order of the features",
    "outputs": "nudged and read nodes, in the order of the targets",
    "coupling_group": "coupling parameter of each bond",
    "group_kind": "kind (index into kind_names) of each coupling parameter",
    "positions": "(N, 3) coordinates x, y, layer",
    "layer": "layer number of each node",
}


def parameters_spec(network: Network, *, directed: bool) -> TableSpec:
    """Return the table of parameter snapshots of ``network``."""
    shapes = {"coupling": (network.n_couplings,), "bias": (network.n_nodes,)}
    if directed:
        shapes["coupling_reverse"] = (network.n_couplings,)
    about = {
        "coupling": "couplings J, one a coupling parameter",
        "bias": "complex bias fields h·exp(iψ), one a node",
        "coupling_reverse": "couplings J_ji of a directed network",
    }
    held = {"master": "as the optimiser holds them", "effective": "as the substrate holds them"}
    payload = tuple(
        Payload(
            f"{which}_{part}",
            shape,
            _COMPLEX if part == "bias" else _FLOAT,
            "1",
            f"{about[part]}, {held[which]}",
        )
        for which in held
        for part, shape in shapes.items()
    )
    return TableSpec("parameters", SnapshotRow, _SNAPSHOTS, "parameter snapshots", payload)


def gradients_spec(network: Network, *, directed: bool) -> TableSpec:
    """Return the table of mean gradients of ``network``."""
    shapes = {"coupling": (network.n_couplings,), "bias": (network.n_nodes,)}
    if directed:
        shapes["coupling_reverse"] = (network.n_couplings,)
    held = {
        "mean": "mean over the steps of the epoch",
        "error": "standard error of that mean from read-out noise; 0 where reads are exact",
    }
    about = {
        "coupling": "gradient of each coupling",
        "bias": "gradient of each bias field, its two quadratures as real and imaginary part",
        "coupling_reverse": "gradient of each J_ji of a directed network",
    }
    payload = tuple(
        Payload(
            f"{which}_{part}",
            shape,
            _COMPLEX if part == "bias" else _FLOAT,
            "1",
            f"{about[part]}, {held[which]}",
        )
        for which in held
        for part, shape in shapes.items()
    )
    return TableSpec("gradients", SnapshotRow, _SNAPSHOTS, "mean gradients", payload)


def responses_spec(network: Network) -> TableSpec:
    """Return the table of node responses of ``network``."""
    shape = (network.n_nodes, len(network.outputs))
    about = "response of each node's phase to a torque at each output"
    payload = (Payload("chi", shape, _FLOAT, "rad", about),)
    return TableSpec("responses", SnapshotRow, _SNAPSHOTS, "node responses", payload)


def phases_spec(network: Network, n_samples: int, n_targets: int) -> TableSpec:
    """Return the table of the free phases of ``n_samples`` chosen samples."""
    payload = (
        Payload("phases", (n_samples, network.n_nodes), _FLOAT, "rad", "free phase of each node"),
        Payload("targets", (n_samples, n_targets), _FLOAT, "rad", "target phase of each output"),
        Payload("labels", (n_samples,), _INT, "1", "class of each sample"),
    )
    return TableSpec("phases", SnapshotRow, _SNAPSHOTS, "free phases of chosen samples", payload)


def stored_specs(file: Any, network: Network) -> list[TableSpec]:
    """Return the tables that ``file`` holds."""
    specs = [STEPS, EPOCHS]
    if "parameters" in file:
        directed = "master_coupling_reverse" in file["parameters"]
        specs.append(parameters_spec(network, directed=directed))
    if "gradients" in file:
        directed = "mean_coupling_reverse" in file["gradients"]
        specs.append(gradients_spec(network, directed=directed))
    if "plans" in file:
        specs.append(PLANS)
    if "responses" in file:
        specs.append(responses_spec(network))
    if "phases" in file:
        _, n_samples, n_targets = file["phases/targets"].shape
        specs.append(phases_spec(network, n_samples, n_targets))
    return specs


def open_run_file(path: Path, mode: str) -> Any:
    """Open a run file and make sure that it is one, of this version.

    Parameters
    ----------
    path
        The file.
    mode
        "r" reads without a lock, also while a run writes it; "r+" locks it.

    Raises
    ------
    RecordError
        Not a run file, or one of another version.
    OSError
        It cannot be opened; see `record_failures`.
    """
    if path.is_dir():
        raise RecordError(f"{path}: a folder; a run file is needed")
    with path.open("rb" if mode == "r" else "r+b"):
        pass  # raises what h5py would say less clearly
    if not h5py.is_hdf5(path):
        raise RecordError(f"{path}: not an HDF5 file, so not a run file of eqp_hw")
    file = _open_hdf5(path, mode)
    try:
        if mode != "r" and h5py.h5f.get_obj_count(file.id, h5py.h5f.OBJ_FILE) > 1:
            raise RecordError(f"{path}: in use; this process has it open already")
        name, version = file.attrs.get("format"), file.attrs.get("format_version")
        if name != FORMAT_NAME:
            raise RecordError(
                f"{path}: an HDF5 file, but not a run file of eqp_hw (attribute format = "
                f"{name!r}, needed: {FORMAT_NAME!r})"
            )
        if version not in _READABLE:
            raise RecordError(
                f"{path}: run file of format version {version}; eqp_hw {__version__} reads "
                f"versions {' and '.join(map(str, _READABLE))}; use the eqp_hw that wrote it"
            )
        if mode != "r" and version != FORMAT_VERSION:
            raise RecordError(
                f"{path}: run file of format version {version}: eqp_hw {__version__} can show it, "
                f"but continues only version {FORMAT_VERSION}; use the eqp_hw that wrote it"
            )
    except BaseException:
        file.close()
        raise
    return file


def _open_hdf5(path: Path, mode: str) -> Any:
    if mode != "r":
        return h5py.File(path, mode, libver="earliest", locking="best-effort")
    # Rows are safe to read while the run goes on (see `table`), so a reader takes no lock.
    # Where this process has the file open already, HDF5 wants the same locking as there.
    with suppress(OSError):
        return h5py.File(path, mode, locking=False)
    return h5py.File(path, mode, locking="best-effort")


def store_network(file: Any, network: Network) -> None:
    """Write the graph as group ``network``."""
    group = file.create_group("network")
    group.attrs["name"] = network.name
    group.attrs["n_nodes"] = network.n_nodes
    group.attrs["kind_names"] = encode_json(network.kind_names)
    for name, description in _NETWORK_ARRAYS.items():
        data = group.create_dataset(name, data=getattr(network, name))
        data.attrs["description"] = description


def load_network(file: Any) -> Network:
    """Read the graph that `store_network` wrote.

    Raises
    ------
    KeyError, ValueError
        The group is incomplete or inconsistent.
    """
    group = file["network"]
    arrays: dict[str, npt.NDArray[Any]] = {name: group[name][()] for name in _NETWORK_ARRAYS}
    try:
        return Network.create(
            int(group.attrs["n_nodes"]),
            arrays["edges"],
            arrays["inputs"],
            arrays["outputs"],
            coupling_group=arrays["coupling_group"],
            group_kind=arrays["group_kind"],
            kind_names=decode_json(group.attrs["kind_names"]),
            positions=arrays["positions"],
            layer=arrays["layer"],
            name=str(group.attrs["name"]),
        )
    except NetworkError as error:
        raise ValueError(f"the stored network is not valid ({error})") from error


def store_text(file: Any, name: str, text: str, description: str) -> None:
    """Write (or replace) a text as a data set; attributes would be limited to 64 KiB."""
    if name in file:
        del file[name]
    data = file.create_dataset(name, data=text, dtype=h5py.string_dtype())
    data.attrs["description"] = description


def encode_json(value: object) -> str:
    """Return ``value`` as JSON; NumPy numbers and arrays, tuples and paths are understood."""
    return json.dumps(value, default=_plain)


def decode_json(text: str | bytes) -> Any:
    """Return the value of a JSON text."""
    return json.loads(text)


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be recorded")
