"""NumPy random generators as JSON-able state, exact to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np

from eqp_hw.errors import RecordError

__all__ = ["generator_state", "restore_generator"]

_BIT_GENERATORS = {
    kind.__name__: kind
    for kind in (
        np.random.PCG64,
        np.random.PCG64DXSM,
        np.random.MT19937,
        np.random.Philox,
        np.random.SFC64,
    )
}


def generator_state(generator: np.random.Generator) -> dict[str, Any]:
    """Return the state of a generator, its seed sequence included, as JSON-able values.

    The seed sequence decides what ``generator.spawn`` gives next.

    Raises
    ------
    RecordError
        Its bit generator is not one of NumPy's.
    """
    bits = generator.bit_generator
    name = type(bits).__name__
    if name not in _BIT_GENERATORS:
        raise RecordError(
            f"generator: {name} cannot be recorded (allowed: {', '.join(_BIT_GENERATORS)})"
        )
    seed = bits.seed_seq
    sequence = None
    if isinstance(seed, np.random.SeedSequence):
        sequence = {
            "entropy": _encode(seed.entropy),
            "spawn_key": list(seed.spawn_key),
            "pool_size": seed.pool_size,
            "n_children_spawned": seed.n_children_spawned,
        }
    return {"bit_generator": name, "state": _encode(dict(bits.state)), "seed_sequence": sequence}


def restore_generator(state: dict[str, Any]) -> np.random.Generator:
    """Return a generator that goes on exactly as the one that `generator_state` described.

    Raises
    ------
    RecordError
        The state is not one that `generator_state` gave.
    """
    try:
        kind = _BIT_GENERATORS[state["bit_generator"]]
        sequence = state["seed_sequence"]
        if sequence is None:
            bits = kind(0)
        else:
            bits = kind(
                np.random.SeedSequence(
                    _decode(sequence["entropy"]),
                    spawn_key=sequence["spawn_key"],
                    pool_size=sequence["pool_size"],
                    n_children_spawned=sequence["n_children_spawned"],
                )
            )
        bits.state = _decode(state["state"])
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"the state of a random generator is damaged: {error!r}") from error
    return np.random.Generator(bits)


def _encode(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.str, "values": value.tolist()}
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"dtype", "values"}:
            return np.array(value["values"], dtype=value["dtype"])
        return {key: _decode(item) for key, item in value.items()}
    return value
