"""Put a network together from blocks of bonds, each of one kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from eqp_hw.network.graph import FloatArray, IntArray, Network

__all__ = ["BondBlocks", "dense_bonds"]


@final
class BondBlocks:
    """Collects blocks of bonds and numbers their couplings."""

    def __init__(self) -> None:
        self._pairs: list[IntArray] = []
        self._groups: list[IntArray] = []
        self._group_kind: list[IntArray] = []
        self._kinds: dict[str, int] = {}
        self._n_groups = 0

    def add(self, pairs: IntArray, kind: str, shared: IntArray | None = None) -> None:
        """Append a block.

        Parameters
        ----------
        pairs
            (n, 2) node pairs; an empty block leaves no trace.
        kind
            Name of the kind of coupling; blocks may have the same.
        shared
            (n,) number, 0..k-1 within this block, of the coupling each bond uses; by
            default every bond has its own.
        """
        if len(pairs) == 0:
            return
        group = np.arange(len(pairs)) if shared is None else shared
        n_groups = int(group.max()) + 1
        kind_index = self._kinds.setdefault(kind, len(self._kinds))
        self._pairs.append(pairs)
        self._groups.append(group + self._n_groups)
        self._group_kind.append(np.full(n_groups, kind_index, dtype=np.int64))
        self._n_groups += n_groups

    def network(
        self,
        n_nodes: int,
        inputs: Sequence[int] | IntArray,
        outputs: Sequence[int] | IntArray,
        *,
        positions: FloatArray | None = None,
        layer: IntArray | None = None,
        name: str,
    ) -> Network:
        """Return the validated network."""
        empty = np.empty(0, dtype=np.int64)
        return Network.create(
            n_nodes,
            np.concatenate([np.empty((0, 2), dtype=np.int64), *self._pairs]),
            inputs,
            outputs,
            coupling_group=np.concatenate([empty, *self._groups]),
            group_kind=np.concatenate([empty, *self._group_kind]),
            kind_names=tuple(self._kinds),
            positions=positions,
            layer=layer,
            name=name,
        )


def dense_bonds(first: IntArray, second: IntArray) -> IntArray:
    """Return all pairs (a, b) with a of ``first`` and b of ``second``, (n·m, 2)."""
    a, b = np.meshgrid(first, second, indexing="ij")
    return np.stack([a.ravel(), b.ravel()], axis=1)
